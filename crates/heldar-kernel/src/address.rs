//! Where a camera's streams are: overrides, vendor templates, credentials in URLs.
//!
//! Owns: the rules of stream addresses. An override of a stream wins; otherwise the template of the vendor with address,
//! port and channel. Pure: text in, text out.

use heldar_base::{Secret, StreamKind};
use serde::{Deserialize, Serialize};

/// The paths of one vendor's streams.
///
/// In a path `{n}` is the channel, `{nn}` the channel in two digits, `{n-1}` the channel less one. What stands between
/// `[` and `]` is used for channels above 1 only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorTemplate {
    /// Name that cameras give as `vendor`.
    pub vendor: String,
    /// Path of the main stream.
    pub main: String,
    /// Path of the sub stream.
    #[serde(default)]
    pub sub: Option<String>,
    /// Path of recorded footage on the device.
    #[serde(default)]
    pub replay: Option<String>,
    /// Highest channel.
    #[serde(default = "default_channels")]
    pub channels: u16,
    /// Where the entry comes from.
    #[serde(skip_deserializing, default)]
    pub source: TemplateSource,
}

fn default_channels() -> u16 {
    256
}

/// Where a template comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateSource {
    /// Part of the server.
    Builtin,
    /// Of the operator's file.
    #[default]
    File,
}

/// The templates in force, by vendor.
#[derive(Clone, Debug)]
pub struct VendorTemplates {
    entries: Vec<VendorTemplate>,
}

/// An entry of the operator's file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vendor template {vendor:?}: {problem}")]
pub struct TemplateError {
    /// Its name, as far as it has one.
    pub vendor: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl VendorTemplate {
    fn builtin(vendor: &str, main: &str, sub: &str) -> Self {
        VendorTemplate {
            vendor: vendor.to_owned(),
            main: main.to_owned(),
            sub: Some(sub.to_owned()),
            replay: None,
            channels: default_channels(),
            source: TemplateSource::Builtin,
        }
    }

    fn check(&self) -> Result<(), TemplateError> {
        let fail = |problem| Err(TemplateError { vendor: self.vendor.clone(), problem });
        if self.vendor.trim().is_empty() || self.vendor != self.vendor.trim().to_lowercase() {
            return fail("`vendor` is a name in lower case");
        }
        for path in std::iter::once(&self.main).chain(&self.sub) {
            if !path.starts_with('/') && !path.starts_with('[') {
                return fail("a path begins with `/`");
            }
            if path.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return fail("a path has no white space");
            }
        }
        if !(1..=256).contains(&self.channels) {
            return fail("`channels` is 1 to 256");
        }
        Ok(())
    }
}

impl VendorTemplates {
    /// Those of the server with those of a file over them; what cannot be read of it is skipped with a warning.
    pub(crate) fn load(path: Option<&std::path::Path>) -> Self {
        let mut templates = VendorTemplates::builtin();
        let Some(path) = path else { return templates };
        match std::fs::read_to_string(path).map(|text| templates.merge_json(&text)) {
            Ok(Ok(faults)) => {
                for fault in faults {
                    tracing::warn!(%fault, "skipped");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the vendor template file is no JSON array"),
            Err(error) => tracing::warn!(%error, "the vendor template file cannot be read"),
        }
        templates
    }

    /// Those that are part of the server.
    pub fn builtin() -> Self {
        let t = VendorTemplate::builtin;
        let dahua = ("/cam/realmonitor?channel={n}&subtype=0", "/cam/realmonitor?channel={n}&subtype=1");
        VendorTemplates {
            entries: vec![
                t("amcrest", dahua.0, dahua.1),
                t(
                    "axis",
                    "/axis-media/media.amp[?camera={n}]",
                    "/axis-media/media.amp?resolution=640x360[&camera={n}]",
                ),
                t("dahua", dahua.0, dahua.1),
                t("hanwha", "[/{n-1}]/profile2/media.smp", "[/{n-1}]/profile3/media.smp"),
                t("hikvision", "/Streaming/Channels/{n}01", "/Streaming/Channels/{n}02"),
                t("reolink", "/h264Preview_{nn}_main", "/h264Preview_{nn}_sub"),
                t("tapo", "/stream1", "/stream2"),
                t("uniview", "/unicast/c{n}/s0/live", "/unicast/c{n}/s1/live"),
            ],
        }
    }

    /// Adds or replaces entries by those of a JSON array. Faulty ones are left out and returned.
    ///
    /// # Errors
    /// When the text is no JSON array of objects.
    pub fn merge_json(&mut self, text: &str) -> Result<Vec<TemplateError>, serde_json::Error> {
        let entries: Vec<serde_json::Value> = serde_json::from_str(text)?;
        let mut faults = Vec::new();
        for value in entries {
            let vendor = value.get("vendor").and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            match serde_json::from_value::<VendorTemplate>(value) {
                Err(_) => faults.push(TemplateError { vendor, problem: "needs `vendor` and `main`" }),
                Ok(entry) => match entry.check() {
                    Err(fault) => faults.push(fault),
                    Ok(()) => {
                        self.entries.retain(|e| e.vendor != entry.vendor);
                        self.entries.push(entry);
                    }
                },
            }
        }
        self.entries.sort_by(|a, b| a.vendor.cmp(&b.vendor));
        Ok(faults)
    }

    /// All of them, by vendor.
    pub fn entries(&self) -> &[VendorTemplate] {
        &self.entries
    }

    fn path(&self, vendor: &str, kind: StreamKind, channel: u16) -> Option<String> {
        let entry = self.entries.iter().find(|e| e.vendor == vendor)?;
        let template = match kind {
            StreamKind::Main => &entry.main,
            StreamKind::Sub => entry.sub.as_ref()?,
        };
        Some(fill(template, channel))
    }
}

/// Puts a channel into a template.
fn fill(template: &str, channel: u16) -> String {
    let mut path = String::with_capacity(template.len() + 8);
    let mut rest = template;
    while let Some(open) = rest.find('[') {
        path.push_str(&rest[..open]);
        let Some(len) = rest[open..].find(']') else { break };
        if channel > 1 {
            path.push_str(&rest[open + 1..open + len]);
        }
        rest = &rest[open + len + 1..];
    }
    path.push_str(rest);
    path.replace("{n}", &channel.to_string())
        .replace("{nn}", &format!("{channel:02}"))
        .replace("{n-1}", &channel.saturating_sub(1).to_string())
}

/// What is known about where a camera is; secrets already opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Template name.
    pub vendor: String,
    /// Host name or address.
    pub address: Option<String>,
    /// RTSP port.
    pub port: u16,
    /// Channel on the device.
    pub channel: u16,
    /// Name for the device.
    pub username: Option<String>,
    /// Password for it.
    pub password: Option<Secret<String>>,
    /// Override of the main stream.
    pub main_url: Option<Secret<String>>,
    /// Override of the sub stream.
    pub sub_url: Option<Secret<String>>,
}

/// The URL of a stream, userinfo included; `None` when there is neither an override nor a usable template.
pub fn stream_url(at: &Whereabouts, kind: StreamKind, templates: &VendorTemplates) -> Option<Secret<String>> {
    let given = match kind {
        StreamKind::Main => &at.main_url,
        StreamKind::Sub => &at.sub_url,
    };
    if let Some(url) = given {
        return Some(url.clone());
    }
    let path = templates.path(&at.vendor, kind, at.channel)?;
    let host = at.address.as_deref().filter(|a| !a.is_empty())?;
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let userinfo = match (&at.username, &at.password) {
        (Some(user), Some(password)) => format!("{}:{}@", encode(user), encode(password.expose())),
        (Some(user), None) => format!("{}@", encode(user)),
        (None, _) => String::new(),
    };
    Some(Secret::new(format!("rtsp://{userinfo}{host}:{}{path}", at.port)))
}

/// Percent-encodes all but `A-Za-z0-9-._~` (RFC 3986 2.3).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A stream address that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No scheme.
    #[error("a stream address is a URL such as rtsp://192.0.2.10:554/stream1")]
    NoUrl,
    /// A scheme that is not one of cameras.
    #[error("a stream address begins with rtsp://, rtsps://, http:// or https://")]
    Scheme,
    /// White space or control characters.
    #[error("a stream address has no white space or control characters")]
    Characters,
    /// It names no host or is otherwise no URL.
    #[error("a stream address names a host")]
    Host,
}

/// Checks a stream address as an operator gave it.
///
/// # Errors
/// What is wrong with it; the address itself is not repeated, as it may hold a password.
pub fn check_stream_url(text: &str) -> Result<(), AddressError> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(AddressError::Characters);
    }
    let (scheme, _) = text.split_once("://").ok_or(AddressError::NoUrl)?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "rtsp" | "rtsps" | "http" | "https") {
        return Err(AddressError::Scheme);
    }
    Ok(())
}

/// A stream URL taken apart: where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct SplitUrl {
    /// Without userinfo.
    pub url: url::Url,
    /// Decoded name.
    pub username: Option<String>,
    /// Decoded password.
    pub password: Option<Secret<String>>,
}

/// Takes the userinfo out of a stream URL. The userinfo ends at the last `@` of the authority, so that passwords with
/// `@`, `#`, `?` or `%` that nobody encoded work as typed.
///
/// # Errors
/// [`AddressError::Host`] when the rest is no URL.
pub fn split_url(text: &str) -> Result<SplitUrl, AddressError> {
    let (scheme, rest) = text.split_once("://").ok_or(AddressError::NoUrl)?;
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (userinfo, host) = match rest[..authority_end].rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let url = url::Url::parse(&format!("{scheme}://{host}")).map_err(|_| AddressError::Host)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(AddressError::Host);
    }
    let (username, password) =
        match userinfo.map(|u| u.split_once(':').map_or((u, None), |(u, p)| (u, Some(p)))) {
            None => (None, None),
            Some((user, password)) => (Some(decode(user)), password.map(|p| Secret::new(decode(p)))),
        };
    Ok(SplitUrl { url, username, password })
}

/// Undoes percent-encoding; sequences that are none stay as they are.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten().and_then(|h| {
            u8::from_str_radix(h, 16).ok().filter(|_| h.bytes().all(|b| b.is_ascii_hexdigit()))
        });
        match hex {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(vendor: &str, channel: u16) -> Whereabouts {
        Whereabouts {
            vendor: vendor.to_owned(),
            address: Some("10.0.0.9".to_owned()),
            port: 554,
            channel,
            username: None,
            password: None,
            main_url: None,
            sub_url: None,
        }
    }

    fn check(vendor: &str, channel: u16, main: &str, sub: &str) {
        let templates = VendorTemplates::builtin();
        let url = |kind| stream_url(&at(vendor, channel), kind, &templates).map(|u| u.expose().clone());
        assert_eq!(url(StreamKind::Main).as_deref(), Some(format!("rtsp://10.0.0.9:554{main}").as_str()));
        assert_eq!(url(StreamKind::Sub).as_deref(), Some(format!("rtsp://10.0.0.9:554{sub}").as_str()));
    }

    #[test]
    fn templates() {
        check("hikvision", 1, "/Streaming/Channels/101", "/Streaming/Channels/102");
        check("dahua", 3, "/cam/realmonitor?channel=3&subtype=0", "/cam/realmonitor?channel=3&subtype=1");
        check("axis", 1, "/axis-media/media.amp", "/axis-media/media.amp?resolution=640x360");
        check(
            "axis",
            2,
            "/axis-media/media.amp?camera=2",
            "/axis-media/media.amp?resolution=640x360&camera=2",
        );
        check("reolink", 4, "/h264Preview_04_main", "/h264Preview_04_sub");
        check("hanwha", 1, "/profile2/media.smp", "/profile3/media.smp");
        check("hanwha", 3, "/2/profile2/media.smp", "/2/profile3/media.smp");
        check("uniview", 12, "/unicast/c12/s0/live", "/unicast/c12/s1/live");
        assert_eq!(stream_url(&at("generic", 1), StreamKind::Main, &VendorTemplates::builtin()), None);
    }

    #[test]
    fn credentials_are_encoded_and_ipv6_is_bracketed() {
        let mut w = at("tapo", 1);
        w.address = Some("fd00::9".to_owned());
        w.username = Some("ad min".to_owned());
        w.password = Some(Secret::new("p@ss/w:rd~".to_owned()));
        let url = stream_url(&w, StreamKind::Main, &VendorTemplates::builtin()).unwrap();
        assert_eq!(url.expose(), "rtsp://ad%20min:p%40ss%2Fw%3Ard~@[fd00::9]:554/stream1");
        let split = split_url(url.expose()).unwrap();
        assert_eq!(split.url.as_str(), "rtsp://[fd00::9]:554/stream1");
        assert_eq!(split.username.as_deref(), Some("ad min"));
        assert_eq!(split.password.unwrap().expose(), "p@ss/w:rd~");
    }

    #[test]
    fn overrides_win_and_typed_passwords_work() {
        let mut w = at("tapo", 1);
        w.sub_url = Some(Secret::new("rtsp://u:p@ss%@cam/low".to_owned()));
        let url = stream_url(&w, StreamKind::Sub, &VendorTemplates::builtin()).unwrap();
        let split = split_url(url.expose()).unwrap();
        assert_eq!(
            (split.url.as_str(), split.password.unwrap().expose().as_str()),
            ("rtsp://cam/low", "p@ss%")
        );
    }

    #[test]
    fn addresses_are_checked() {
        for (text, expect) in [
            ("rtsp://h/x", Ok(())),
            ("RTSPS://h/x", Ok(())),
            ("h/x", Err(AddressError::NoUrl)),
            ("file:///etc/passwd", Err(AddressError::Scheme)),
            ("rtsp://h/a b", Err(AddressError::Characters)),
        ] {
            assert_eq!(check_stream_url(text), expect, "{text}");
        }
    }

    #[test]
    fn a_file_adds_and_replaces_and_faults_are_named() {
        let mut templates = VendorTemplates::builtin();
        let text = r#"[{"vendor":"acme","main":"/m{n}"},{"vendor":"tapo","main":"/x"},{"vendor":"bad","main":"no"},{"x":1}]"#;
        let faults = templates.merge_json(text).unwrap();
        assert_eq!(faults.len(), 2);
        let url = stream_url(&at("acme", 2), StreamKind::Main, &templates).unwrap();
        assert_eq!(url.expose(), "rtsp://10.0.0.9:554/m2");
        assert_eq!(stream_url(&at("tapo", 1), StreamKind::Sub, &templates), None);
    }
}
