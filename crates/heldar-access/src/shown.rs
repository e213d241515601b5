//! What a request shows: tokens in headers and cookies, and what a live token says (auth-system.md 11.1, 14).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heldar_base::{Credential, KeySecret, WallTime};

/// The values of a cookie of this name in a `Cookie` header; empty ones are none.
pub fn cookies<'a>(header: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    header.split(';').filter_map(move |cookie| {
        cookie.trim().strip_prefix(name)?.strip_prefix('=').filter(|value| !value.is_empty())
    })
}

/// The token of an `Authorization` header; what is of another scheme is taken whole, and is none of ours.
pub fn bearer(header: &str) -> &str {
    let token = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer "));
    token.map_or(header, str::trim)
}

const VERSION: &str = "v2";
/// Kind of the system's own principal, which is everybody while access control is off.
const SYSTEM: &str = "s";
/// The subject of that.
const NOBODY: &str = "system";
const SESSION: &str = "u";
const KEY: &str = "k";

/// What a live token says before its signature: when it expires, in whole seconds, and for whom it stands.
pub fn live_token(expires: WallTime, credential: &Credential) -> String {
    let (kind, subject) = match credential {
        Credential::Nothing => (SYSTEM, NOBODY.to_owned()),
        Credential::Session(id) => (SESSION, id.clone()),
        Credential::Key(KeySecret { key, generation }) => (KEY, format!("{key}.{generation}")),
    };
    format!("{VERSION}.{}.{kind}.{}", expires.0.div_euclid(1_000_000), URL_SAFE_NO_PAD.encode(subject))
}

/// Reads that; `None` for what no token says.
pub fn read_live_token(said: &str) -> Option<(WallTime, Credential)> {
    let mut parts = said.split('.');
    let (version, expires, kind, subject) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != VERSION || parts.next().is_some() {
        return None;
    }
    let expires = WallTime(expires.parse::<i64>().ok()?.checked_mul(1_000_000)?);
    let subject = String::from_utf8(URL_SAFE_NO_PAD.decode(subject).ok()?).ok()?;
    let credential = match kind {
        SYSTEM if subject == NOBODY => Credential::Nothing,
        SESSION => Credential::Session(subject),
        KEY => {
            let (key, generation) = subject.rsplit_once('.')?;
            Credential::Key(KeySecret { key: key.to_owned(), generation: generation.to_owned() })
        }
        _ => return None,
    };
    Some((expires, credential))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers() {
        for (header, expect) in [
            ("a=b; heldar_session=y", &["y"][..]),
            ("heldar_session=x;heldar_session=y", &["x", "y"]),
            ("heldar_session=; my_heldar_session=z; heldar_session_x=w", &[]),
            ("heldar_session", &[]),
            ("", &[]),
        ] {
            assert_eq!(cookies(header, "heldar_session").collect::<Vec<_>>(), expect, "{header}");
        }
        for (header, expect) in [
            ("Bearer x", "x"),
            ("bearer  x ", "x"),
            ("BEARER x", "BEARER x"),
            ("Basic eA==", "Basic eA=="),
            ("", ""),
        ] {
            assert_eq!(bearer(header), expect, "{header}");
        }
    }

    proptest! {
        #[test]
        fn live_tokens_read_back(seconds in -1i64 << 40..1 << 40, kind in 0..3, id in "[a-z_0-9.é]{0,40}") {
            let credential = match kind {
                0 => Credential::Nothing,
                1 => Credential::Session(id),
                _ => Credential::Key(KeySecret { key: id, generation: "00ff".to_owned() }),
            };
            let expires = WallTime(seconds * 1_000_000);
            prop_assert_eq!(read_live_token(&live_token(expires, &credential)), Some((expires, credential)));
        }

        #[test]
        fn nothing_else_is_read(text in "(v[12])?[.]?[0-9]{0,20}[.]?[suk]?[.]?[A-Za-z0-9_=-]{0,20}[.]?") {
            if let Some((expires, credential)) = read_live_token(&text) {
                // Numbers may have a sign or zeros in front.
                let again = live_token(expires, &credential);
                prop_assert_eq!(read_live_token(&again), Some((expires, credential)));
            }
        }
    }
}
