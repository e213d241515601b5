//! What a change says about secrets: passwords and URLs, masked or not.
//!
//! Pure. A value that carries the mask keeps the stored secret in its place (media.md 2.2), so that a client may send back
//! what it was shown.

use std::net::IpAddr;

use heldar_base::{Secret, mask_userinfo};
use heldar_http::Patch;
use heldar_ingest::AddressGuard;

use super::error::FieldError;
use super::fields::Rules;
use super::urls::Opened;
use crate::address::{check_stream_url, split_url};

/// Port of a stream address that names none (RFC 2326 3.2).
const RTSP_PORT: u16 = 554;
/// What stands for a secret.
pub(super) const MASK: &str = "***";

/// What becomes of a stored secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// It stays as it is.
    Keep,
    /// It goes.
    Clear,
    /// This takes its place.
    Set(Secret<String>),
}

/// The stored secrets of a camera, opened.
#[derive(Clone, Debug)]
pub(super) struct OpenedSecrets {
    pub(super) password: Opened,
    pub(super) main_url: Opened,
    pub(super) sub_url: Opened,
    pub(super) replay: Opened,
}

impl OpenedSecrets {
    /// Those of a camera that is not there yet.
    pub(super) const NONE: OpenedSecrets = OpenedSecrets {
        password: Opened::Nothing,
        main_url: Opened::Nothing,
        sub_url: Opened::Nothing,
        replay: Opened::Nothing,
    };
}

/// What becomes of each secret of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretEdits {
    pub(super) password: Edit,
    pub(super) main_url: Edit,
    pub(super) sub_url: Edit,
    pub(super) replay: Edit,
}

/// What the other fields of the camera offer to a URL without credentials of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnCredentials {
    pub(super) username: bool,
    pub(super) password: bool,
}

fn set(value: Secret<String>, stored: &Opened) -> Edit {
    if stored.value() == Some(&value) { Edit::Keep } else { Edit::Set(value) }
}

/// A new value where one is stored already, or not.
fn clear(stored: &Opened) -> Edit {
    if *stored == Opened::Nothing { Edit::Keep } else { Edit::Clear }
}

/// The password. An empty one is none.
pub(super) fn password(change: Patch<Secret<String>>, stored: &Opened) -> Result<Edit, FieldError> {
    match change {
        Patch::Absent => Ok(Edit::Keep),
        Patch::Null => Ok(clear(stored)),
        Patch::Value(value) if value.expose().is_empty() => Ok(clear(stored)),
        Patch::Value(value) if value.expose() == MASK => match stored {
            Opened::Nothing => {
                Err(FieldError::value("password", "*** stands for a stored password, and none is stored"))
            }
            Opened::Value(_) | Opened::Unreadable => Ok(Edit::Keep),
        },
        Patch::Value(value) => Ok(set(value, stored)),
    }
}

/// A stream URL. Blank clears one that is stored, and is no URL for a new camera.
pub(super) fn stream_url(
    field: &'static str,
    change: Patch<Secret<String>>,
    stored: &Opened,
    own: OwnCredentials,
    rules: Rules,
    guard: &dyn AddressGuard,
) -> Result<Edit, FieldError> {
    match change {
        Patch::Absent => Ok(Edit::Keep),
        Patch::Null => Ok(clear(stored)),
        Patch::Value(text) if rules == Rules::Change && text.expose().trim().is_empty() => Ok(clear(stored)),
        Patch::Value(text) => url(field, text.expose(), stored, own, guard),
    }
}

/// The template of the device's replay. Blank is none for a new camera, and keeps one that is stored.
pub(super) fn replay_template(
    change: Patch<Secret<String>>,
    stored: &Opened,
    own: OwnCredentials,
    guard: &dyn AddressGuard,
) -> Result<Edit, FieldError> {
    match change {
        Patch::Absent => Ok(Edit::Keep),
        Patch::Null => Ok(clear(stored)),
        Patch::Value(text) if text.expose().trim().is_empty() => Ok(Edit::Keep),
        Patch::Value(text) => url("anr_replay_url_template", text.expose().trim(), stored, own, guard),
    }
}

fn url(
    field: &'static str,
    text: &str,
    stored: &Opened,
    own: OwnCredentials,
    guard: &dyn AddressGuard,
) -> Result<Edit, FieldError> {
    check_stream_url(text).map_err(|error| FieldError::value(field, error.to_string()))?;
    if stored.value().is_some_and(|stored| text.contains(MASK) && mask_userinfo(stored.expose()) == text) {
        return Ok(Edit::Keep);
    }
    let full = unmask(text, stored, own).map_err(|problem| FieldError::value(field, problem))?;
    let split = split_url(full.expose()).map_err(|error| FieldError::value(field, error.to_string()))?;
    let port = split.url.port().unwrap_or(RTSP_PORT);
    if split.url.host_str().is_some_and(|host| is_forbidden(host, port, guard)) {
        return Err(FieldError::target(field));
    }
    Ok(set(full, stored))
}

/// True for a literal address that no camera may have; names are looked at when they are resolved.
pub(super) fn is_forbidden(host: &str, port: u16, guard: &dyn AddressGuard) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok_and(|address| !guard.allows((address, port).into()))
}

/// Scheme with `://`, userinfo without its `@`, and the rest of a URL. The userinfo ends at the last `@` of the authority.
fn parts(url: &str) -> (&str, Option<&str>, &str) {
    let Some(at) = url.find("://") else { return (url, None, "") };
    let (scheme, rest) = url.split_at(at + 3);
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
        None => (scheme, None, rest),
    }
}

/// Puts the stored credentials in the place of the mask. Where the stored URL has none, the mask stands for those of the
/// camera, which go with every URL that has none of its own.
fn unmask(text: &str, stored: &Opened, own: OwnCredentials) -> Result<Secret<String>, &'static str> {
    const NOTHING: &str = "*** stands for stored credentials, and none are stored";
    const UNREADABLE: &str = "the stored credentials cannot be opened: send the whole URL";
    let (scheme, Some(userinfo), rest) = parts(text) else { return Ok(Secret::new(text.to_owned())) };
    let masked_password = userinfo.split_once(':').filter(|(_, password)| *password == MASK);
    if userinfo != MASK && masked_password.is_none() {
        return Ok(Secret::new(text.to_owned()));
    }
    if *stored == Opened::Unreadable {
        return Err(UNREADABLE);
    }
    let known = stored.value().and_then(|url| parts(url.expose()).1);
    let userinfo = match (masked_password, known) {
        (None, Some(known)) => format!("{known}@"),
        (None, None) if own.username || own.password => String::new(),
        (Some((user, _)), known) => match known.and_then(|known| known.split_once(':')) {
            Some((_, password)) => format!("{user}:{password}@"),
            None if own.password => format!("{user}@"),
            None => return Err(NOTHING),
        },
        (None, None) => return Err(NOTHING),
    };
    Ok(Secret::new(format!("{scheme}{userinfo}{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NotLinkLocal;

    impl AddressGuard for NotLinkLocal {
        fn allows(&self, at: std::net::SocketAddr) -> bool {
            !matches!(at.ip(), IpAddr::V4(v4) if v4.is_link_local())
        }
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    fn stored(text: Option<&str>) -> Opened {
        match text {
            None => Opened::Nothing,
            Some("?") => Opened::Unreadable,
            Some(text) => Opened::Value(secret(text)),
        }
    }

    fn show(edit: Result<Edit, FieldError>) -> String {
        match edit {
            Ok(Edit::Keep) => "keep".to_owned(),
            Ok(Edit::Clear) => "clear".to_owned(),
            Ok(Edit::Set(value)) => value.expose().clone(),
            Err(error) => format!("{:?}", error.fault),
        }
    }

    #[test]
    fn passwords() {
        let check = |change, known: Option<&str>, expect: &str| {
            assert_eq!(show(password(change, &stored(known))), expect);
        };
        check(Patch::Absent, Some("old"), "keep");
        check(Patch::Null, Some("old"), "clear");
        check(Patch::Null, None, "keep");
        check(Patch::Value(secret("")), Some("old"), "clear");
        check(Patch::Value(secret("***")), Some("old"), "keep");
        check(Patch::Value(secret("***")), Some("?"), "keep");
        check(Patch::Value(secret("***")), None, "Value");
        check(Patch::Value(secret("old")), Some("old"), "keep");
        check(Patch::Value(secret("new")), Some("old"), "new");
        check(Patch::Value(secret("new")), Some("?"), "new");
    }

    fn check_url(text: &str, known: Option<&str>, own: (bool, bool), expect: &str) {
        let own = OwnCredentials { username: own.0, password: own.1 };
        let change = Patch::Value(secret(text));
        let got = stream_url("main_stream_url", change, &stored(known), own, Rules::Change, &NotLinkLocal);
        assert_eq!(show(got), expect, "{text} over {known:?}");
    }

    #[test]
    fn urls_with_and_without_mask() {
        let none = (false, false);
        check_url("rtsp://h/x", None, none, "rtsp://h/x");
        check_url("rtsp://h/x", Some("rtsp://h/x"), none, "keep");
        check_url("rtsp://***@h/x", Some("rtsp://u:p@h/x"), none, "keep");
        check_url("rtsp://***@h2/y", Some("rtsp://u:p@s@h/x"), none, "rtsp://u:p@s@h2/y");
        check_url("rtsp://v:***@h/x", Some("rtsp://u:p:q@h/x"), none, "rtsp://v:p:q@h/x");
        check_url("rtsp://v:***@h/x", None, (false, true), "rtsp://v@h/x");
        check_url("rtsp://***@h/x", Some("rtsp://h/x"), (true, true), "keep");
        check_url("rtsp://***@h/x", None, (true, false), "rtsp://h/x");
        check_url("rtsp://***@h/x", None, none, "Value");
        check_url("rtsp://v:***@h/x", Some("rtsp://u@h/x"), none, "Value");
        check_url("rtsp://***@h/x", Some("?"), (true, true), "Value");
        check_url("rtsp://u:p@h/x", Some("?"), none, "rtsp://u:p@h/x");
        check_url("rtsp://h/x?to=***@y", None, none, "rtsp://h/x?to=***@y");
        check_url("", Some("rtsp://h/x"), none, "clear");
        check_url(" ", None, none, "keep");
        for bad in
            ["h/x", "ftp://h/x", "rtsp://h/a b", "rtsp://h/\u{7}", "rtsp://", "rtsp://u:p@/x", " rtsp://h/x"]
        {
            check_url(bad, None, none, "Value");
        }
        check_url("rtsp://u:p@169.254.169.254/x", None, none, "Target");
        check_url("http://***@169.254.1.1/x", Some("rtsp://u:p@h/x"), none, "Target");
    }

    #[test]
    fn blank_is_no_url_for_a_new_camera() {
        let own = OwnCredentials { username: false, password: false };
        let blank = || Patch::Value(secret("  "));
        let edit =
            stream_url("main_stream_url", blank(), &Opened::Nothing, own, Rules::Create, &NotLinkLocal);
        assert_eq!(show(edit), "Value");
        assert_eq!(show(replay_template(blank(), &Opened::Nothing, own, &NotLinkLocal)), "keep");
        let template = Patch::Value(secret(" rtsp://u:p@h/{start} "));
        assert_eq!(
            show(replay_template(template, &Opened::Nothing, own, &NotLinkLocal)),
            "rtsp://u:p@h/{start}"
        );
        assert_eq!(show(replay_template(blank(), &stored(Some("rtsp://h/x")), own, &NotLinkLocal)), "keep");
        assert_eq!(
            show(replay_template(Patch::Null, &stored(Some("rtsp://h/x")), own, &NotLinkLocal)),
            "clear"
        );
    }
}
