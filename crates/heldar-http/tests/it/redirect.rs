//! The listener that sends browsers to TLS.

use std::time::Duration;

use heldar_http::{Limits, Listeners, redirect};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::world::Connection;

const SOON: Duration = Duration::from_secs(20);

async fn listening(limits: Limits) -> std::net::SocketAddr {
    let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let address = listeners.addresses()[0];
    tokio::spawn(redirect(listeners, 8443, limits, std::future::pending()));
    address
}

#[tokio::test]
async fn every_request_is_sent_to_tls_and_nothing_else_is_done() {
    let address = listening(Limits::default()).await;
    for (request, status, location) in [
        ("GET / HTTP/1.1\r\nHost: nvr.test:80\r\n\r\n", 308, Some("https://nvr.test:8443/")),
        ("GET /a?b=c HTTP/1.1\r\nHost: nvr.test\r\n\r\n", 308, Some("https://nvr.test:8443/a?b=c")),
        ("HEAD /a HTTP/1.1\r\nHost: nvr.test\r\n\r\n", 308, Some("https://nvr.test:8443/a")),
        (
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: nvr.test\r\nContent-Length: 2\r\n\r\n{}",
            308,
            Some("https://nvr.test:8443/api/v1/auth/login"),
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, None),
        ("GET / HTTP/1.0\r\n\r\n", 400, None),
        ("hello\r\n\r\n", 400, None),
    ] {
        let mut connection = Connection(TcpStream::connect(address).await.unwrap());
        let answer = connection.send(request).await;
        assert_eq!((answer.status, answer.header("location")), (status, location), "{request}");
        connection.ended().await;
    }
}

#[tokio::test]
async fn a_slow_head_is_cut() {
    let limits = Limits { header_time: Duration::from_millis(200), ..Limits::default() };
    let mut connection = Connection(TcpStream::connect(listening(limits).await).await.unwrap());
    let began = Instant::now();
    connection.write(b"GET / HTTP/1.1\r\n").await;
    timeout(SOON, connection.ended()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
