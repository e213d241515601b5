//! Values that must never be seen.

use std::fmt;

use zeroize::Zeroize;

/// A value that prints as `***` and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value into custody.
    pub fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value itself; the name marks every place that sees one.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Secret(value)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Replaces every `scheme://userinfo@` in `text` by `scheme://***@`.
///
/// The userinfo ends at the last `@` before `/`, white space or a quote, so that a password with an `@` is covered whole.
pub fn mask_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end =
            tail.find(|c: char| c == '/' || c.is_whitespace() || c == '"' || c == '\'').unwrap_or(tail.len());
        match tail[..end].rfind('@') {
            Some(userinfo_end) => {
                out.push_str("***");
                rest = &tail[userinfo_end..];
            }
            None => rest = tail,
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_userinfo() {
        for (text, expect) in [
            ("rtsp://admin:pw@10.0.0.1:554/x", "rtsp://***@10.0.0.1:554/x"),
            ("rtsp://admin:p@w@cam/x", "rtsp://***@cam/x"),
            ("rtsp://cam/x?user=a@b", "rtsp://cam/x?user=a@b"),
            ("see \"http://u:p@h\" and rtsp://a@b", "see \"http://***@h\" and rtsp://***@b"),
            ("no url", "no url"),
            ("rtsp://", "rtsp://"),
        ] {
            assert_eq!(mask_userinfo(text), expect);
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    proptest! {
        #[test]
        fn no_password_survives(user in "[a-z]{1,8}", pass in "[a-zA-Z0-9@:#?]{4,12}", host in "[a-z]{3,8}") {
            let masked = mask_userinfo(&format!("failed: rtsp://{user}:{pass}@{host}/s: timeout"));
            prop_assert_eq!(masked, format!("failed: rtsp://***@{}/s: timeout", host));
        }
    }
}
