//! Names of tasks and leases.
//!
//! Owns: their text forms. Never: making them up; fresh bits come from the caller.

use std::fmt;
use std::str::FromStr;

use heldar_base::{IdError, PublicId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! public_id {
    ($(#[$meta:meta])* $name:ident = $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(PublicId);

        impl $name {
            /// What stands before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The id of random bits.
            pub const fn new(bits: u128) -> Self {
                $name(PublicId::new($prefix, bits))
            }

            /// Reads the text form.
            ///
            /// # Errors
            /// Another prefix, or anything but 32 lowercase hexadecimal digits behind it.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                PublicId::parse($prefix, text).map($name)
            }

            /// The bits it was made of.
            pub fn bits(self) -> u128 {
                self.0.bits()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                $name::parse(text)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

public_id! {
    /// An AI task: `ai_` and 32 hexadecimal digits.
    TaskId = "ai"
}
public_id! {
    /// The lease of one worker, on all of its tasks: `lse_` and 32 hexadecimal digits.
    LeaseId = "lse"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_prefix_and_32_digits() {
        let task = TaskId::new(0xabc);
        assert_eq!(task.to_string(), "ai_00000000000000000000000000000abc");
        assert_eq!(TaskId::parse(&task.to_string()), Ok(task));
        assert_eq!(serde_json::to_string(&task).unwrap(), format!("\"{task}\""));
        for text in ["", "ai_", "lse_00000000000000000000000000000abc", "ai_ABC", "ai_abc"] {
            assert!(TaskId::parse(text).is_err(), "{text}");
        }
    }
}
