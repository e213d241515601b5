//! HTTP requests to addresses that the guard has checked (auth-system.md 18, policy LAN).
//!
//! Owns: resolving a name, the check of every answer, the connection to one of them, TLS with the certificates that the system
//! trusts, one request, the beginning of its answer. Follows no redirect, keeps no connection. Never: tells where it
//! connects to; an address may hold a token.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::LanGuard;

/// So much of an answer is read at most.
const ANSWER: usize = 4096;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Heldar/", env!("CARGO_PKG_VERSION")));

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Where to; userinfo becomes Basic authentication where the headers have no other.
    pub url: Url,
    /// Headers beside those of the connection.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The first bytes of its body.
    pub body: Vec<u8>,
}

/// Why there is no answer. Never says where from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The URL has no host, or a scheme that is not HTTP's.
    #[error("the URL cannot be used")]
    Url,
    /// One of its addresses must not be contacted.
    #[error("the address of the receiver must not be contacted")]
    Blocked,
    /// Its name is not known.
    #[error("the name of the receiver cannot be resolved")]
    Name,
    /// Nothing listens there, or it cannot be reached.
    #[error("no connection to the receiver: {0}")]
    Connect(io::ErrorKind),
    /// It is not who it says, or speaks no TLS.
    #[error("no TLS with the receiver: {0}")]
    Tls(&'static str),
    /// It took too long.
    #[error("no answer within the time allowed")]
    Timeout,
    /// It ended the connection, or spoke no HTTP.
    #[error("the connection ended before an answer")]
    Broken,
}

/// Makes requests.
pub struct Client {
    guard: LanGuard,
    timeout: Duration,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    /// Asks `guard` for every address; a request takes `timeout` at most, in all.
    pub fn new(guard: LanGuard, timeout: Duration) -> Self {
        Client { guard, timeout, tls: OnceCell::new() }
    }

    /// Which addresses it connects to.
    pub fn guard(&self) -> &LanGuard {
        &self.guard
    }

    /// Makes a request and waits for its answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, call: &Call) -> Result<Reply, CallError> {
        let deadline = Instant::now() + self.timeout;
        let exchange = Box::pin(self.exchange(call, deadline));
        timeout_at(deadline, exchange).await.unwrap_or(Err(CallError::Timeout))
    }

    async fn exchange(&self, call: &Call, deadline: Instant) -> Result<Reply, CallError> {
        let is_tls = match call.url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(CallError::Url),
        };
        let stream = self.connect(&call.url).await?;
        if !is_tls {
            return request(stream, call, deadline).await;
        }
        let name = match call.url.host().ok_or(CallError::Url)? {
            Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| CallError::Url)?,
            Host::Ipv4(address) => ServerName::IpAddress(std::net::IpAddr::V4(address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(std::net::IpAddr::V6(address).into()),
        };
        let config = self.tls.get_or_try_init(system_trust).await?.clone();
        let stream = TlsConnector::from(config).connect(name, stream).await;
        request(stream.map_err(|error| tls_error(&error))?, call, deadline).await
    }

    /// Resolves the host once, checks every answer, and connects to the first that takes the connection.
    async fn connect(&self, url: &Url) -> Result<TcpStream, CallError> {
        let port = url.port_or_known_default().ok_or(CallError::Url)?;
        let mut addresses: Vec<SocketAddr> = match url.host().ok_or(CallError::Url)? {
            Host::Ipv4(address) => vec![(address, port).into()],
            Host::Ipv6(address) => vec![(address, port).into()],
            Host::Domain(name) => {
                let found = tokio::net::lookup_host((name, port)).await.map_err(|_| CallError::Name)?;
                found.collect()
            }
        };
        if addresses.is_empty() {
            return Err(CallError::Name);
        }
        if addresses.iter().any(|address| !self.guard.allows(*address)) {
            return Err(CallError::Blocked);
        }
        addresses.sort_by_key(SocketAddr::is_ipv6);
        // None of them takes the time of the others.
        let share = self.timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut last = CallError::Timeout;
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it a request is only slower.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection gathers what it sends");
                    }
                    return Ok(stream);
                }
                Ok(Err(error)) => last = CallError::Connect(error.kind()),
                Err(_elapsed) => last = CallError::Timeout,
            }
        }
        Err(last)
    }
}

/// Trusts what the system trusts; read once.
async fn system_trust() -> Result<Arc<ClientConfig>, CallError> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let found =
        found.map_err(|_| CallError::Tls("reading the certificates that the system trusts broke off"))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(CallError::Tls("the system trusts no certificates: install ca-certificates"));
    }
    trusting(roots)
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, CallError> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config =
        config.with_safe_default_protocol_versions().map_err(|_| CallError::Tls("no protocol versions"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn tls_error(error: &io::Error) -> CallError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    CallError::Tls(match cause {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired)) => {
            "its certificate has expired"
        }
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. },
        )) => "its certificate is for another name",
        Some(rustls::Error::InvalidCertificate(_)) => "its certificate is not trusted",
        _ => "the handshake failed",
    })
}

async fn request<S>(stream: S, call: &Call, deadline: Instant) -> Result<Reply, CallError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|_| CallError::Broken)?;
    // It ends with this call.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(prepared(call)?).await.map_err(|_| CallError::Broken)?;
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER {
        // What it answered counts, also if it does not end.
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else { break };
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data.get(..data.len().min(ANSWER - bytes.len())).unwrap_or_default());
        }
    }
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: bytes })
}

fn prepared(call: &Call) -> Result<Request<Full<Bytes>>, CallError> {
    let url = &call.url;
    let host = url.host_str().ok_or(CallError::Url)?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::builder().method(call.method.clone()).uri(target);
    if let Some(headers) = request.headers_mut() {
        headers.extend(call.headers.clone());
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| CallError::Url)?);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if !url.username().is_empty() && !headers.contains_key(AUTHORIZATION) {
            headers.insert(AUTHORIZATION, basic(url)?);
        }
    }
    request.body(Full::new(call.body.clone())).map_err(|_| CallError::Url)
}

/// RFC 7617.
fn basic(url: &Url) -> Result<HeaderValue, CallError> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let mut pair = decode(url.username());
    pair.push(b':');
    pair.extend(decode(url.password().unwrap_or_default()));
    let mut value =
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).map_err(|_| CallError::Url)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
