//! Which database a URL means, and how to show a URL without its secrets.

use super::StoreError;
use sqlx::postgres::PgConnectOptions;
use std::path::PathBuf;

/// A database that we speak.
pub(super) enum Target {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PgConnectOptions>),
}

/// Parameters that a PostgreSQL URL may carry: what sqlx reads. It would log the value of any other.
const POSTGRES_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Shown in place of a password.
const HIDDEN: &str = "***";

/// Reads a database URL.
pub(super) fn parse(url: &str) -> Result<Target, StoreError> {
    let target = match url.split_once("://") {
        Some(("sqlite", path)) => parse_sqlite(path),
        Some(("postgres" | "postgresql", rest)) => parse_postgres(url, rest),
        Some((scheme, _)) => Err(format!("there is no database of kind {scheme:?} here")),
        None if url.starts_with("sqlite:") => Err("it names no file".to_owned()),
        None => Err("it has no ://".to_owned()),
    };
    target.map_err(|problem| StoreError::Url { url: redact(url), problem })
}

/// The URL without what may be secret: the password, wherever the last `@` puts its end, and every parameter. Of what is
/// no URL at all nothing is shown.
pub(super) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        let secretive = !url.starts_with("sqlite:");
        return if secretive { HIDDEN.to_owned() } else { url.to_owned() };
    };
    if scheme == "sqlite" {
        return url.to_owned();
    }
    let (user, place) = match rest.rsplit_once('@') {
        Some((user_info, place)) => match user_info.split_once(':') {
            Some((user, _)) => (format!("{user}:{HIDDEN}@"), place),
            None => (format!("{user_info}@"), place),
        },
        None => (String::new(), rest),
    };
    let (place, query) = place.split_once('?').map_or((place, ""), |(place, _)| (place, "?..."));
    format!("{scheme}://{user}{place}{query}")
}

fn parse_sqlite(path: &str) -> Result<Target, String> {
    match path {
        "" | ":memory:" => Err("it names no file".to_owned()),
        _ if path.contains('?') => Err("parameters after ? are not known here".to_owned()),
        _ if path.ends_with('/') => Err("it names a directory, not a file".to_owned()),
        _ => Ok(Target::Sqlite(PathBuf::from(path))),
    }
}

fn parse_postgres(url: &str, rest: &str) -> Result<Target, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let keys = || query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(pair));
    if let Some(unknown) = keys().find(|key| !is_postgres_parameter(key)) {
        return Err(format!("parameter {unknown:?} is not known"));
    }
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let user = authority.rsplit_once('@').map_or("", |(user_info, _)| user_info.split(':').next().unwrap_or(""));
    // Without these sqlx would take the user of the operating system, and PostgreSQL a database of that name.
    if user.is_empty() && !keys().any(|key| key == "user") {
        return Err("it names no user".to_owned());
    }
    if database.is_empty() && !keys().any(|key| key == "dbname") {
        return Err("it names no database".to_owned());
    }
    match url.parse::<PgConnectOptions>() {
        Ok(options) => Ok(Target::Postgres(Box::new(options))),
        // sqlx's words about the URL's shape; they quote no part of it.
        Err(sqlx::Error::Configuration(problem)) => {
            Err(format!("{problem}; characters like / @ # ? in a password are written %2F %40 %23 %3F"))
        }
        Err(_) => Err("it cannot be read".to_owned()),
    }
}

fn is_postgres_parameter(key: &str) -> bool {
    POSTGRES_PARAMETERS.contains(&key) || (key.starts_with("options[") && key.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_shown_url_has_no_password_wherever_it_hides() {
        for (url, shown) in [
            ("postgres://ana:s3cret@db:5432/aten", "postgres://ana:***@db:5432/aten"),
            ("postgres://ana:s3/c@r?et@db/aten", "postgres://ana:***@db/aten"),
            ("postgres://ana@db/aten?password=s3cret", "postgres://ana@db/aten?..."),
            ("postgres://db/aten", "postgres://db/aten"),
            ("mysql://ana:s3cret@db/aten", "mysql://ana:***@db/aten"),
            ("host=db password=s3cret", "***"),
            ("ana:s3cret@db", "***"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("sqlite:///var/lib/m@x.db", "sqlite:///var/lib/m@x.db"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }

    #[test]
    fn a_url_that_is_not_understood_says_why_and_what_to_write_instead() {
        for (url, problem) in [
            ("sqlite::memory:", "names no file"),
            ("sqlite://", "names no file"),
            ("sqlite://data/", "names a directory"),
            ("sqlite://a.db?mode=ro", "parameters"),
            ("mysql://ana:s3cret@db/aten", "no database of kind \"mysql\""),
            ("postgres://db/aten", "names no user"),
            ("postgres://ana:s3cret@db", "names no database"),
            ("postgres://ana:s3cret@db/aten?passwrod=s3cret", "parameter \"passwrod\""),
            ("postgres://ana:s3cret@db:port/aten", "invalid port"),
            ("postgres://ana:s3/cret@db/aten", "names no user"),
            ("ana:s3cret@db", "no ://"),
        ] {
            let error = parse(url).err().expect(url).to_string();
            assert!(error.contains(problem), "{url}: {error}");
            assert!(error.contains("use sqlite://PATH or postgres://USER@HOST/DATABASE"), "{error}");
            assert!(!error.contains("s3"), "{error}");
        }
    }

    #[test]
    fn files_and_servers_are_told_apart() {
        assert!(matches!(parse("sqlite:///a/b.db"), Ok(Target::Sqlite(path)) if path == Path::new("/a/b.db")));
        assert!(matches!(parse("sqlite://b.db"), Ok(Target::Sqlite(path)) if path == Path::new("b.db")));
        for url in
            ["postgres://ana@db/aten", "postgresql://ana:x@db:1/aten?sslmode=require", "postgres:///?user=a&dbname=b"]
        {
            assert!(matches!(parse(url), Ok(Target::Postgres(_))), "{url}");
        }
    }
}
