//! A camera as clients see it: secrets masked, with what its streams have shown.

use std::collections::HashMap;

use heldar_base::{CameraId, Secret, SiteId, StreamId, StreamKind, WallTime, mask_userinfo};
use heldar_store::{Camera, DeviceTls, RecordMode, RtspTransport, Stream};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::words;
use crate::kernel::Kernel;
use crate::registry::Seen;

/// A camera. Passwords and unmasked URLs are never shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Camera)]
pub struct CameraView {
    /// Id.
    #[schema(value_type = String)]
    id: CameraId,
    /// Site that it belongs to.
    #[schema(value_type = Option<String>)]
    site_id: Option<SiteId>,
    /// Display name.
    name: String,
    /// Vendor.
    vendor: String,
    /// Model.
    model: Option<String>,
    /// Host name or address of the device.
    address: Option<String>,
    /// RTSP port.
    rtsp_port: u16,
    /// User name at the device.
    username: Option<String>,
    /// Whether a password is stored.
    has_password: bool,
    /// Which stream is the recorded one.
    #[schema(value_type = words::StreamKind)]
    record_stream: StreamKind,
    /// Its URL, userinfo masked.
    record_url_masked: Option<String>,
    /// Codec of the recorded stream, as the running or last session showed it.
    codec: Option<String>,
    /// Size of the main stream's pictures, such as `1920x1080`.
    resolution_main: Option<String>,
    /// Size of the sub stream's pictures.
    resolution_sub: Option<String>,
    /// Pictures per second of the main stream.
    fps_main: Option<f64>,
    /// Pictures per second of the sub stream.
    fps_sub: Option<f64>,
    /// Any JSON.
    capabilities: Value,
    /// Whether it is recorded.
    record_enabled: bool,
    /// Length of segments.
    segment_seconds: u32,
    /// Hours that footage is kept.
    retention_hours: u32,
    /// Most bytes of footage.
    storage_quota_bytes: Option<i64>,
    /// Whether sound is recorded.
    record_audio: bool,
    /// When it is recorded.
    #[schema(value_type = words::RecordMode)]
    record_mode: RecordMode,
    /// Footage before a trigger.
    pre_roll_seconds: u32,
    /// Footage after a trigger.
    post_roll_seconds: u32,
    /// Whether footage is mirrored.
    mirror_enabled: bool,
    /// Whether gaps are refilled from the device.
    anr_enabled: bool,
    /// URL of the device's replay, userinfo masked.
    anr_replay_url_template: Option<String>,
    /// Whether plates read by the device are taken.
    native_anpr_enabled: bool,
    /// Whether events of the device are taken.
    native_events_enabled: bool,
    /// Whether anything is done with it at all.
    enabled: bool,
    /// The higher is served first under a budget.
    priority: i64,
    /// Whether the live stream stays connected without viewers.
    live_warm: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
    /// How RTP is carried.
    #[schema(value_type = words::RtspTransport)]
    rtsp_transport: RtspTransport,
    /// Channel for the templates of stream addresses.
    channel: u16,
    /// HTTP port of the device.
    http_port: Option<u16>,
    /// How HTTP to the device is protected.
    #[schema(value_type = words::DeviceTls)]
    device_tls: DeviceTls,
    /// URL of the main stream, userinfo masked.
    main_url_masked: Option<String>,
    /// URL of the sub stream, userinfo masked.
    sub_url_masked: Option<String>,
    /// When it was removed with its footage kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    removed_at: Option<WallTime>,
    /// Whether the sub stream is recorded too.
    record_sub: bool,
    /// Hours that footage with motion is kept.
    retention_motion_hours: Option<u32>,
    /// Hours that footage with alerts is kept.
    retention_alert_hours: Option<u32>,
}

/// What streams have shown: those of this process, else what the store has of earlier ones.
pub(super) struct SeenStreams<'a> {
    kernel: &'a Kernel,
    stored: HashMap<StreamId, Seen>,
}

impl<'a> SeenStreams<'a> {
    pub(super) fn new(kernel: &'a Kernel, streams: Vec<Stream>) -> Self {
        let stored = streams.into_iter().filter_map(|stream| Some((stream.id, stream.observed?.into())));
        SeenStreams { kernel, stored: stored.collect() }
    }

    fn of(&self, camera: &CameraId, kind: StreamKind) -> Option<Seen> {
        let stream = StreamId::new(camera.clone(), kind);
        self.kernel.registry.observed.get(&stream).or_else(|| self.stored.get(&stream).cloned())
    }
}

impl CameraView {
    pub(super) fn new(kernel: &Kernel, camera: Camera, seen: &SeenStreams<'_>) -> Self {
        let urls = kernel.urls(&camera);
        let masked = |url: Option<&Secret<String>>| url.map(|url| mask_userinfo(url.expose()));
        let main = seen.of(&camera.id, StreamKind::Main);
        let sub = seen.of(&camera.id, StreamKind::Sub);
        let recorded = match camera.fields.record_stream {
            StreamKind::Main => &main,
            StreamKind::Sub => &sub,
        };
        let size = |seen: &Option<Seen>| seen.as_ref().map(|seen| format!("{}x{}", seen.width, seen.height));
        let fps = |seen: &Option<Seen>| seen.as_ref().and_then(Seen::fps);
        let f = camera.fields;
        CameraView {
            record_url_masked: masked(urls.of(f.record_stream)),
            codec: recorded.as_ref().map(|seen| seen.codec.clone()),
            resolution_main: size(&main),
            resolution_sub: size(&sub),
            fps_main: fps(&main),
            fps_sub: fps(&sub),
            main_url_masked: masked(urls.main.as_ref()),
            sub_url_masked: masked(urls.sub.as_ref()),
            anr_replay_url_template: masked(urls.replay.as_ref()),
            has_password: f.password.is_some(),
            id: camera.id,
            created_at: camera.created_at,
            updated_at: camera.updated_at,
            removed_at: camera.removed_at,
            site_id: f.site_id,
            name: f.name,
            vendor: f.vendor,
            model: f.model,
            address: f.address,
            rtsp_port: f.rtsp_port,
            username: f.username,
            record_stream: f.record_stream,
            capabilities: f.capabilities,
            record_enabled: f.record_enabled,
            segment_seconds: f.segment_seconds,
            retention_hours: f.retention_hours,
            storage_quota_bytes: f.storage_quota_bytes,
            record_audio: f.record_audio,
            record_mode: f.record_mode,
            pre_roll_seconds: f.pre_roll_seconds,
            post_roll_seconds: f.post_roll_seconds,
            mirror_enabled: f.mirror_enabled,
            anr_enabled: f.anr_enabled,
            native_anpr_enabled: f.native_anpr_enabled,
            native_events_enabled: f.native_events_enabled,
            enabled: f.enabled,
            priority: f.priority,
            live_warm: f.live_warm,
            rtsp_transport: f.rtsp_transport,
            channel: f.channel,
            http_port: f.http_port,
            device_tls: f.device_tls,
            record_sub: f.record_sub,
            retention_motion_hours: f.retention_motion_hours,
            retention_alert_hours: f.retention_alert_hours,
        }
    }
}
