//! Where the store is: `HELDAR_DATABASE_URL` taken apart.

use std::path::{Path, PathBuf};

use heldar_base::Secret;
use url::Url;

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTarget {
    /// A file of SQLite, relative to the working directory.
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL database, with its credentials.
    Postgres(Secret<String>),
}

/// A URL that names no database. Never holds the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// Neither `sqlite:` nor `postgres:`.
    #[error("the scheme is neither sqlite nor postgres")]
    Scheme,
    /// `sqlite:` without a file.
    #[error("it names no file")]
    NoFile,
    /// `sqlite::memory:` and its kin.
    #[error("a database in memory is lost with the process")]
    Memory,
    /// A parameter that the store does not know, or not with that value.
    #[error("of the parameters of SQLite URLs only mode=rwc and mode=rw are known")]
    Parameter,
    /// Not a URL.
    #[error("it is not a URL")]
    Malformed,
}

impl DatabaseTarget {
    /// Parses a database URL.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn parse(text: &str) -> Result<Self, DatabaseError> {
        let (scheme, rest) = text.split_once(':').ok_or(DatabaseError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" => sqlite_path(rest.strip_prefix("//").unwrap_or(rest)).map(DatabaseTarget::Sqlite),
            "postgres" | "postgresql" => {
                let url = Url::parse(text).map_err(|_| DatabaseError::Malformed)?;
                if url.cannot_be_a_base() {
                    return Err(DatabaseError::Malformed);
                }
                Ok(DatabaseTarget::Postgres(Secret::new(text.to_owned())))
            }
            _ => Err(DatabaseError::Scheme),
        }
    }

    /// The file that is used where no URL is set.
    pub fn in_folder(data_dir: &Path) -> Self {
        DatabaseTarget::Sqlite(data_dir.join("heldar.db"))
    }

    /// `SQLite` or `PostgreSQL`.
    pub fn engine(&self) -> &'static str {
        match self {
            DatabaseTarget::Sqlite(_) => "SQLite",
            DatabaseTarget::Postgres(_) => "PostgreSQL",
        }
    }
}

fn sqlite_path(rest: &str) -> Result<PathBuf, DatabaseError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    for parameter in query.split('&').filter(|p| !p.is_empty()) {
        match parameter {
            // What the store does in any case.
            "mode=rwc" | "mode=rw" => {}
            "mode=memory" => return Err(DatabaseError::Memory),
            _ => return Err(DatabaseError::Parameter),
        }
    }
    let path = percent_decoded(path).ok_or(DatabaseError::Malformed)?;
    match path.as_str() {
        "" => Err(DatabaseError::NoFile),
        ":memory:" => Err(DatabaseError::Memory),
        _ if path.contains('\0') => Err(DatabaseError::Malformed),
        _ => Ok(PathBuf::from(path)),
    }
}

/// RFC 3986 2.1; `None` where the result is not UTF-8 or an escape is cut short.
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sqlite(text: &str, path: &str) {
        assert_eq!(DatabaseTarget::parse(text), Ok(DatabaseTarget::Sqlite(path.into())), "{text}");
    }

    #[test]
    fn forms() {
        sqlite("sqlite://./data/heldar.db", "./data/heldar.db");
        sqlite("sqlite:///var/lib/heldar/heldar.db", "/var/lib/heldar/heldar.db");
        sqlite("sqlite:heldar.db", "heldar.db");
        sqlite("SQLite://heldar.db?mode=rwc", "heldar.db");
        sqlite("sqlite://a%20b.db", "a b.db");
        for url in
            ["postgres://u:p@h/d", "postgresql://h:5432/d?sslmode=require", "postgres:///d?host=/run/pg"]
        {
            assert_eq!(
                DatabaseTarget::parse(url),
                Ok(DatabaseTarget::Postgres(Secret::new(url.to_owned()))),
                "{url}"
            );
        }
        for (url, error) in [
            ("", DatabaseError::Scheme),
            ("/var/lib/heldar.db", DatabaseError::Scheme),
            ("mysql://h/d", DatabaseError::Scheme),
            ("sqlite:", DatabaseError::NoFile),
            ("sqlite://", DatabaseError::NoFile),
            ("sqlite::memory:", DatabaseError::Memory),
            ("sqlite://x?mode=memory", DatabaseError::Memory),
            ("sqlite://x?mode=ro", DatabaseError::Parameter),
            ("sqlite://x?cache=shared", DatabaseError::Parameter),
            ("sqlite://x%2", DatabaseError::Malformed),
            ("sqlite://x%00", DatabaseError::Malformed),
            ("sqlite://x%ff", DatabaseError::Malformed),
            ("postgres:h/d", DatabaseError::Malformed),
            ("postgres://h:port/d", DatabaseError::Malformed),
        ] {
            assert_eq!(DatabaseTarget::parse(url), Err(error), "{url}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(sqlite:|postgres:|)(//)?.{0,40}") {
            let _outcome = DatabaseTarget::parse(&text);
        }
    }
}
