//! What can be said about a camera, and what becomes of its fields (media.md 3.1).
//!
//! Pure: stored fields and a change in, new fields out. What the change does not name stays bit by bit as it was, so that a
//! change which says nothing new compares equal.

use heldar_base::{Secret, SiteId, StreamKind};
use heldar_config::CameraDefaults;
use heldar_http::Patch;
use heldar_ingest::AddressGuard;
use heldar_store::{CameraFields, DeviceTls, RecordMode, RtspTransport};
use serde_json::Value;

use super::error::FieldError;
use super::secret_fields::{self, MASK, OpenedSecrets, OwnCredentials, SecretEdits};

/// What is said about a camera; for a new one of what the defaults give.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields of `CameraFields`, where each says what it is")]
pub struct CameraChanges {
    pub name: Patch<String>,
    pub site_id: Patch<String>,
    pub vendor: Patch<String>,
    pub model: Patch<String>,
    pub address: Patch<String>,
    pub rtsp_port: Patch<u16>,
    pub username: Patch<String>,
    pub password: Patch<Secret<String>>,
    pub main_stream_url: Patch<Secret<String>>,
    pub sub_stream_url: Patch<Secret<String>>,
    pub record_stream: Patch<StreamKind>,
    pub record_sub: Patch<bool>,
    pub rtsp_transport: Patch<RtspTransport>,
    pub channel: Patch<u16>,
    pub capabilities: Patch<Value>,
    pub record_enabled: Patch<bool>,
    pub segment_seconds: Patch<i64>,
    pub retention_hours: Patch<i64>,
    pub retention_motion_hours: Patch<i64>,
    pub retention_alert_hours: Patch<i64>,
    pub storage_quota_bytes: Patch<i64>,
    pub record_audio: Patch<bool>,
    pub record_mode: Patch<RecordMode>,
    pub pre_roll_seconds: Patch<i64>,
    pub post_roll_seconds: Patch<i64>,
    pub mirror_enabled: Patch<bool>,
    pub anr_enabled: Patch<bool>,
    pub anr_replay_url_template: Patch<Secret<String>>,
    pub native_anpr_enabled: Patch<bool>,
    pub native_events_enabled: Patch<bool>,
    pub enabled: Patch<bool>,
    pub live_warm: Patch<bool>,
    pub priority: Patch<i64>,
    pub http_port: Patch<u16>,
    pub device_tls: Patch<DeviceTls>,
}

/// Whose rules hold where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Of a camera that is made.
    Create,
    /// Of one that is changed.
    Change,
}

/// Longest retention that a change may set, in hours; five years.
const MAX_RETENTION_HOURS: u32 = 43_800;

/// The fields of a camera about which nothing is said.
pub(super) fn defaults(settings: &CameraDefaults) -> CameraFields {
    CameraFields {
        name: String::new(),
        site_id: None,
        vendor: "generic".to_owned(),
        model: None,
        address: None,
        rtsp_port: 554,
        username: None,
        password: None,
        main_stream_url: None,
        sub_stream_url: None,
        record_stream: StreamKind::Main,
        record_sub: false,
        rtsp_transport: RtspTransport::Auto,
        channel: 1,
        capabilities: Value::Object(serde_json::Map::new()),
        record_enabled: true,
        segment_seconds: settings.segment_seconds,
        retention_hours: settings.retention_hours,
        retention_motion_hours: None,
        retention_alert_hours: None,
        storage_quota_bytes: settings
            .quota_bytes
            .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
            .filter(|bytes| *bytes > 0),
        record_audio: settings.record_audio,
        record_mode: RecordMode::Continuous,
        pre_roll_seconds: settings.pre_roll_seconds,
        post_roll_seconds: settings.post_roll_seconds,
        mirror_enabled: false,
        anr_enabled: false,
        anr_replay_url_template: None,
        native_anpr_enabled: false,
        native_events_enabled: false,
        enabled: true,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    }
}

impl CameraChanges {
    /// The URL that is sent with a mask, which stands for what is stored.
    pub(super) fn masked_url(&self) -> Option<&'static str> {
        let urls = [
            ("main_stream_url", &self.main_stream_url),
            ("sub_stream_url", &self.sub_stream_url),
            ("anr_replay_url_template", &self.anr_replay_url_template),
        ];
        let is_masked =
            |url: &Patch<Secret<String>>| url.value().is_some_and(|url| url.expose().contains(MASK));
        urls.into_iter().find(|(_, url)| is_masked(url)).map(|(field, _)| field)
    }
}

/// Lays a change over fields. Sealed fields stay as they are; what becomes of them is the second value.
///
/// # Errors
/// The first field that cannot be accepted.
pub(super) fn merge(
    base: CameraFields,
    opened: &OpenedSecrets,
    mut change: CameraChanges,
    rules: Rules,
    guard: &dyn AddressGuard,
) -> Result<(CameraFields, SecretEdits), FieldError> {
    let mut fields = base;
    identity(&mut fields, &mut change, rules)?;
    device(&mut fields, &mut change, guard)?;
    recording(&mut fields, &mut change, rules);
    switches(&mut fields, change.clone());
    let edits = secrets(&fields, opened, change, rules, guard)?;
    Ok((fields, edits))
}

fn identity(f: &mut CameraFields, change: &mut CameraChanges, rules: Rules) -> Result<(), FieldError> {
    match std::mem::take(&mut change.name) {
        Patch::Value(name) if !name.trim().is_empty() => f.name = name,
        _ if rules == Rules::Create => return Err(FieldError::value("name", "the camera needs a name")),
        _ => {}
    }
    let site = std::mem::take(&mut change.site_id);
    f.site_id =
        site.try_map(|text| SiteId::new(&text).map_err(|_| unknown_site()))?.or_clear(f.site_id.take());
    if let Patch::Value(vendor) = std::mem::take(&mut change.vendor) {
        f.vendor = if vendor.trim().is_empty() { "generic".to_owned() } else { vendor };
    }
    f.model = text_or_none(&mut change.model, f.model.take());
    Ok(())
}

/// A site that is not there, or not for the eyes of who names it.
pub(super) fn unknown_site() -> FieldError {
    FieldError::value("site_id", "there is no such site")
}

/// Text that may be cleared; blank text is none.
fn text_or_none(change: &mut Patch<String>, old: Option<String>) -> Option<String> {
    std::mem::take(change).or_clear(old).filter(|text| !text.trim().is_empty())
}

fn device(
    f: &mut CameraFields,
    change: &mut CameraChanges,
    guard: &dyn AddressGuard,
) -> Result<(), FieldError> {
    if let Patch::Value(address) = &change.address {
        if address.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let text = "an address has no white space or control characters";
            return Err(FieldError::value("address", text));
        }
        let port = change.rtsp_port.value().copied().unwrap_or(f.rtsp_port);
        if secret_fields::is_forbidden(address, port, guard) {
            return Err(FieldError::target("address"));
        }
    }
    f.address = text_or_none(&mut change.address, f.address.take());
    f.rtsp_port =
        std::mem::take(&mut change.rtsp_port).try_map(|n| port("rtsp_port", n))?.or_keep(f.rtsp_port);
    f.http_port =
        std::mem::take(&mut change.http_port).try_map(|n| port("http_port", n))?.or_clear(f.http_port);
    f.username = text_or_none(&mut change.username, f.username.take());
    let channel = std::mem::take(&mut change.channel).try_map(|n| match n {
        1..=256 => Ok(n),
        _ => Err(FieldError::value("channel", "a channel is 1 to 256")),
    })?;
    f.channel = channel.or_keep(f.channel);
    f.rtsp_transport = std::mem::take(&mut change.rtsp_transport).or_keep(f.rtsp_transport);
    f.device_tls = std::mem::take(&mut change.device_tls).or_keep(f.device_tls);
    if let Patch::Value(capabilities) = std::mem::take(&mut change.capabilities) {
        f.capabilities = capabilities;
    }
    Ok(())
}

fn port(field: &'static str, number: u16) -> Result<u16, FieldError> {
    if number == 0 { Err(FieldError::value(field, "a port is 1 to 65535")) } else { Ok(number) }
}

fn recording(f: &mut CameraFields, change: &mut CameraChanges, rules: Rules) {
    let longest = match rules {
        Rules::Create => u32::MAX,
        Rules::Change => MAX_RETENTION_HOURS,
    };
    let set = |field: &mut u32, change: &mut Patch<i64>, low, high| {
        if let Patch::Value(value) = std::mem::take(change) {
            *field = clamp(value, low, high);
        }
    };
    let set_or_clear = |field: &mut Option<u32>, change: &mut Patch<i64>| {
        let change = std::mem::take(change).try_map(|value| Ok::<_, FieldError>(clamp(value, 1, longest)));
        *field = change.unwrap_or_default().or_clear(*field);
    };
    set(&mut f.segment_seconds, &mut change.segment_seconds, 2, 3600);
    set(&mut f.pre_roll_seconds, &mut change.pre_roll_seconds, 0, 300);
    set(&mut f.post_roll_seconds, &mut change.post_roll_seconds, 0, 3600);
    set(&mut f.retention_hours, &mut change.retention_hours, 1, longest);
    set_or_clear(&mut f.retention_motion_hours, &mut change.retention_motion_hours);
    set_or_clear(&mut f.retention_alert_hours, &mut change.retention_alert_hours);
    let quota = std::mem::take(&mut change.storage_quota_bytes);
    f.storage_quota_bytes = quota.or_clear(f.storage_quota_bytes).filter(|bytes| *bytes > 0);
}

fn clamp(value: i64, low: u32, high: u32) -> u32 {
    // Inside the range of u32 after the clamp.
    u32::try_from(value.clamp(i64::from(low), i64::from(high))).unwrap_or(high)
}

fn switches(f: &mut CameraFields, change: CameraChanges) {
    f.record_stream = change.record_stream.or_keep(f.record_stream);
    f.record_sub = change.record_sub.or_keep(f.record_sub);
    f.record_enabled = change.record_enabled.or_keep(f.record_enabled);
    f.record_audio = change.record_audio.or_keep(f.record_audio);
    f.record_mode = change.record_mode.or_keep(f.record_mode);
    f.mirror_enabled = change.mirror_enabled.or_keep(f.mirror_enabled);
    f.anr_enabled = change.anr_enabled.or_keep(f.anr_enabled);
    f.native_anpr_enabled = change.native_anpr_enabled.or_keep(f.native_anpr_enabled);
    f.native_events_enabled = change.native_events_enabled.or_keep(f.native_events_enabled);
    f.enabled = change.enabled.or_keep(f.enabled);
    f.live_warm = change.live_warm.or_keep(f.live_warm);
    f.priority = change.priority.or_keep(f.priority);
}

fn secrets(
    f: &CameraFields,
    opened: &OpenedSecrets,
    change: CameraChanges,
    rules: Rules,
    guard: &dyn AddressGuard,
) -> Result<SecretEdits, FieldError> {
    use secret_fields::{Edit, password, replay_template, stream_url};
    let password = password(change.password, &opened.password)?;
    let own = OwnCredentials {
        username: f.username.is_some(),
        password: match &password {
            Edit::Keep => opened.password != super::urls::Opened::Nothing,
            Edit::Clear => false,
            Edit::Set(_) => true,
        },
    };
    let (main, sub) = (change.main_stream_url, change.sub_stream_url);
    Ok(SecretEdits {
        main_url: stream_url("main_stream_url", main, &opened.main_url, own, rules, guard)?,
        sub_url: stream_url("sub_stream_url", sub, &opened.sub_url, own, rules, guard)?,
        replay: replay_template(change.anr_replay_url_template, &opened.replay, own, guard)?,
        password,
    })
}
