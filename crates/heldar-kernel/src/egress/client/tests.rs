//! Requests over TLS to a server whose authority is known.

use std::net::Ipv4Addr;

use heldar_config::Cidr;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every request with these bytes; its port.
async fn server(
    answer: &'static [u8],
    tls: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tls.map(|(certificate, key)| {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        tokio_rustls::TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()))
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &acceptor {
                None => serve(stream, answer).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, answer).await;
                    }
                }
            }
        }
    });
    port
}

async fn serve<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut stream: S, answer: &[u8]) {
    let mut head = [0; 4096];
    // A client that goes away is one of the cases.
    let _read = stream.read(&mut head).await;
    let _written = stream.write_all(answer).await;
    let _closed = stream.shutdown().await;
}

fn client() -> Client {
    let deny: Vec<Cidr> = vec!["127.66.0.0/16".parse().unwrap()];
    Client::new(LanGuard { deny, own_port: 1 }, Duration::from_secs(5))
}

fn get(url: &str) -> Call {
    let url = Url::parse(url).unwrap();
    Call { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
}

/// An authority, and a certificate of it for a name.
fn authority(name: &str) -> (RootCertStore, (CertificateDer<'static>, PrivateKeyDer<'static>)) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    (roots, (leaf.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap()))
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn the_name_of_a_certificate_is_that_of_the_url() {
    for (name, host, expect) in [
        ("localhost", "localhost", Ok(200)),
        ("127.0.0.1", "127.0.0.1", Ok(200)),
        ("localhost", "127.0.0.1", Err(CallError::Tls("its certificate is for another name"))),
        ("other.example", "localhost", Err(CallError::Tls("its certificate is for another name"))),
    ] {
        let (roots, pair) = authority(name);
        let port = server(FINE, Some(pair)).await;
        let client = client();
        client.tls.set(trusting(roots).unwrap()).unwrap();
        let answer = client.call(&get(&format!("https://{host}:{port}/x"))).await;
        assert_eq!(answer.map(|reply| reply.status), expect, "{name} {host}");
    }
    let (_, pair) = authority("localhost");
    let port = server(FINE, Some(pair)).await;
    let client = client();
    client.tls.set(trusting(authority("localhost").0).unwrap()).unwrap();
    let answer = client.call(&get(&format!("https://localhost:{port}/x"))).await;
    assert_eq!(answer.unwrap_err(), CallError::Tls("its certificate is not trusted"));
}

#[tokio::test]
async fn answers_are_read_no_further_than_needed() {
    const LONG: &[u8] = &[b'a'; 100_000];
    let long: &'static [u8] =
        [b"HTTP/1.1 404 Not Found\r\ncontent-length: 100000\r\n\r\n", LONG].concat().leak();
    // One that promises more than it sends has answered all the same.
    let short = b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 99\r\n\r\nx";
    for (answer, status, length) in [(long, 404, ANSWER), (short.as_slice(), 503, 1), (FINE, 200, 2)] {
        let port = server(answer, None).await;
        let reply = client().call(&get(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
        assert_eq!((reply.status, reply.body.len()), (status, length));
    }
    for (answer, expect) in [(b"nonsense\r\n\r\n".as_slice(), CallError::Broken), (b"", CallError::Broken)] {
        let port = server(answer, None).await;
        assert_eq!(client().call(&get(&format!("http://127.0.0.1:{port}/"))).await.unwrap_err(), expect);
    }
}

#[tokio::test]
async fn nothing_is_connected_to_that_the_guard_refuses() {
    let blocked = async |url: &str| client().call(&get(url)).await.unwrap_err();
    assert_eq!(blocked("http://127.66.0.1:9/").await, CallError::Blocked);
    assert_eq!(blocked("http://169.254.169.254/").await, CallError::Blocked);
    assert_eq!(blocked("ftp://127.0.0.1/").await, CallError::Url);
    assert_eq!(blocked("http://nowhere.invalid/").await, CallError::Name);
}

#[test]
fn requests_carry_what_the_url_says() {
    let mut call = get("http://u%40x:p%3Aq@h.example:81/a%20b?c=d&e#f");
    let request = prepared(&call).unwrap();
    assert_eq!(request.uri(), "/a%20b?c=d&e");
    assert_eq!(request.headers()[HOST], "h.example:81");
    assert_eq!(request.headers()[CONNECTION], "close");
    // RFC 7617: `u@x:p:q`.
    assert_eq!(request.headers()[AUTHORIZATION], "Basic dUB4OnA6cQ==");
    assert!(request.headers()[AUTHORIZATION].is_sensitive());
    call.headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert_eq!(prepared(&call).unwrap().headers()[AUTHORIZATION], "Bearer x");
    let plain = prepared(&get("https://[::1]/")).unwrap();
    assert_eq!(plain.uri(), "/");
    assert_eq!(plain.headers()[HOST], "[::1]");
    assert!(!plain.headers().contains_key(AUTHORIZATION));
}
