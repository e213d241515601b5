//! Sites, cameras and settings.

use heldar_base::{CameraId, Secret, SiteId, StreamKind, WallTime};

use super::words;

words! {
    /// How RTP is carried.
    RtspTransport {
        /// TCP first, UDP if the camera cannot.
        Auto = "auto",
        /// Interleaved in the RTSP connection.
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
    }
    /// When a camera is recorded.
    RecordMode {
        /// Always.
        Continuous = "continuous",
        /// Inside any enabled window.
        Scheduled = "scheduled",
        /// While a trigger window is open.
        Event = "event",
        /// Inside either.
        ScheduledEvent = "scheduled_event",
    }
    /// How HTTP to the device is protected.
    DeviceTls {
        /// Not at all.
        Off = "off",
        /// By any certificate.
        AcceptAny = "accept_any",
        /// By a certificate that verifies.
        Verify = "verify",
    }
}

/// What can be set of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFields {
    /// Its name, not blank.
    pub name: String,
    /// IANA time zone; `None` is the server's.
    pub timezone: Option<String>,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub id: SiteId,
    /// What can be set.
    pub fields: SiteFields,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Counts its changes; an update names the one that it was made from.
    pub revision: i64,
}

/// A site as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteView {
    /// The site.
    pub site: Site,
    /// Its cameras that are in use and inside the scope of the caller.
    pub camera_count: i64,
}

/// What can be set of a camera. Sealed fields are opaque text of the kernel's.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraFields {
    /// Display name, not blank.
    pub name: String,
    /// The site that it belongs to.
    pub site_id: Option<SiteId>,
    /// Vendor, choosing the URL templates.
    pub vendor: String,
    /// Model.
    pub model: Option<String>,
    /// Host name or address of the device.
    pub address: Option<String>,
    /// RTSP port.
    pub rtsp_port: u16,
    /// User name at the device.
    pub username: Option<String>,
    /// Sealed password.
    pub password: Option<Secret<String>>,
    /// Sealed URL of the main stream.
    pub main_stream_url: Option<Secret<String>>,
    /// Sealed URL of the sub stream.
    pub sub_stream_url: Option<Secret<String>>,
    /// Which stream is the recorded one.
    pub record_stream: StreamKind,
    /// Whether the sub stream is recorded too.
    pub record_sub: bool,
    /// How RTP is carried.
    pub rtsp_transport: RtspTransport,
    /// Channel for the URL templates, 1 to 256.
    pub channel: u16,
    /// Any JSON.
    pub capabilities: serde_json::Value,
    /// Whether it is recorded.
    pub record_enabled: bool,
    /// Length of segments, 2 to 3600 s.
    pub segment_seconds: u32,
    /// Age at which footage is removed, at least 1 h.
    pub retention_hours: u32,
    /// The same for footage with motion.
    pub retention_motion_hours: Option<u32>,
    /// The same for footage with alerts.
    pub retention_alert_hours: Option<u32>,
    /// Most bytes of footage.
    pub storage_quota_bytes: Option<i64>,
    /// Whether sound is recorded.
    pub record_audio: bool,
    /// When it is recorded.
    pub record_mode: RecordMode,
    /// Footage before a trigger, 0 to 300 s.
    pub pre_roll_seconds: u32,
    /// Footage after a trigger, 0 to 3600 s.
    pub post_roll_seconds: u32,
    /// Whether footage is mirrored.
    pub mirror_enabled: bool,
    /// Whether gaps are refilled from the device.
    pub anr_enabled: bool,
    /// Sealed URL template of the device's replay.
    pub anr_replay_url_template: Option<Secret<String>>,
    /// Whether plates are read by the device.
    pub native_anpr_enabled: bool,
    /// Whether events of the device are taken.
    pub native_events_enabled: bool,
    /// Whether anything is done with it at all.
    pub enabled: bool,
    /// Whether the live stream stays connected without viewers.
    pub live_warm: bool,
    /// The higher is served first under a budget.
    pub priority: i64,
    /// HTTP port of the device.
    pub http_port: Option<u16>,
    /// How HTTP to the device is protected.
    pub device_tls: DeviceTls,
}

/// A camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// Its id.
    pub id: CameraId,
    /// What can be set.
    pub fields: CameraFields,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Counts its changes; an update names the one that it was made from.
    pub revision: i64,
    /// Set when the camera was removed and its footage kept.
    pub removed_at: Option<WallTime>,
}

/// A setting changed at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// When it was last set.
    pub updated_at: WallTime,
}
