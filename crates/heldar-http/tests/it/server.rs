//! The server loop: limits, slowness, the end.

use std::time::Duration;

use heldar_http::{BindError, Limits, Listeners};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::world::{PROXY, Setup, World};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
const SOON: Duration = Duration::from_secs(20);

async fn limited(limits: Limits) -> World {
    World::start(Setup { limits, ..Setup::default() }).await
}

#[tokio::test]
async fn what_never_becomes_a_request_is_json_too() {
    let world = World::start(Setup::default()).await;
    for (bytes, status, code) in [
        (b"hello\r\n\r\n".to_vec(), 400, "validation"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), 400, "validation"),
        (b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, "validation"),
        (b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n".to_vec(), 400, "validation"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_vec(), 400, "validation"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(17_000)).into_bytes(), 431, "too_large"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40_000)).into_bytes(), 431, "too_large"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200)).into_bytes(), 431, "too_large"),
    ] {
        for earlier in [0, 2] {
            let mut connection = world.connect().await;
            for _ in 0..earlier {
                assert_eq!(connection.send(HEALTH).await.status, 200);
            }
            // More than the server reads: its answer must arrive all the same.
            let (mut read, mut write) = connection.0.split();
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            write.write_all(&bytes).await.unwrap();
            let mut text = Vec::new();
            timeout(SOON, read.read_to_end(&mut text)).await.unwrap().unwrap();
            let text = String::from_utf8(text).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {head}");
            assert!(head.to_ascii_lowercase().contains("x-request-id: req_"), "{shown}: {head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["code"], code, "{shown}");
        }
    }
}

#[tokio::test]
async fn a_client_that_still_sends_is_not_reset() {
    let world = World::start(Setup::default()).await;
    let mut connection = world.connect().await;
    connection.write(format!("GET /{}", "x".repeat(17_000)).as_bytes()).await;
    connection.answer(false).await.unwrap().assert_error(431, "too_large", "a long path");
    // A reset, which may overtake the answer, would come back for the first of these and fail the next.
    for _ in 0..16 {
        connection.write(&[b'x'; 4096]).await;
    }
}

#[tokio::test]
async fn a_head_below_the_limit_is_taken() {
    let world = World::start(Setup::default()).await;
    let answer =
        world.send(&format!("GET /healthz HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(15_000))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let limits = Limits {
        header_time: Duration::from_millis(300),
        idle_time: Duration::from_millis(1500),
        ..Limits::default()
    };
    let world = limited(limits).await;

    // A head that never ends, on a fresh connection and on a used one.
    for used in [false, true] {
        let mut connection = world.connect().await;
        if used {
            assert_eq!(connection.send(HEALTH).await.status, 200);
        }
        connection.write(b"GET /healthz HTTP/1.1\r\n").await;
        let began = Instant::now();
        let drip = async {
            // Bytes that keep coming do not buy time.
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if connection.0.write_all(b"X: y\r\n").await.is_err() {
                    break;
                }
            }
        };
        timeout(SOON, drip).await.unwrap();
        assert!(began.elapsed() < limits.idle_time, "{:?}", began.elapsed());
    }

    // Idleness is given longer than a head.
    let mut connection = world.connect().await;
    assert_eq!(connection.send(HEALTH).await.status, 200);
    let began = Instant::now();
    connection.ended().await;
    assert!(began.elapsed() >= limits.idle_time - Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_slow_handler_is_not_idle() {
    let world = limited(Limits { idle_time: Duration::from_millis(100), ..Limits::default() }).await;
    let mut connection = world.connect().await;
    connection.write(b"GET /api/v1/wait HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n").await;
    world.state.waiting.notified().await;
    // Longer than idleness is allowed to last.
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.state.release.notify_one();
    assert_eq!(connection.answer(false).await.unwrap().status, 200);
}

#[tokio::test]
async fn one_source_has_so_many_connections() {
    let world = limited(Limits { connections_per_source: 2, ..Limits::default() }).await;
    let mut first = world.connect().await;
    let mut second = world.connect().await;
    assert_eq!(first.send(HEALTH).await.status, 200);
    assert_eq!(second.send(HEALTH).await.status, 200);
    let refused = world.connect().await.answer(false).await.unwrap();
    refused.assert_error(503, "busy", "a third");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Others are not concerned, and a trusted proxy is no source.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = world.connect_from(PROXY).await;
        assert_eq!(connection.send(HEALTH).await.status, 200);
        held.push(connection);
    }
    // A place comes back when its connection ends.
    drop(first);
    let retry = async {
        loop {
            let mut connection = world.connect().await;
            connection.0.write_all(HEALTH.as_bytes()).await.ok();
            if connection.answer(false).await.is_some_and(|answer| answer.status == 200) {
                break;
            }
        }
    };
    timeout(SOON, retry).await.unwrap();
}

#[tokio::test]
async fn all_connections_together_are_bounded() {
    let world = limited(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = world.connect().await;
    assert_eq!(first.send(HEALTH).await.status, 200);
    world.connect_from(PROXY).await.answer(false).await.unwrap().assert_error(503, "busy", "a second");
}

#[tokio::test]
async fn requests_behind_a_proxy_count_by_their_source() {
    let world = World::start(Setup::default()).await;
    let request = |path: &str, source: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\nX-Forwarded-For: {source}\r\n\r\n"
        )
    };
    let mut waits = world.connect_from(PROXY).await;
    waits.write(request("/api/v1/wait", "192.0.2.1").as_bytes()).await;
    world.state.waiting.notified().await;
    let mut other = world.connect_from(PROXY).await;
    other.send(&request("/api/v1/cameras", "192.0.2.1")).await.assert_error(
        503,
        "busy",
        "a second at a time",
    );
    assert_eq!(other.send(&request("/api/v1/cameras", "192.0.2.2")).await.status, 200);
    world.state.release.notify_one();
    let answer = waits.answer(false).await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "192.0.2.1"));
    assert_eq!(other.send(&request("/api/v1/cameras", "192.0.2.1")).await.status, 200);
}

#[tokio::test]
async fn requests_in_one_go_are_answered_in_order() {
    let world = World::start(Setup::default()).await;
    let mut connection = world.connect().await;
    let missing = "GET /api/nothing HTTP/1.1\r\nHost: h\r\n\r\n";
    connection.write(format!("{HEALTH}{missing}{HEALTH}").as_bytes()).await;
    for status in [200, 404, 200] {
        assert_eq!(connection.answer(false).await.unwrap().status, status);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_request() {
    let world = World::start(Setup::default()).await;
    let mut connection = world.connect().await;
    connection.write(b"GET /api/v1/wait HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n").await;
    world.state.waiting.notified().await;
    drop(connection);
    timeout(SOON, world.state.ended.notified()).await.unwrap();
}

#[tokio::test]
async fn the_end_waits_for_running_answers_only() {
    let mut world = World::start(Setup::default()).await;
    let mut idle = world.connect().await;
    assert_eq!(idle.send(HEALTH).await.status, 200);
    let mut waits = world.connect().await;
    waits.write(b"GET /api/v1/wait HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n").await;
    world.state.waiting.notified().await;
    world.begin_stop();
    idle.ended().await;
    world.state.release.notify_one();
    assert_eq!(waits.answer(false).await.unwrap().status, 200);
    waits.ended().await;
    timeout(SOON, world.stopped()).await.unwrap();
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let mut world = limited(Limits { grace: Duration::from_millis(200), ..Limits::default() }).await;
    let mut waits = world.connect().await;
    waits.write(b"GET /api/v1/wait HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n").await;
    world.state.waiting.notified().await;
    world.begin_stop();
    timeout(SOON, world.stopped()).await.unwrap();
    assert!(waits.answer(false).await.is_none());
}

#[tokio::test]
async fn several_addresses_and_one_that_is_taken() {
    let addresses = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let mut world = World::start(Setup { addresses, ..Setup::default() }).await;
    let bound = world.addresses.clone();
    for address in &bound {
        world.addresses = vec![*address];
        assert_eq!(world.send(HEALTH).await.status, 200, "{address}");
    }
    let error = Listeners::bind(&bound[..1]).await.unwrap_err();
    assert!(matches!(error, BindError::InUse(address) if address == bound[0]));
    let text = error.to_string();
    assert!(text.contains("already in use") && text.contains(&bound[0].port().to_string()), "{text}");
    assert!(matches!(Listeners::bind(&[]).await, Err(BindError::NoAddress)));
    let foreign = Listeners::bind(&["192.0.2.1:0".parse().unwrap()]).await;
    assert!(matches!(foreign, Err(BindError::NotLocal(_))), "{foreign:?}");
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut() {
    let limits = Limits { stalled_time: Duration::from_millis(300), ..Limits::default() };
    let world = limited(limits).await;
    let mut connection = world.connect().await;
    // Far more answers than the socket buffers hold, none of them read.
    let request = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n";
    let flood = async { while connection.0.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(SOON, flood).await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_is_left_alone() {
    let limits =
        Limits { idle_time: Duration::from_millis(100), connections_per_source: 1, ..Limits::default() };
    let world = limited(limits).await;
    let mut connection = world.connect().await;
    let request = "GET /api/v1/upgrade HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\
                   Connection: upgrade\r\nUpgrade: echo\r\n\r\n";
    assert_eq!(connection.send(request).await.status, 101);
    for word in [b"one word", b"two word"] {
        // Longer than an HTTP connection may be idle.
        tokio::time::sleep(limits.idle_time * 2).await;
        connection.write(word).await;
        let mut echo = [0; 8];
        connection.0.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, word);
    }
    // It still counts for its source.
    world.connect().await.answer(false).await.unwrap().assert_error(503, "busy", "a second");
}
