//! Turns what serde says about a value into a sentence that does not repeat the value.
//!
//! serde's messages quote what was sent ("invalid type: string \"hunter2\", expected u16"), and what was sent may be a
//! password. So only the expectation is kept.

use heldar_base::mask_userinfo;

/// What kind of complaint a message of serde is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// A field that must be there is not, is there twice, or has another JSON type.
    Shape,
    /// A value of the right type that is not acceptable.
    Value,
}

/// A complaint in our own words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) complaint: Complaint,
    /// The field, seen from the root; `None` for the whole.
    pub(super) field: Option<String>,
    pub(super) text: String,
}

/// Reads a message of serde about the place `path`.
pub(super) fn reason(path: &serde_path_to_error::Path, message: &str) -> Reason {
    let place = match path.to_string() {
        root if root == "." => None,
        place => Some(place),
    };
    // serde_json adds where in the text it happened.
    let message = message.rsplit_once(" at line ").map_or(message, |(head, _)| head);
    let starts = |prefix: &str| message.starts_with(prefix);
    if let Some(name) = quoted_after(message, "missing field `") {
        let field = place.map_or_else(|| name.to_owned(), |place| format!("{place}.{name}"));
        let text = format!("the field `{field}` is missing");
        return Reason { complaint: Complaint::Shape, field: Some(field), text };
    }
    if let Some(name) = quoted_after(message, "duplicate field `") {
        let field = place.map_or_else(|| name.to_owned(), |place| format!("{place}.{name}"));
        let text = format!("`{field}` is given twice");
        return Reason { complaint: Complaint::Shape, field: Some(field), text };
    }
    let named = place.as_deref().map_or_else(|| "the value".to_owned(), |place| format!("`{place}`"));
    let (complaint, text) = if starts("invalid type: ") || starts("invalid length ") {
        (Complaint::Shape, expectation(&named, message, "has the wrong type"))
    } else if starts("invalid value: ") || starts("unknown variant ") {
        (Complaint::Value, expectation(&named, message, "is not acceptable"))
    } else {
        // A message of one of our own types, which name what they accept.
        (Complaint::Value, format!("{named}: {}", mask_userinfo(message)))
    };
    Reason { complaint, field: place, text }
}

fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    message.strip_prefix(prefix)?.strip_suffix('`')
}

fn expectation(named: &str, message: &str, fallback: &str) -> String {
    match message.rsplit_once(", expected ") {
        // The names of our types mean nothing to a client.
        Some((_, expected)) if expected.starts_with("struct ") => {
            format!("{named} {fallback}: expected an object")
        }
        Some((_, expected)) => format!("{named} {fallback}: expected {expected}"),
        None => format!("{named} {fallback}"),
    }
}
