//! HTTP to the one server.
//!
//! Owns: connections, their deadlines, and the key in its header. Redirects are not followed and proxy variables are not
//! read, so the key goes nowhere else. Never: retries, which are the callers' own rules.

use std::io::Read as _;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue};

use crate::settings::{Settings, SettingsError, address};

/// A frame is a JPEG of at most 3840 pixels; anything much larger is not meant for us.
const MAX_BODY: u64 = 64 << 20;
const MAX_IDLE: usize = 16;
/// Most characters of a server's words that are shown.
const SHOWN: usize = 200;
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);

/// No usable answer: refused, timed out, cut off, or not HTTP.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreached(String);

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header, trimmed; absent when empty or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?.to_str().ok()?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// A header of digits only.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let text = self.header(name)?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    }

    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.number("retry-after").map(Duration::from_secs)
    }

    /// The status and the server's words about an error, short enough for a log line.
    pub(crate) fn told(&self) -> String {
        let value: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let error = value.as_ref().and_then(|value| value.get("error")?.as_str().map(str::to_owned));
        let text = error.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        let text: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        format!("{} {text}", self.status)
    }

    #[cfg(test)]
    pub(crate) fn of(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| {
            (ureq::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        Self { status, headers: headers.collect(), body: body.to_vec() }
    }
}

/// The server, from which clients are made.
#[derive(Clone)]
pub(crate) struct Server {
    base: String,
    key: Option<HeaderValue>,
    #[cfg(feature = "tls")]
    tls: ureq::tls::TlsConfig,
}

impl Server {
    /// # Errors
    /// The address or the key cannot be used, or the system trusts no certificates and the address is `https://`.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let base = address(&settings.api).map_err(|why| SettingsError::new(format!("HELDAR_API: {why}")))?;
        let key = match settings.api_key.as_deref().filter(|key| !key.is_empty()) {
            Some(key) => {
                let told = |_| SettingsError::new("HELDAR_API_KEY: holds characters that no key has");
                let mut value = HeaderValue::from_str(key).map_err(told)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self {
            #[cfg(feature = "tls")]
            tls: if base.starts_with("https:") { tls()? } else { ureq::tls::TlsConfig::default() },
            base,
            key,
        })
    }

    /// A client whose requests take at most `timeout`.
    pub(crate) fn client(&self, timeout: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout.max(LEAST_TIMEOUT)))
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("heldar-worker-rust/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(MAX_IDLE)
            .max_idle_connections_per_host(MAX_IDLE);
        #[cfg(feature = "tls")]
        let config = config.tls_config(self.tls.clone());
        Client { agent: config.build().new_agent(), base: self.base.clone(), key: self.key.clone() }
    }
}

/// Requests to the server; for all threads.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    key: Option<HeaderValue>,
}

impl Client {
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Unreached> {
        self.run(self.keyed(self.agent.get(self.url(path))).call())
    }

    /// Posts JSON.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Result<Answer, Unreached> {
        let request = self.keyed(self.agent.post(self.url(path))).header("content-type", "application/json");
        self.run(request.send(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer, Unreached> {
        self.run(self.keyed(self.agent.delete(self.url(path))).call())
    }

    /// Cuts the requests that wait in other threads; they and all later ones fail.
    pub(crate) fn shutdown(&self) {
        self.agent.clone().shutdown();
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn keyed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    fn run(&self, sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Unreached> {
        let (head, body) = sent.map_err(|error| Unreached(error.to_string()))?.into_parts();
        let mut bytes = Vec::new();
        let read = body.into_with_config().limit(MAX_BODY).reader().read_to_end(&mut bytes);
        read.map_err(|error| Unreached(error.to_string()))?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: bytes })
    }
}

/// What the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name other certificates.
#[cfg(feature = "tls")]
fn tls() -> Result<ureq::tls::TlsConfig, SettingsError> {
    use std::sync::Arc;
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        let told = format!("no trusted certificates were found{why}; SSL_CERT_FILE may name some");
        return Err(SettingsError::new(told));
    }
    let roots: Vec<_> = found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_numbers_of_digits_only() {
        let answer =
            Answer::of(200, &[("x-frame-age-ms", " 42 "), ("x-frame-seq", "+1"), ("retry-after", "3")], b"");
        assert_eq!((answer.number("x-frame-age-ms"), answer.number("x-frame-seq")), (Some(42), None));
        assert_eq!(answer.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(answer.number("x-frame-width"), None);
        assert_eq!(
            Answer::of(200, &[("x-frame-seq", "99999999999999999999")], b"").number("x-frame-seq"),
            None
        );
    }

    #[test]
    fn errors_are_short_and_one_line() {
        assert_eq!(
            Answer::of(409, &[], br#"{"error":"the lease moved on"}"#).told(),
            "409 the lease moved on"
        );
        assert_eq!(Answer::of(502, &[], b"<html>\nbad\r\n").told(), "502 <html>bad");
        assert_eq!(Answer::of(500, &[], &[b'x'; 5000]).told().len(), 4 + SHOWN);
    }

    #[test]
    fn unusable_settings_are_told_without_the_key() {
        let settings = Settings { api_key: Some("vok_\ns3cret".to_owned()), ..Settings::default() };
        let told = Server::new(&settings).err().unwrap().to_string();
        assert!(told.starts_with("HELDAR_API_KEY") && !told.contains("s3cret"), "{told}");
        let settings = Settings { api: "localhost".to_owned(), ..Settings::default() };
        assert!(Server::new(&settings).err().unwrap().to_string().starts_with("HELDAR_API: "));
    }
}
