//! Why a change was refused.

use std::borrow::Cow;

use heldar_store::StoreError;

use crate::secrets::SecretError;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFault {
    /// Its value.
    Value,
    /// It names an address that must not be contacted.
    Target,
}

/// A field whose value cannot be accepted. Never repeats the value, which may hold a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text}")]
pub struct FieldError {
    /// Which.
    pub field: &'static str,
    /// In what way.
    pub fault: FieldFault,
    /// One sentence.
    pub text: Cow<'static, str>,
}

impl FieldError {
    /// A value that cannot be accepted.
    pub fn value(field: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        FieldError { field, fault: FieldFault::Value, text: text.into() }
    }

    /// An address that must not be contacted.
    pub fn target(field: &'static str) -> Self {
        let text = "this address must not be contacted".into();
        FieldError { field, fault: FieldFault::Target, text }
    }
}

/// Why a change was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A field cannot be accepted.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// There is no such thing.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The id is taken.
    #[error("the id is taken")]
    Taken,
    /// The new camera lies outside the scope of its maker.
    #[error("outside the scope")]
    OutOfScope,
    /// Only who is not limited to some cameras may do so.
    #[error("closed to those who are limited to cameras")]
    FleetOnly,
    /// The camera was removed; only its footage is left.
    #[error("the camera was removed")]
    Removed,
    /// Cameras belong to the site.
    #[error("cameras belong to the site")]
    InUse,
    /// Someone else changed it at the same time.
    #[error("it was changed by someone else")]
    Changed,
    /// A secret cannot be sealed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task of the change ended without an answer.
    #[error("the change has no result")]
    Broken,
}
