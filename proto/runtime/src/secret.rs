//! Values that must never be printed: tokens, and URLs that carry one.

use std::fmt;

/// A text that shows itself to nobody but the code that sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Scheme and host of a URL, which is as much of it as a log may say: a path or query may carry a token.
pub fn host_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "<no url>".into() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("S3CR3T".into());
        assert!(!format!("{secret:?}{secret}").contains("S3CR3T"));
        assert_eq!(secret.expose(), "S3CR3T");
    }

    #[test]
    fn only_the_host_of_a_url_is_shown() {
        assert_eq!(host_of("https://user:pw@hooks.example:8443/T000/B000?x=y"), "https://hooks.example:8443");
        assert_eq!(host_of("nonsense"), "<no url>");
    }
}
