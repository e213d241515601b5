//! How values are shown.
//!
//! Whatever leaves this crate as text (errors, findings, doctor) went through here.

use crate::kind::Kind;
use crate::variable::{Secrecy, Variable};
use crate::workers::shows_a_key;

/// What stands for a secret.
pub(crate) const MASK: &str = "***";

/// Longest value that is shown, in characters.
const SHOWN_CHARS: usize = 200;

/// A raw value of a variable, fit to be shown.
pub(crate) fn shown(variable: &Variable, raw: &str) -> String {
    if variable.secrecy == Secrecy::Secret {
        return MASK.to_owned();
    }
    match variable.kind {
        Kind::Commands if shows_a_key(raw) => MASK.to_owned(),
        // Userinfo of an address may stand there even where the scheme was forgotten.
        Kind::Url(_) | Kind::UrlList(_) | Kind::Origins => {
            legible(&raw.split(',').map(mask_authority).collect::<Vec<_>>().join(","))
        }
        _ if raw.contains("://") => legible(&mask_authority(raw)),
        _ => legible(raw),
    }
}

/// Control characters escaped, so that a value cannot forge a line of the log, and cut to a length.
pub(crate) fn legible(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == SHOWN_CHARS {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Replaces all from the scheme to the last `@`. Wider than the userinfo of RFC 3986 3.2.1: a password that was not
/// percent-encoded may hold any character.
fn mask_authority(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    match text.rfind('@') {
        Some(at) if at >= start => format!("{}{MASK}{}", &text[..start], &text[at..]),
        Some(at) => format!("{MASK}{}", &text[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;

    #[test]
    fn shown_values() {
        for (name, raw, expect) in [
            ("HELDAR_SECRET_KEY", "abc", "***"),
            ("HELDAR_DATABASE_URL", "sqlite://x", "***"),
            ("HELDAR_PUBLIC_URL", "https://a:b@h/x", "https://***@h/x"),
            ("HELDAR_PUBLIC_URL", "https://a:b/c@h/x", "https://***@h/x"),
            ("HELDAR_PUBLIC_URL", "a:b@h", "***@h"),
            ("HELDAR_REGISTRY_URLS", "http://a:b@h,https://c:d@i", "http://***@h,https://***@i"),
            ("HELDAR_SITE_ID", "see rtsp://a:b@h", "see rtsp://***@h"),
            ("HELDAR_SITE_ID", "a\nb\u{1b}[2J", "a\\nb\\u{1b}[2J"),
            ("HELDAR_WORKERS", "a=x --api-key vok_12", "***"),
            ("HELDAR_TLS_ISSUER", "ops@example.org", "ops@example.org"),
        ] {
            assert_eq!(shown(find(name).unwrap(), raw), expect, "{name}={raw}");
        }
        assert_eq!(legible(&"x".repeat(300)).chars().count(), 201);
    }
}
