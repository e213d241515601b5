//! A plain listener that sends browsers to the TLS address of the same host, and does nothing else (auth-system.md 4.1).
//!
//! Never: an application, a credential, a body. Each connection gets one answer and ends.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::listen::ACCEPT_PAUSE;
use super::{Limits, Listeners};
use crate::sources::{Bound, Sources};

/// Most connections at a time, and of one source: none lives longer than a head may take.
const CONNECTIONS: usize = 256;
const CONNECTIONS_PER_SOURCE: usize = 16;
/// The port that `https` means by itself (RFC 9110 4.2.2).
const HTTPS: u16 = 443;

/// Answers every request with 308 to the same host at `tls_port`, until `stop` is ready.
pub async fn redirect(listeners: Listeners, tls_port: u16, limits: Limits, stop: impl Future<Output = ()>) {
    let sources = Sources::new(CONNECTIONS_PER_SOURCE, CONNECTIONS);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            accepted = listeners.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(place) = sources.take(Bound::Source(peer.ip())) {
                        connections.spawn(async move {
                            let _place = place;
                            answer(stream, tls_port, limits).await;
                        });
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the redirect port cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn answer<I: AsyncRead + AsyncWrite + Unpin>(io: I, tls_port: u16, limits: Limits) {
    let service =
        service_fn(
            |request: Request<Incoming>| async move { Ok::<_, Infallible>(response(&request, tls_port)) },
        );
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).max_buf_size(limits.header_bytes).header_read_timeout(None);
    let connection = builder.serve_connection(TokioIo::new(io), service);
    match timeout(limits.header_time, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "no redirection"),
        Err(_elapsed) => tracing::debug!("no redirection: the request took too long"),
    }
}

fn response<B>(request: &Request<B>, tls_port: u16) -> Response<Full<Bytes>> {
    let target = target(request, tls_port).and_then(|target| HeaderValue::from_str(&target).ok());
    let (status, text) = match target {
        Some(_) => (StatusCode::PERMANENT_REDIRECT, "This server speaks TLS.\n"),
        None => (StatusCode::BAD_REQUEST, "The request must name one host.\n"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // Browsers keep a 308 for good, and the port of TLS may change.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(target) = target {
        headers.insert(LOCATION, target);
    }
    response
}

/// The same address over TLS; `None` when the request does not say at which host it is.
fn target<B>(request: &Request<B>, tls_port: u16) -> Option<String> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (request.uri().host(), hosts.next(), hosts.next()) {
        (Some(host), ..) => host.to_owned(),
        (None, Some(host), None) => {
            let host: Uri = host.to_str().ok().filter(|host| !host.contains(['@', '/']))?.parse().ok()?;
            host.host()?.to_owned()
        }
        _ => return None,
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    let port = if tls_port == HTTPS { String::new() } else { format!(":{tls_port}") };
    Some(format!("https://{host}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_requests_are_sent() {
        let check = |uri: &str, hosts: &[&str], port: u16, expect: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let found = target(&request.body(()).unwrap(), port);
            assert_eq!(found.as_deref(), expect, "{uri} {hosts:?}");
        };
        check("/", &["nvr.test"], 443, Some("https://nvr.test/"));
        check("/a/b?c=d%20e", &["nvr.test:8080"], 8000, Some("https://nvr.test:8000/a/b?c=d%20e"));
        check("/", &["192.0.2.1:80"], 443, Some("https://192.0.2.1/"));
        check("/", &["[2001:db8::1]:80"], 8443, Some("https://[2001:db8::1]:8443/"));
        check("http://nvr.test:8080/x", &["other.test"], 443, Some("https://nvr.test/x"));
        check("*", &["nvr.test"], 443, Some("https://nvr.test/"));
        check("//evil.test/", &["nvr.test"], 443, Some("https://nvr.test//evil.test/"));
        check("/", &[], 443, None);
        check("/", &["a.test", "b.test"], 443, None);
        check("/", &["user@evil.test"], 443, None);
        check("/", &["evil.test/path"], 443, None);
        check("/", &[""], 443, None);
        check("/", &["a b"], 443, None);
    }
}
