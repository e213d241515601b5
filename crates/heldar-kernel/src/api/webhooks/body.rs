//! What is said of a webhook, and the rules that it follows. Never repeats a URL or a secret in an error.

use std::str::FromStr as _;

use heldar_base::{CameraId, Secret};
use heldar_http::{ApiError, Code, Patch};
use heldar_store::{Severity, WebhookFields, WebhookFormat};
use serde::Deserialize;
use url::Url;
use utoipa::ToSchema;

use crate::egress::LanGuard;
use crate::webhooks::forms;

/// Begin of a sealed value.
const SEALED: &str = "enc:";

/// A webhook that is wanted.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewWebhook {
    /// What people call it.
    name: String,
    /// Where to: `http` or `https`. It is kept as a secret.
    url: String,
    /// Types of events that it gets, of which one may end in `*`; `["*"]` by default.
    #[serde(default)]
    event_types: Option<Vec<String>>,
    /// Least severity that it gets: `info` by default, `warning` or `critical`.
    #[serde(default)]
    min_severity: Option<String>,
    /// What requests are signed with; with other formats the token of the service.
    #[serde(default)]
    secret: Option<String>,
    /// Whether it is told; true by default.
    #[serde(default)]
    enabled: Option<bool>,
    /// Cameras whose events it gets; none by default: all.
    #[serde(default)]
    camera_ids: Option<Vec<String>>,
    /// `heldar` by default, `ntfy`, `telegram`, `slack` or `pushover`.
    #[serde(default)]
    format: Option<String>,
    /// Whom the service is to tell: id of a Telegram chat or a Slack channel, key of a Pushover user.
    #[serde(default)]
    to: Option<String>,
}

/// A change; what is absent stays. `null` or blank clears `secret` and `to`, and keeps anything else.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChangedWebhook {
    /// What people call it.
    #[serde(default)]
    name: Option<String>,
    /// Where to.
    #[serde(default)]
    url: Option<String>,
    /// Types of events that it gets.
    #[serde(default)]
    event_types: Option<Vec<String>>,
    /// Least severity that it gets.
    #[serde(default)]
    min_severity: Option<String>,
    /// What requests are signed with.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Patch<String>,
    /// Whether it is told.
    #[serde(default)]
    enabled: Option<bool>,
    /// Cameras whose events it gets.
    #[serde(default)]
    camera_ids: Option<Vec<String>>,
    /// `heldar`, `ntfy`, `telegram`, `slack` or `pushover`.
    #[serde(default)]
    format: Option<String>,
    /// Whom the service is to tell.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    to: Patch<String>,
}

/// What becomes of a stored secret.
#[derive(Clone, PartialEq)]
pub(super) enum Edit {
    /// It stays as it is stored, also where it cannot be opened.
    Keep,
    /// There is none any more.
    Clear,
    /// This one.
    Set(Secret<String>),
}

/// A webhook that follows every rule, what is secret in clear.
#[derive(Clone)]
pub(super) struct Settled {
    pub(super) name: String,
    pub(super) url: Edit,
    pub(super) secret: Edit,
    pub(super) event_types: Vec<String>,
    pub(super) min_severity: Severity,
    pub(super) cameras: Vec<CameraId>,
    pub(super) format: WebhookFormat,
    pub(super) to: Option<String>,
    pub(super) enabled: bool,
    /// The fields that are others than before.
    pub(super) names: Vec<&'static str>,
}

/// A webhook before a change, with what could be opened of it.
pub(super) struct Before<'a> {
    pub(super) row: &'a WebhookFields,
    pub(super) url: Option<Secret<String>>,
    pub(super) secret: Option<Secret<String>>,
}

impl NewWebhook {
    /// The webhook that is wanted.
    ///
    /// # Errors
    /// 400, naming the first field that cannot be accepted.
    pub(super) fn settled(self, guard: &LanGuard) -> Result<Settled, ApiError> {
        let url = url(Secret::new(self.url), guard)?;
        let secret = self.secret.map(|sent| secret(Secret::new(sent))).transpose()?.flatten();
        let format = self.format.map_or(Ok(WebhookFormat::Heldar), |text| format(&text))?;
        let to = self.to.and_then(|to| trimmed(&to));
        has_what_it_needs(format, &url, secret.is_some(), to.as_deref())?;
        Ok(Settled {
            name: name(&self.name)?,
            url: Edit::Set(url),
            secret: secret.map_or(Edit::Clear, Edit::Set),
            event_types: event_types(self.event_types.unwrap_or_default())?,
            min_severity: self.min_severity.map_or(Ok(Severity::Info), |text| severity(&text))?,
            cameras: cameras(self.camera_ids.unwrap_or_default())?,
            format,
            to,
            enabled: self.enabled.unwrap_or(true),
            names: Vec::new(),
        })
    }
}

impl ChangedWebhook {
    /// What it makes of a webhook; without names nothing is new.
    ///
    /// # Errors
    /// As [`NewWebhook::settled`].
    pub(super) fn over(self, before: &Before<'_>, guard: &LanGuard) -> Result<Settled, ApiError> {
        let row = before.row;
        let sent = self.url.map(|sent| url(Secret::new(sent), guard)).transpose()?;
        let edit_url = match &sent {
            Some(sent) if before.url.as_ref() != Some(sent) => Edit::Set(sent.clone()),
            _ => Edit::Keep,
        };
        let sent_secret = match self.secret {
            Patch::Absent => None,
            Patch::Null => Some(None),
            Patch::Value(sent) => Some(secret(Secret::new(sent))?),
        };
        let edit_secret = match sent_secret {
            None => Edit::Keep,
            Some(None) if row.secret.is_none() => Edit::Keep,
            Some(None) => Edit::Clear,
            Some(Some(sent)) if before.secret.as_ref() == Some(&sent) => Edit::Keep,
            Some(Some(sent)) => Edit::Set(sent),
        };
        let has_secret = match &edit_secret {
            Edit::Keep => row.secret.is_some(),
            Edit::Clear => false,
            Edit::Set(_) => true,
        };
        let mut settled = Settled {
            name: self.name.map_or_else(|| Ok(row.name.clone()), |text| name(&text))?,
            url: edit_url,
            secret: edit_secret,
            event_types: self.event_types.map_or_else(|| Ok(row.event_types.clone()), event_types)?,
            min_severity: self.min_severity.map_or(Ok(row.min_severity), |text| severity(&text))?,
            cameras: self.camera_ids.map_or_else(|| Ok(row.cameras.clone()), cameras)?,
            format: self.format.map_or(Ok(row.format), |text| format(&text))?,
            to: match self.to {
                Patch::Absent => row.recipient.clone(),
                Patch::Null => None,
                Patch::Value(to) => trimmed(&to),
            },
            enabled: self.enabled.unwrap_or(row.enabled),
            names: Vec::new(),
        };
        // One that cannot be opened is looked at when it is replaced.
        if let Some(url) = sent.as_ref().or(before.url.as_ref()) {
            has_what_it_needs(settled.format, url, has_secret, settled.to.as_deref())?;
        }
        settled.names = [
            ("name", settled.name != row.name),
            ("url", settled.url != Edit::Keep),
            ("secret", settled.secret != Edit::Keep),
            ("event_types", settled.event_types != row.event_types),
            ("min_severity", settled.min_severity != row.min_severity),
            ("camera_ids", settled.cameras != row.cameras),
            ("format", settled.format != row.format),
            ("to", settled.to != row.recipient),
            ("enabled", settled.enabled != row.enabled),
        ]
        .into_iter()
        .filter_map(|(name, is_other)| is_other.then_some(name))
        .collect();
        Ok(settled)
    }
}

fn trimmed(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn name(text: &str) -> Result<String, ApiError> {
    trimmed(text).ok_or_else(|| ApiError::validation("name", "a webhook needs a name"))
}

/// One that would be taken for a sealed one is refused: it would not be kept as it is.
fn secret(value: Secret<String>) -> Result<Option<Secret<String>>, ApiError> {
    let text = value.expose().trim();
    if text.starts_with(SEALED) {
        return Err(ApiError::validation("secret", "a secret does not begin with `enc:`"));
    }
    Ok((!text.is_empty()).then(|| Secret::new(text.to_owned())))
}

fn url(value: Secret<String>, guard: &LanGuard) -> Result<Secret<String>, ApiError> {
    let refused = |text: &'static str| ApiError::validation("url", text);
    let text = value.expose().trim();
    let parsed = Url::parse(text).map_err(|_| refused("`url` is not a URL"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(refused("`url` begins with http:// or https://"));
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err(refused("`url` names no host"));
    }
    if guard.refuses(&parsed) {
        let text = "this address must not be contacted";
        return Err(ApiError::new(Code::TargetNotAllowed, text).with_field("url"));
    }
    Ok(Secret::new(text.to_owned()))
}

fn event_types(list: Vec<String>) -> Result<Vec<String>, ApiError> {
    let mut types: Vec<String> = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let Some(text) = trimmed(text) else {
            return Err(ApiError::validation("event_types", "a type of events is blank").with_index(index));
        };
        if !types.contains(&text) {
            types.push(text);
        }
    }
    if types.is_empty() {
        types.push("*".to_owned());
    }
    Ok(types)
}

fn severity(text: &str) -> Result<Severity, ApiError> {
    let refused = |()| ApiError::validation("min_severity", "`min_severity` is info, warning or critical");
    Severity::from_str(text).map_err(refused)
}

fn format(text: &str) -> Result<WebhookFormat, ApiError> {
    let words = "`format` is heldar, ntfy, telegram, slack or pushover";
    WebhookFormat::from_str(text).map_err(|()| ApiError::validation("format", words))
}

fn cameras(list: Vec<String>) -> Result<Vec<CameraId>, ApiError> {
    let mut cameras = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let camera = CameraId::new(text.trim())
            .map_err(|_| ApiError::validation("camera_ids", "this is no id of a camera").with_index(index))?;
        if !cameras.contains(&camera) {
            cameras.push(camera);
        }
    }
    Ok(cameras)
}

fn has_what_it_needs(
    format: WebhookFormat,
    url: &Secret<String>,
    has_secret: bool,
    to: Option<&str>,
) -> Result<(), ApiError> {
    let Ok(url) = Url::parse(url.expose()) else { return Ok(()) };
    forms::check(format, &url, has_secret, to)
        .map_err(|missing| ApiError::validation(missing.field, missing.text))
}
