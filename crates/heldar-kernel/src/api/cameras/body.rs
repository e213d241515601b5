//! What clients say about cameras.

use heldar_base::{Secret, StreamKind};
use heldar_http::Patch;
use heldar_store::{DeviceTls, RecordMode, RtspTransport};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::words;
use crate::registry::CameraChanges;

/// Text that must never be seen; taken into custody as it is read.
#[derive(Clone, Debug)]
pub(super) struct SecretText(Secret<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| SecretText(Secret::new(text)))
    }
}

impl SecretText {
    fn secret(change: Patch<SecretText>) -> Patch<Secret<String>> {
        match change {
            Patch::Absent => Patch::Absent,
            Patch::Null => Patch::Null,
            Patch::Value(SecretText(secret)) => Patch::Value(secret),
        }
    }
}

/// Declares both bodies: all fields but the first two are the same. What follows `as` is the type in the description.
macro_rules! bodies {
    (
        plain { $($(#[$attribute:meta])* $field:ident: $type:ident as $schema:path,)+ }
        secret { $($(#[$secret_attribute:meta])* $secret:ident,)+ }
    ) => {
        /// A new camera. Every field but `name` may be left out.
        #[derive(Debug, Deserialize, ToSchema)]
        #[schema(as = CreateCamera)]
        pub struct CreateCamera {
            /// Display name, not blank.
            pub(super) name: String,
            /// Id; the name as a slug by default. Lower-case ASCII letters and digits, all else becomes `_`.
            #[serde(default)]
            pub(super) id: Option<String>,
            $(
                $(#[$attribute])*
                #[serde(default)]
                #[schema(value_type = Option<$schema>)]
                $field: Patch<$type>,
            )+
            $(
                $(#[$secret_attribute])*
                #[serde(default)]
                #[schema(value_type = Option<String>)]
                $secret: Patch<SecretText>,
            )+
        }

        /// A change of a camera: what is absent stays, null clears a field that may be null.
        #[derive(Debug, Deserialize, ToSchema)]
        #[schema(as = PatchCamera)]
        pub struct PatchCamera {
            /// Display name; blank keeps the old one.
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            name: Patch<String>,
            $(
                $(#[$attribute])*
                #[serde(default)]
                #[schema(value_type = Option<$schema>)]
                $field: Patch<$type>,
            )+
            $(
                $(#[$secret_attribute])*
                #[serde(default)]
                #[schema(value_type = Option<String>)]
                $secret: Patch<SecretText>,
            )+
        }

        impl From<CreateCamera> for CameraChanges {
            fn from(body: CreateCamera) -> Self {
                CameraChanges {
                    name: Patch::Value(body.name),
                    $($field: body.$field,)+
                    $($secret: SecretText::secret(body.$secret),)+
                }
            }
        }

        impl From<PatchCamera> for CameraChanges {
            fn from(body: PatchCamera) -> Self {
                CameraChanges {
                    name: body.name,
                    $($field: body.$field,)+
                    $($secret: SecretText::secret(body.$secret),)+
                }
            }
        }
    };
}

bodies! {
    plain {
        /// Site that it belongs to.
        site_id: String as String,
        /// Vendor, which chooses the templates of stream addresses.
        vendor: String as String,
        /// Model.
        model: String as String,
        /// Host name or address of the device.
        address: String as String,
        /// RTSP port, 1 to 65535.
        #[schema(minimum = 1, maximum = 65535)]
        rtsp_port: u16 as u16,
        /// User name at the device.
        username: String as String,
        /// Which stream is the recorded one.
        record_stream: StreamKind as words::StreamKind,
        /// Whether the sub stream is recorded too.
        record_sub: bool as bool,
        /// How RTP is carried.
        rtsp_transport: RtspTransport as words::RtspTransport,
        /// Channel for the templates, 1 to 256.
        #[schema(minimum = 1, maximum = 256)]
        channel: u16 as u16,
        /// Any JSON.
        capabilities: Value as Value,
        /// Whether it is recorded.
        record_enabled: bool as bool,
        /// Length of segments, moved into 2..3600 s.
        segment_seconds: i64 as i64,
        /// Hours that footage is kept, at least 1.
        retention_hours: i64 as i64,
        /// The same for footage with motion.
        retention_motion_hours: i64 as i64,
        /// The same for footage with events of severity warning and above.
        retention_alert_hours: i64 as i64,
        /// Most bytes of footage; 0 and less mean none.
        storage_quota_bytes: i64 as i64,
        /// Whether sound is recorded.
        record_audio: bool as bool,
        /// When it is recorded.
        record_mode: RecordMode as words::RecordMode,
        /// Footage before a trigger, moved into 0..300 s.
        pre_roll_seconds: i64 as i64,
        /// Footage after a trigger, moved into 0..3600 s.
        post_roll_seconds: i64 as i64,
        /// Whether footage is mirrored.
        mirror_enabled: bool as bool,
        /// Whether gaps are refilled from the device.
        anr_enabled: bool as bool,
        /// Whether plates read by the device are taken.
        native_anpr_enabled: bool as bool,
        /// Whether events of the device are taken.
        native_events_enabled: bool as bool,
        /// Whether anything is done with it at all.
        enabled: bool as bool,
        /// Whether the live stream stays connected without viewers.
        live_warm: bool as bool,
        /// The higher is served first under a budget.
        priority: i64 as i64,
        /// HTTP port of the device.
        #[schema(minimum = 1, maximum = 65535)]
        http_port: u16 as u16,
        /// How HTTP to the device is protected.
        device_tls: DeviceTls as words::DeviceTls,
    }
    secret {
        /// Password at the device; `***` keeps the stored one.
        password,
        /// URL of the main stream; `***` in the place of its userinfo keeps the stored one.
        main_stream_url,
        /// URL of the sub stream; `***` in the place of its userinfo keeps the stored one.
        sub_stream_url,
        /// URL of the device's replay with `{start}` and `{end}`.
        anr_replay_url_template,
    }
}
