//! Names of things.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::WallTime;
use crate::reason::slugs;

/// Text that does not name anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A slug has letters `a-z`, digits and `_`, 1 to 128 of them.
    #[error("an id has 1 to 128 of the characters a-z, 0-9 and _")]
    Slug,
    /// A public id is a prefix and 32 lowercase hexadecimal digits.
    #[error("an id of this kind is `{0}_` and 32 hexadecimal digits")]
    Public(&'static str),
}

/// Turns a name into a slug: lowercase ASCII letters and digits, other runs become `_`, trimmed; `fallback` when
/// nothing is left. At most 128 characters.
pub fn slugify(name: &str, fallback: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    slug.truncate(128);
    let slug = slug.trim_end_matches('_');
    if slug.is_empty() { fallback.to_owned() } else { slug.to_owned() }
}

macro_rules! slug_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a slug.
            ///
            /// # Errors
            /// Anything but 1 to 128 of `a-z`, `0-9`, `_`. What passes is safe as a folder name.
            pub fn new(text: &str) -> Result<Self, IdError> {
                let ok = (1..=128).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                if ok { Ok($name(text.into())) } else { Err(IdError::Slug) }
            }

            /// The slug.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                $name::new(text)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

slug_id! {
    /// A camera: one device, with one or more streams.
    CameraId
}
slug_id! {
    /// A site: a place with a time zone that cameras belong to.
    SiteId
}

slugs! {
    /// Which encoded feed of a camera.
    #[derive(Default)]
    StreamKind {
        /// The high-resolution feed.
        #[default]
        Main = "main",
        /// The low-resolution feed.
        Sub = "sub",
    }
}

impl<'de> Deserialize<'de> for StreamKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("expected `main` or `sub`"))
    }
}

/// One encoded feed of one camera, anywhere in the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The device.
    pub camera: CameraId,
    /// Its feed.
    pub kind: StreamKind,
}

impl StreamId {
    /// Names a feed of a camera.
    pub fn new(camera: CameraId, kind: StreamKind) -> Self {
        StreamId { camera, kind }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.camera, self.kind)
    }
}

/// A random id with a kind prefix, such as `clip_` and 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicId {
    prefix: &'static str,
    bits: u128,
}

impl PublicId {
    /// Puts random or derived bits under a prefix (without its underscore).
    pub const fn new(prefix: &'static str, bits: u128) -> Self {
        PublicId { prefix, bits }
    }

    /// Reads back an id of one kind.
    ///
    /// # Errors
    /// Another prefix, or anything but 32 lowercase hexadecimal digits behind it.
    pub fn parse(prefix: &'static str, text: &str) -> Result<Self, IdError> {
        let hex =
            text.strip_prefix(prefix).and_then(|t| t.strip_prefix('_')).ok_or(IdError::Public(prefix))?;
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(IdError::Public(prefix));
        }
        let bits = u128::from_str_radix(hex, 16).map_err(|_| IdError::Public(prefix))?;
        Ok(PublicId { prefix, bits })
    }

    /// The 128 bits behind the prefix.
    pub fn bits(self) -> u128 {
        self.bits
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{:032x}", self.prefix, self.bits)
    }
}
impl fmt::Debug for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl Serialize for PublicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A segment, named by what makes it unique: the stream's row in the store and its first instant.
///
/// Segments of one stream never overlap, so no two of them start together; the id needs no index of its own. Its public
/// form is `seg_` and 32 digits: 16 of the start, 16 of the stream's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId {
    /// Row number of the stream in the store.
    pub stream_no: i64,
    /// First instant of the segment.
    pub start: WallTime,
}

impl SegmentId {
    /// Prefix of the public form.
    pub const PREFIX: &'static str = "seg";

    /// The public form.
    pub fn public(self) -> PublicId {
        let high = u128::from(self.start.0.cast_unsigned());
        PublicId::new(Self::PREFIX, (high << 64) | u128::from(self.stream_no.cast_unsigned()))
    }

    /// Reads back the public form.
    ///
    /// # Errors
    /// As [`PublicId::parse`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let bits = PublicId::parse(Self::PREFIX, text)?.bits();
        let low = (bits & u128::from(u64::MAX)) as u64;
        Ok(SegmentId { stream_no: low.cast_signed(), start: WallTime(((bits >> 64) as u64).cast_signed()) })
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.public(), f)
    }
}
impl Serialize for SegmentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slugs_from_names() {
        for (name, expect) in [
            ("Front Door", "front_door"),
            ("  --Gate #2--", "gate_2"),
            ("Überwachung", "berwachung"),
            ("日本", "camera"),
            ("", "camera"),
        ] {
            assert_eq!(slugify(name, "camera"), expect);
        }
    }

    #[test]
    fn ids_stay_in_their_folder() {
        for text in ["", "..", "a/b", "A", "a-b", "a b", "a\0"] {
            assert!(CameraId::new(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_slug_is_an_id(name in ".{0,200}") {
            prop_assert!(CameraId::new(&slugify(&name, "camera")).is_ok());
        }

        #[test]
        fn segment_ids_round_trip(stream_no: i64, start: i64) {
            let id = SegmentId { stream_no, start: WallTime(start) };
            prop_assert_eq!(SegmentId::parse(&id.to_string()), Ok(id));
        }

        #[test]
        fn foreign_text_is_refused(text in ".{0,48}") {
            if let Ok(id) = SegmentId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
