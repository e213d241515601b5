//! Closed vocabularies as schemas of the API description, from the one list that each has.

use std::borrow::Cow;

use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Declares schemas by the type whose words they list.
macro_rules! vocabularies {
    ($($(#[$meta:meta])* $name:ident = $type:ty,)+) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words = <$type>::ALL.iter().map(|word| word.as_str());
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )+};
}

vocabularies! {
    /// Which feed of a camera.
    StreamKind = heldar_base::StreamKind,
    /// What went wrong with a stream.
    ReasonClass = heldar_base::ReasonClass,
    /// Why recording is not wanted.
    NotWanted = heldar_base::NotWanted,
    /// How RTP is carried.
    RtspTransport = heldar_store::RtspTransport,
    /// When a camera is recorded.
    RecordMode = heldar_store::RecordMode,
    /// How HTTP to the device is protected.
    DeviceTls = heldar_store::DeviceTls,
    /// State of a camera.
    CameraState = heldar_store::CameraState,
    /// How much an event matters.
    Severity = heldar_store::Severity,
    /// How an audited action ended.
    AuditOutcome = heldar_store::AuditOutcome,
}
