//! Closed vocabularies as schemas of the API description, from the one list that each has.

use std::borrow::Cow;

use heldar_ingest::TransportUsed;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::engine::stream::AudioOutcome as Audio;
use crate::engine::supervisor::SessionPhase as Phase;

/// Declares schemas by the values whose words they list.
macro_rules! vocabularies {
    ($($(#[$meta:meta])* $name:ident = $values:expr,)+) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words = $values.iter().map(|value| value.as_str());
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
    StreamKind = heldar_base::StreamKind::ALL,
    /// What went wrong with a stream.
    ReasonClass = heldar_base::ReasonClass::ALL,
    /// Why recording is not wanted.
    NotWanted = heldar_base::NotWanted::ALL,
    /// How RTP is carried.
    RtspTransport = heldar_store::RtspTransport::ALL,
    /// When a camera is recorded.
    RecordMode = heldar_store::RecordMode::ALL,
    /// How HTTP to the device is protected.
    DeviceTls = heldar_store::DeviceTls::ALL,
    /// State of a camera.
    CameraState = heldar_store::CameraState::ALL,
    /// How much an event matters.
    Severity = heldar_store::Severity::ALL,
    /// How an audited action ended.
    AuditOutcome = heldar_store::AuditOutcome::ALL,
    /// What a session is doing.
    SessionPhase = [Phase::Idle, Phase::Connecting, Phase::Streaming, Phase::Backoff],
    /// What RTP is carried over.
    Transport = [TransportUsed::Tcp, TransportUsed::Udp],
    /// What becomes of the sound.
    AudioOutcome = [Audio::None, Audio::Copied, Audio::Converted, Audio::Unsupported],
}
