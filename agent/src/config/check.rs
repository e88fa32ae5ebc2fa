//! What a text must be to stand in a field of the configuration: each check is pure and says what to write instead.

use super::{AGGREGATOR, BACKOFF_MIN, INTERVAL_MIN, LISTEN_HTTP, LISTEN_REPORT, SPOOL_MIN_BYTES};
use crate::collect::Target;
use proto::document::{parse_bytes, parse_duration};
use proto::limits::{IDENTITY_MAX_BYTES, INTERVAL_MAX};
use std::net::SocketAddr;
use std::time::Duration;
use tonic::transport::Uri;
use uuid::Uuid;

pub(super) fn url(text: &str) -> Result<String, String> {
    if text.contains('@') {
        // Not echoed: what stands before the @ may be a password.
        return Err(format!("must not contain a user or a password; write it like {AGGREGATOR}"));
    }
    let uri: Uri = text.parse().map_err(|_| format!("{text:?} is not a URL; write it like {AGGREGATOR}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) if uri.port_u16().is_none() => {
            Err(format!("{text:?} has no port; write it like {AGGREGATOR}"))
        }
        (Some("http"), Some(_)) if uri.path().trim_matches('/').is_empty() => Ok(text.trim_end_matches('/').into()),
        (Some("https"), _) => Err("must begin with http:// for now; TLS comes with the agents' identity".into()),
        (Some("http"), Some(_)) => Err(format!("{text:?} has a path; give only scheme, host and port")),
        _ => Err(format!("{text:?} must be a URL with http://, a host and a port, like {AGGREGATOR}")),
    }
}

pub(super) fn identity(text: &str) -> Result<String, String> {
    if (1..=IDENTITY_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.into());
    }
    Err(format!("must have 1 to {IDENTITY_MAX_BYTES} bytes and no control characters"))
}

pub(super) fn uuid(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| format!("{text:?} is not a uuid"))
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Ok(interval);
    }
    Err(format!("{text:?} is not between {INTERVAL_MIN:?} and {INTERVAL_MAX:?}"))
}

pub(super) fn backoff(text: &str) -> Result<Duration, String> {
    let backoff = parse_duration(text)?;
    if backoff >= BACKOFF_MIN { Ok(backoff) } else { Err(format!("{text:?} is shorter than {BACKOFF_MIN:?}")) }
}

pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    let deadline = parse_duration(text)?;
    if deadline.is_zero() { Err("must be longer than zero".into()) } else { Ok(deadline) }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address; write it like {LISTEN_HTTP}"))
}

/// Loopback alone, or off: whoever can connect is believed.
pub(super) fn report(text: &str) -> Result<Option<SocketAddr>, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        Ok(_) => Err(format!("{text:?} is not on loopback, and whoever can connect is believed; use {LISTEN_REPORT}")),
        Err(_) if text == "off" => Ok(None),
        Err(_) => Err(format!("{text:?} is neither an address nor off; write it like {LISTEN_REPORT}")),
    }
}

pub(super) fn mode(text: &str) -> Result<spool::Mode, String> {
    match text {
        "durable" => Ok(spool::Mode::Durable),
        "fast" => Ok(spool::Mode::Fast),
        other => Err(format!("{other:?} is neither durable nor fast")),
    }
}

pub(super) fn target(text: &str) -> Result<Option<Target>, String> {
    match (text, text.parse()) {
        ("neighbour", _) => Ok(Some(Target::Neighbour)),
        ("none", _) => Ok(None),
        ("" | "0", _) => Err("must be a pid, a name, \"neighbour\" or \"none\"".into()),
        (_, Ok(pid)) => Ok(Some(Target::Pid(pid))),
        (name, Err(_)) => Ok(Some(Target::Name(name.into()))),
    }
}

/// A size that a spool can work with.
pub(super) fn spool_bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if bytes >= SPOOL_MIN_BYTES { Ok(bytes) } else { Err(format!("must be at least {SPOOL_MIN_BYTES} bytes (32MiB)")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port_and_nothing_else() {
        for fine in ["http://127.0.0.1:7400", "http://[::1]:7400", "http://aggregator.monitoring.svc:7400/"] {
            assert_eq!(url(fine).as_deref(), Ok(fine.trim_end_matches('/')));
        }
        for (wrong, says) in [
            ("", "is not a URL"),
            ("aggregator:7400", "must be a URL"),
            ("http://", "is not a URL"),
            ("http://aggregator", "has no port"),
            ("http://aggregator:7400/v1", "has a path"),
            ("https://aggregator:7400", "must begin with http://"),
            ("HTTP//x:1", "is not a URL"),
            ("http://a b:7400", "is not a URL"),
        ] {
            assert!(url(wrong).is_err_and(|why| why.contains(says)), "{wrong:?}: {:?}", url(wrong));
        }
    }

    #[test]
    fn an_identity_has_some_bytes_and_not_too_many_and_none_that_break_a_line() {
        let longest = "x".repeat(IDENTITY_MAX_BYTES);
        assert_eq!(identity(&longest).as_deref(), Ok(longest.as_str()));
        assert_eq!(identity("recepção").as_deref(), Ok("recepção"));
        for wrong in ["", "a\nb", "tab\there", "\u{7f}", &format!("{longest}x")] {
            assert!(identity(wrong).is_err_and(|why| why.contains("control characters")), "{wrong:?}");
        }
    }

    #[test]
    fn each_bound_is_inside_and_what_is_beyond_it_is_not() {
        assert_eq!(interval("100ms"), Ok(INTERVAL_MIN));
        assert_eq!(interval("2m"), Ok(INTERVAL_MAX));
        assert!(interval("99ms").is_err() && interval("2m1ms").is_err());
        assert_eq!(backoff("10ms"), Ok(BACKOFF_MIN));
        assert!(backoff("9ms").is_err_and(|why| why.contains("shorter than 10ms")));
        assert_eq!(deadline("1ms"), Ok(Duration::from_millis(1)));
        assert!(deadline("0s").is_err_and(|why| why.contains("longer than zero")));
        assert_eq!(spool_bytes("32MiB"), Ok(SPOOL_MIN_BYTES));
        assert!(spool_bytes("33554431").is_err_and(|why| why.contains("32MiB")));
        assert!(spool_bytes("much").is_err() && spool_bytes("-1").is_err());
    }

    #[test]
    fn a_target_is_a_pid_a_name_or_one_of_two_words() {
        assert_eq!(target("neighbour"), Ok(Some(Target::Neighbour)));
        assert_eq!(target("none"), Ok(None));
        assert_eq!(target("1"), Ok(Some(Target::Pid(1))));
        assert_eq!(target("node"), Ok(Some(Target::Name("node".into()))));
        assert_eq!(target("99999999999999999999"), Ok(Some(Target::Name("99999999999999999999".into()))), "no pid");
        assert!(target("").is_err() && target("0").is_err());
    }

    #[test]
    fn a_mode_a_uuid_and_an_address_are_what_they_say_and_the_mistake_is_repeated() {
        assert_eq!(mode("durable"), Ok(spool::Mode::Durable));
        assert_eq!(mode("fast"), Ok(spool::Mode::Fast));
        assert!(mode("Fast").is_err_and(|why| why.contains("\"Fast\" is neither")));
        assert!(uuid("2f0c4f6e-8d0b-4c7a-9a53-0a4f5a8f0a11").is_ok());
        assert!(uuid("2f0c4f6e").is_err_and(|why| why.contains("\"2f0c4f6e\" is not a uuid")));
        assert!(address("0.0.0.0:0").is_ok() && address("localhost:80").is_err(), "a name is not looked up");
    }

    #[test]
    fn whoever_could_connect_from_elsewhere_cannot_hand_in_events() {
        for inside in ["127.0.0.1:0", "127.9.9.9:7482", "[::1]:7482"] {
            assert!(report(inside).is_ok_and(|address| address.is_some()), "{inside}");
        }
        for outside in ["0.0.0.0:7482", "[::]:7482", "10.0.0.1:7482", "[::ffff:10.0.0.1]:7482"] {
            assert!(report(outside).is_err_and(|why| why.contains("not on loopback")), "{outside}");
        }
        assert_eq!(report("off"), Ok(None));
        assert!(report("Off").is_err());
    }
}
