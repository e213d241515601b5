//! Which database: the one setting of the store that names it.

use std::path::PathBuf;
use std::str::FromStr;

use heldar_base::Secret;

/// Where the store lives.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL connection URL; secret, as it may hold a password.
    Postgres(Secret<String>),
}

/// Text that names no database. Never repeats the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `sqlite:` nor `postgres:`.
    #[error("a database URL begins with `sqlite:` or `postgres:`")]
    Scheme,
    /// A SQLite URL without a file, or one in memory.
    #[error("a SQLite URL names a file, for example `sqlite://./data/heldar.db`")]
    NoFile,
    /// A PostgreSQL URL that cannot be read.
    #[error("not a PostgreSQL URL of the form `postgres://user:password@host:port/database`")]
    Postgres,
}

impl FromStr for DatabaseUrl {
    type Err = UrlError;

    /// Understands `sqlite:PATH`, `sqlite://PATH` (relative paths too) and `postgres://…`. Parameters of a SQLite URL
    /// are ignored: how the file is opened is not a choice.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::Scheme)?;
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                if path.is_empty() || path.ends_with('/') || path == ":memory:" {
                    return Err(UrlError::NoFile);
                }
                Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
            }
            "postgres" | "postgresql" => {
                let checked = sqlx::postgres::PgConnectOptions::from_str(text);
                if !rest.starts_with("//") || checked.is_err() {
                    return Err(UrlError::Postgres);
                }
                Ok(DatabaseUrl::Postgres(Secret::new(text.to_owned())))
            }
            _ => Err(UrlError::Scheme),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<Option<&str>, UrlError>) {
        let got = text.parse::<DatabaseUrl>().map(|url| match url {
            DatabaseUrl::Sqlite(path) => Some(path.to_string_lossy().into_owned()),
            DatabaseUrl::Postgres(_) => None,
        });
        assert_eq!(got, expect.map(|path| path.map(str::to_owned)), "{text}");
    }

    #[test]
    fn forms() {
        check("sqlite://./data/heldar.db", Ok(Some("./data/heldar.db")));
        check("sqlite:///var/lib/heldar.db", Ok(Some("/var/lib/heldar.db")));
        check("sqlite:heldar.db", Ok(Some("heldar.db")));
        check("sqlite://a.db?mode=rwc", Ok(Some("a.db")));
        check("postgres://u:p@localhost:5432/heldar", Ok(None));
        check("postgresql://localhost/heldar", Ok(None));
        check("sqlite:", Err(UrlError::NoFile));
        check("sqlite::memory:", Err(UrlError::NoFile));
        check("sqlite://data/", Err(UrlError::NoFile));
        check("postgres:", Err(UrlError::Postgres));
        check("mysql://localhost/x", Err(UrlError::Scheme));
        check("/data/heldar.db", Err(UrlError::Scheme));
    }

    #[test]
    fn a_password_is_not_shown() {
        let url: DatabaseUrl = "postgres://u:hunter2@localhost/heldar".parse().unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}
