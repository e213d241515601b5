//! TLS on the listener: asked by rustls, by hyper's HTTP/2 client, and by curl(1) and openssl(1) where they are installed.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use heldar_base::{Micros, WallTime};
use heldar_http::{Hsts, Limits};
use heldar_tls::{Ask, Certificates, Source};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{Connection, FLOOD, NOW, Setup, World};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "localhost";

/// A server with a pair in files, and a client that trusts what is there at the moment.
struct Tls {
    folder: TempDir,
    certificates: Arc<Certificates>,
    world: World,
}

impl Tls {
    async fn start(setup: Setup) -> Tls {
        let folder = tempfile::tempdir().unwrap();
        put(&folder, &pair());
        let source =
            Source::Files { chain: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
        let certificates = Certificates::open(source, now()).unwrap();
        let tls = Some(certificates.server_config().unwrap());
        let world = World::start(Setup { tls, ..setup }).await;
        Tls { folder, certificates, world }
    }

    async fn limited(limits: Limits) -> Tls {
        Tls::start(Setup { limits, ..Setup::default() }).await
    }

    fn roots(&self) -> RootCertStore {
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.path().join("chain.pem")).unwrap()).unwrap();
        roots
    }

    async fn try_connect(&self, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.world.addresses[0]).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    async fn h1(&self) -> Connection<TlsStream<TcpStream>> {
        Connection(self.try_connect(b"http/1.1").await.unwrap())
    }

    async fn h2(&self) -> SendRequest<Body> {
        let stream = self.try_connect(b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 16)
            .initial_connection_window_size(1 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    /// curl(1) with the certificate of the moment; `None` where it is not installed.
    async fn curl(&self, arguments: &[&str], path: &str) -> Option<Output> {
        let port = self.world.addresses[0].port();
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert"]);
        curl.arg(self.folder.path().join("chain.pem")).args(arguments);
        curl.args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")]);
        curl.arg(format!("https://{NAME}:{port}{path}")).output().await.ok()
    }
}

fn now() -> WallTime {
    WallTime::parse(NOW).unwrap()
}

/// Chain and key in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn put(folder: &TempDir, (chain, key): &(String, String)) {
    std::fs::write(folder.path().join("chain.pem"), chain).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("https://{NAME}{path}"))
        .header("authorization", "Bearer viewer")
        .body(Body::empty())
        .unwrap()
}

async fn text(client: &mut SendRequest<Body>, path: &str) -> (StatusCode, String) {
    let response = client.send_request(get(path)).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Whether a connection of HTTP/2 comes to its end soon.
async fn ends(client: &mut SendRequest<Body>) {
    let closed = async {
        while client.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, closed).await.unwrap();
}

#[tokio::test]
async fn both_versions_are_served_and_know_that_they_are_secure() {
    let tls = Tls::start(Setup { hsts: Hsts::Announced, ..Setup::default() }).await;
    let request = "GET /api/v1/scheme HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n";
    let mut h1 = tls.h1().await;
    let answer = h1.send(request).await;
    assert_eq!((answer.status, answer.text()), (200, "Https"));
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));

    let mut h2 = tls.h2().await;
    assert_eq!(text(&mut h2, "/api/v1/scheme").await, (StatusCode::OK, "Https".to_owned()));
    // `:authority` is what `Host` is to HTTP/1.1.
    assert_eq!(text(&mut h2, "/api/v1/host").await, (StatusCode::OK, NAME.to_owned()));
    let missing = h2.send_request(get("/api/nothing")).await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(missing.headers()["strict-transport-security"], "max-age=31536000");
    assert_eq!(missing.headers()["content-type"], "application/json");

    let metrics = tls.world.metrics();
    for line in [r#"heldar_http_connections{proto="h1"} 1"#, r#"heldar_http_connections{proto="h2"} 1"#] {
        assert!(metrics.contains(line), "{metrics}");
    }

    // Without trust in the certificate, and over plain HTTP, nothing of the kind is said.
    let tls = Tls::start(Setup::default()).await;
    assert_eq!(tls.h1().await.send(HEALTH).await.header("strict-transport-security"), None);
    let plain = World::start(Setup { hsts: Hsts::Announced, ..Setup::default() }).await;
    let answer = plain.send(request).await;
    assert_eq!((answer.text(), answer.header("strict-transport-security")), ("Http", None));
}

#[tokio::test]
async fn requests_of_one_connection_run_at_the_same_time() {
    let tls = Tls::start(Setup::default()).await;
    let mut client = tls.h2().await;
    let waits = tokio::spawn({
        let mut client = client.clone();
        async move { text(&mut client, "/api/v1/wait").await }
    });
    tls.world.state.waiting.notified().await;
    assert_eq!(text(&mut client, "/healthz").await.0, StatusCode::OK);
    tls.world.state.release.notify_one();
    assert_eq!(waits.await.unwrap(), (StatusCode::OK, "127.0.0.1".to_owned()));
    // A whole answer larger than every window arrives.
    assert_eq!(text(&mut client, "/api/v1/flood").await.1.len(), FLOOD);
}

#[tokio::test]
async fn a_client_of_http_2_that_hangs_up_ends_its_requests() {
    let tls = Tls::start(Setup::default()).await;
    let mut client = tls.h2().await;
    let waits = tokio::spawn(async move { client.send_request(get("/api/v1/wait")).await.map(drop) });
    tls.world.state.waiting.notified().await;
    waits.abort();
    timeout(SOON, tls.world.state.ended.notified()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_exchanged_under_open_connections() {
    let tls = Tls::start(Setup::default()).await;
    let (mut h1, mut h2) = (tls.h1().await, tls.h2().await);
    let waits = tokio::spawn({
        let mut client = h2.clone();
        async move { text(&mut client, "/api/v1/wait").await }
    });
    tls.world.state.waiting.notified().await;
    let seen = |connection: &Connection<TlsStream<TcpStream>>| -> Vec<u8> {
        connection.0.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = seen(&h1);

    put(&tls.folder, &pair());
    assert!(tls.try_connect(b"h2").await.is_err(), "the client trusts the new certificate only");
    assert_eq!(tls.certificates.look(now(), Ask::Operator), []);
    let fresh = tls.h1().await;
    let second = seen(&fresh);
    assert_ne!(first, second);

    // A pair that does not load changes nothing.
    put(&tls.folder, &(pair().0, pair().1));
    assert_eq!(tls.certificates.look(now(), Ask::Operator).len(), 1);
    assert!(tls.certificates.view().last_error.is_some());

    // What was open before is open.
    assert_eq!(h1.send(HEALTH).await.status, 200);
    assert_eq!(text(&mut h2, "/healthz").await.0, StatusCode::OK);
    tls.world.state.release.notify_one();
    assert_eq!(waits.await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn plain_http_is_told_that_it_is_in_the_wrong_place() {
    let tls = Tls::start(Setup::default()).await;
    let mut connection = tls.world.connect().await;
    let body = connection.send(HEALTH).await.assert_error(400, "validation", "plain");
    assert!(body["error"].as_str().unwrap().contains("https://"), "{body}");
    connection.ended().await;
    // HTTP/2 with prior knowledge, and something else altogether.
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\0\0\0hello"] {
        let mut connection = tls.world.connect().await;
        connection.write(bytes).await;
        let mut rest = Vec::new();
        timeout(SOON, connection.0.read_to_end(&mut rest)).await.unwrap().ok();
        assert_eq!(rest.starts_with(b"HTTP/1.1 400 "), bytes[0] == b'P', "{rest:?}");
    }
    assert_eq!(tls.h1().await.send(HEALTH).await.status, 200);
}

#[tokio::test]
async fn a_handshake_has_its_time_and_counts_as_a_connection() {
    let limits =
        Limits { header_time: Duration::from_millis(400), connections_per_source: 2, ..Limits::default() };
    let tls = Tls::limited(limits).await;
    let began = Instant::now();
    let mut silent = tls.world.connect().await;
    let mut slow = tls.world.connect().await;
    // The beginning of a record of 512 bytes (RFC 8446 5.1).
    slow.write(&[22, 3, 1, 2, 0, 1]).await;
    // Both places are taken, and for a third there is not even a handshake.
    assert!(tls.try_connect(b"h2").await.is_err());
    silent.ended().await;
    let mut rest = Vec::new();
    timeout(SOON, slow.0.read_to_end(&mut rest)).await.unwrap().ok();
    assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
    let retry = async {
        while tls.try_connect(b"h2").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, retry).await.unwrap();
}

#[tokio::test]
async fn idle_connections_of_http_2_are_closed_and_busy_ones_are_not() {
    let limits = Limits { idle_time: Duration::from_millis(400), ..Limits::default() };
    let tls = Tls::limited(limits).await;
    let mut idle = tls.h2().await;
    assert_eq!(text(&mut idle, "/healthz").await.0, StatusCode::OK);
    let mut busy = tls.h2().await;
    let waits = tokio::spawn(async move { text(&mut busy, "/api/v1/wait").await.0 });
    tls.world.state.waiting.notified().await;
    let began = Instant::now();
    ends(&mut idle).await;
    assert!(began.elapsed() >= limits.idle_time / 2, "{:?}", began.elapsed());
    tokio::time::sleep(limits.idle_time).await;
    tls.world.state.release.notify_one();
    assert_eq!(waits.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut_and_the_others_are_not() {
    let limits = Limits { stalled_time: Duration::from_millis(300), ..Limits::default() };
    let tls = Tls::limited(limits).await;
    let mut client = tls.h2().await;
    // Its window is full soon, that of the connection is not.
    let stalled = client.send_request(get("/api/v1/flood")).await.unwrap();
    let in_flight = async {
        while !tls.world.metrics().contains("heldar_http_requests_in_flight 0") {
            assert_eq!(text(&mut client, "/healthz").await.0, StatusCode::OK);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, in_flight).await.unwrap();
    assert!(stalled.into_body().collect().await.is_err());
    assert_eq!(text(&mut client, "/healthz").await.0, StatusCode::OK);

    // Over HTTP/1.1 it is the connection that is cut.
    let mut connection = tls.h1().await;
    connection.write(b"GET /api/v1/flood HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n").await;
    let cut = async {
        while !tls.world.metrics().contains(r#"heldar_http_connections{proto="h1"} 0"#) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, cut).await.unwrap();
}

#[tokio::test]
async fn large_heads_of_http_2_are_refused() {
    let tls = Tls::start(Setup::default()).await;
    let mut client = tls.h2().await;
    for (bytes, expect) in [(15_000, Some(StatusCode::OK)), (17_000, None)] {
        let request = Request::get(format!("https://{NAME}/healthz"));
        let request = request.header("x-long", "x".repeat(bytes)).body(Body::empty()).unwrap();
        let status = client.send_request(request).await.ok().map(|response| response.status());
        assert!(status == expect || (expect.is_none() && status.is_some_and(|s| s == 431)), "{status:?}");
    }
}

#[tokio::test]
async fn an_upgraded_connection_works_over_tls() {
    let tls = Tls::start(Setup::default()).await;
    let mut connection = tls.h1().await;
    let request = "GET /api/v1/upgrade HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\
                   Connection: upgrade\r\nUpgrade: echo\r\n\r\n";
    assert_eq!(connection.send(request).await.status, 101);
    for word in [b"one word", b"two word"] {
        connection.write(word).await;
        connection.0.flush().await.unwrap();
        let mut echo = [0; 8];
        connection.0.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, word);
    }
}

#[tokio::test]
async fn the_end_waits_for_running_answers_of_http_2_only() {
    let mut tls = Tls::start(Setup::default()).await;
    let mut idle = tls.h2().await;
    assert_eq!(text(&mut idle, "/healthz").await.0, StatusCode::OK);
    let mut client = tls.h2().await;
    let waits = tokio::spawn(async move { text(&mut client, "/api/v1/wait").await.0 });
    tls.world.state.waiting.notified().await;
    // A handshake that has not begun does not hold the end up either.
    let _silent = tls.world.connect().await;
    tls.world.begin_stop();
    ends(&mut idle).await;
    tls.world.state.release.notify_one();
    assert_eq!(waits.await.unwrap(), StatusCode::OK);
    let began = Instant::now();
    timeout(SOON, tls.world.stopped()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn curl_is_content() {
    let tls = Tls::start(Setup::default()).await;
    for (arguments, version) in [
        (&["--http1.1"][..], "1.1"),
        (&["--http2"], "2"),
        (&["--http1.1", "--tls-max", "1.2"], "1.1"),
        (&["--http2", "--tlsv1.3"], "2"),
    ] {
        let mut all = vec!["--fail", "--write-out", " %{http_version} %{http_code}"];
        all.extend_from_slice(arguments);
        let Some(output) = tls.curl(&all, "/healthz").await else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text, format!(r#"{{"status":"ok"}} {version} 200"#), "{arguments:?} {output:?}");
    }
    for path in ["/api/v1/flood", "/media/recordings/gate/sealed.mp4"] {
        let arguments = ["--http2", "--fail", "-H", "Authorization: Bearer viewer", "-o", "/dev/null"];
        let output = tls.curl(&arguments, path).await.unwrap();
        assert!(output.status.success(), "{path} {output:?}");
    }
    // Versions before TLS 1.2 are not spoken.
    let output = tls.curl(&["--tlsv1.0", "--tls-max", "1.1"], "/healthz").await.unwrap();
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test]
async fn openssl_is_content() {
    let tls = Tls::start(Setup::default()).await;
    let address = tls.world.addresses[0].to_string();
    for (version, protocol) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let mut openssl = tokio::process::Command::new("openssl");
        openssl.args([
            "s_client",
            "-connect",
            &address,
            "-servername",
            NAME,
            "-alpn",
            "h2,http/1.1",
            version,
        ]);
        openssl.args(["-verify_return_error", "-verify_hostname", NAME, "-CAfile"]);
        openssl.arg(tls.folder.path().join("chain.pem")).stdin(Stdio::null());
        let Ok(output) = openssl.output().await else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("Verify return code: 0"), "{output:?}");
        assert!(text.contains(protocol) && text.contains("ALPN protocol: h2"), "{text}");
    }
}

#[tokio::test]
async fn a_self_signed_pair_is_one_that_handshakes_take() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::SelfSigned { folder: folder.path().to_owned(), domains: vec![NAME.to_owned()] };
    // The client's clock is the real one.
    let real = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let certificates = Certificates::open(source, WallTime::EPOCH + Micros::from_std(real)).unwrap();
    let world =
        World::start(Setup { tls: Some(certificates.server_config().unwrap()), ..Setup::default() }).await;
    std::fs::copy(folder.path().join("self-signed.crt"), folder.path().join("chain.pem")).unwrap();
    let tls = Tls { folder, certificates, world };
    let mut client = tls.h2().await;
    let response = client.send_request(get("/healthz")).await.unwrap();
    let body: Bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn an_answer_ends_with_the_right_to_it_read_or_not() {
    let tls = Tls::start(Setup::default()).await;
    let (mut client, mut connection) = (tls.h2().await, tls.h1().await);
    let flood = |token: &str| {
        format!("GET /api/v1/flood HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    // Nobody reads either of them, nor the third, whose right goes on.
    let stalled = client.send_request(get("/api/v1/flood")).await.unwrap();
    connection.write(flood("viewer").as_bytes()).await;
    let mut other = tls.h1().await;
    other.write(flood("admin").as_bytes()).await;
    // As much of each as its buffers take.
    tokio::time::sleep(Duration::from_millis(300)).await;
    tls.world.resolver.ended.send_modify(|ended| _ = ended.insert("viewer".to_owned()));
    let two_connections = async {
        let line = r#"heldar_http_connections{proto="h1"} 1"#;
        while !tls.world.metrics().lines().any(|l| l == line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(2), two_connections).await.expect("one connection ends");
    assert!(stalled.into_body().collect().await.is_err());
    let mut rest = Vec::new();
    // The end of the connection may be an error.
    let _ended = timeout(SOON, connection.0.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < FLOOD / 2, "{}", rest.len());
    assert_eq!(other.answer(false).await.map(|answer| answer.complete), Some(true));
}
