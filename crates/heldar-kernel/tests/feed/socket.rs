//! The feed over a WebSocket.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::{PATIENCE, Served, new_event, store_batch};

/// A WebSocket's client (RFC 6455).
struct Socket(BufReader<TcpStream>);

/// What came.
#[derive(Debug)]
enum Heard {
    Said(Value),
    Closed(u16),
}

impl Socket {
    async fn open(served: &Served, query: &str, head: &str) -> Socket {
        let mut stream = BufReader::new(TcpStream::connect(served.address).await.unwrap());
        let request = format!(
            "GET /api/v1/events/ws{query} HTTP/1.1\r\nHost: {}\r\n{head}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            served.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut headers).await.unwrap() > 0, "{headers}");
        }
        assert!(headers.starts_with("HTTP/1.1 101"), "{headers}");
        Socket(stream)
    }

    async fn hear(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.frame()).await.expect("nothing comes")
    }

    async fn frame(&mut self) -> Heard {
        let stream = &mut self.0;
        loop {
            let opcode = stream.read_u8().await.unwrap() & 0x0f;
            let length = match stream.read_u8().await.unwrap() & 0x7f {
                126 => usize::from(stream.read_u16().await.unwrap()),
                127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            match opcode {
                1 => return Heard::Said(serde_json::from_slice(&payload).unwrap()),
                8 => return Heard::Closed(u16::from_be_bytes([payload[0], payload[1]])),
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Value {
        match self.hear().await {
            Heard::Said(value) => value,
            Heard::Closed(code) => panic!("closed with {code}"),
        }
    }

    /// The next message, of this type.
    async fn expect(&mut self, kind: &str) -> Value {
        let value = self.next().await;
        assert_eq!(value["type"], kind, "{value}");
        value
    }

    async fn say(&mut self, value: &Value) {
        let text = value.to_string();
        let length = u16::try_from(text.len()).unwrap();
        let mut frame = vec![0x81];
        if length < 126 {
            frame.push(0x80 | u8::try_from(length).unwrap());
        } else {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        // A mask of zeros leaves the payload as it is.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    /// Nothing comes for a while.
    async fn is_quiet(&mut self) {
        let heard = tokio::time::timeout(Duration::from_millis(400), self.frame()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_batches_come_as_messages() {
    let served = Served::start().await;
    let admin = served.admin();
    // Nothing asked for: all events from now on.
    let mut socket = Socket::open(&served, "", &admin).await;
    let missed_by_nobody = served.event(Some("gate"), "x").await;
    assert_eq!(socket.expect("ready").await["seq"], missed_by_nobody - 1);
    let event = socket.expect("event").await;
    assert_eq!(event["seq"], missed_by_nobody);
    let listed = served.house.see("/api/v1/events?limit=1").await;
    assert_eq!(event["event"], listed[0]);

    let query = "?topics=events,detections&include=detections&camera_id=yard";
    let mut socket = Socket::open(&served, query, &admin).await;
    socket.expect("ready").await;
    served.event(Some("gate"), "x").await;
    let batch = store_batch(served.store(), "yard", &["car"]).await;
    let told = socket.expect("detections").await;
    assert_eq!((&told["seq"], &told["entry"]["seq"]), (&json!(batch), &json!(batch)));
    assert_eq!(told["entry"]["detections"][0]["label"], "car");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_subscribes_and_subscribes_anew() {
    let served = Served::start().await;
    let before = served.head();
    let gate = served.event(Some("gate"), "a").await;
    let yard = served.event(Some("yard"), "b").await;
    let mut socket = Socket::open(&served, "", &served.admin()).await;
    socket.say(&json!({ "type": "subscribe", "since_seq": before, "camera_id": "gate" })).await;
    assert_eq!(socket.expect("ready").await["seq"], before);
    assert_eq!(socket.expect("event").await["seq"], gate);
    // Goes on from there; another wish replaces the one before.
    socket.say(&json!({ "type": "subscribe", "event_type": ["b", "c*"] })).await;
    let ready = socket.expect("ready").await["seq"].as_i64().unwrap();
    assert!(ready >= gate, "{ready}");
    served.event(Some("gate"), "a").await;
    let next = served.event(Some("gate"), "cc").await;
    let mut told = socket.expect("event").await;
    if told["seq"] == yard {
        told = socket.expect("event").await;
    }
    assert_eq!(told["seq"], next);
    // What is not understood is said, and changes nothing.
    for wrong in [json!({ "type": "subscribe", "topics": "x" }), json!({ "type": "ack" }), json!(5)] {
        socket.say(&wrong).await;
        assert_eq!(socket.expect("error").await["code"], "validation", "{wrong}");
    }
    socket.say(&json!({ "type": "something" })).await;
    let next = served.event(Some("gate"), "b").await;
    assert_eq!(socket.expect("event").await["seq"], next);
    // A number that is older than what is kept.
    socket.say(&json!({ "type": "subscribe", "since_seq": served.head() + 9 })).await;
    socket.expect("ready").await;
    assert_eq!(socket.expect("gap").await["first_seq"], served.head() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_bounds_what_is_ahead_of_the_client() {
    let served = Served::start().await;
    let before = served.head();
    let mut seqs = Vec::new();
    for _ in 0..3 {
        seqs.push(served.event(Some("gate"), "x").await);
    }
    let query = format!("?since_seq={before}&window=2");
    let mut socket = Socket::open(&served, &query, &served.admin()).await;
    socket.expect("ready").await;
    for _ in 0..4 {
        seqs.push(served.event(Some("gate"), "x").await);
    }
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(socket.expect("event").await["seq"].as_i64().unwrap());
    }
    socket.is_quiet().await;
    // One acknowledged makes room for one.
    socket.say(&json!({ "type": "ack", "seq": told[0] })).await;
    told.push(socket.expect("event").await["seq"].as_i64().unwrap());
    socket.is_quiet().await;
    while told.len() < seqs.len() {
        socket.say(&json!({ "type": "ack", "seq": told.last() })).await;
        for _ in 0..2.min(seqs.len() - told.len()) {
            told.push(socket.expect("event").await["seq"].as_i64().unwrap());
        }
    }
    assert_eq!(told, seqs);
}

/// A client that acknowledges nothing is too slow in the end; one with a small window that has little to get is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_acknowledges_nothing_is_cut() {
    let served = Served::start().await;
    let admin = served.admin();
    let mut all = Socket::open(&served, "?window=1", &admin).await;
    let mut few = Socket::open(&served, "?window=1&event_type=rare", &admin).await;
    for socket in [&mut all, &mut few] {
        socket.expect("ready").await;
    }
    let first = served.event(None, "rare").await;
    for socket in [&mut all, &mut few] {
        assert_eq!(socket.expect("event").await["seq"], first);
    }
    let pour = async |count: usize| {
        for _ in 0..count / 250 {
            let events = (0..250).map(|_| new_event(None, "x", heldar_store::Severity::Info)).collect();
            served.store().write(heldar_store::op::AppendEvents { events }).await.unwrap();
        }
    };
    pour(3000).await;
    assert!(matches!(all.hear().await, Heard::Closed(1013)));
    let next = served.event(None, "rare").await;
    few.say(&json!({ "type": "ack", "seq": first })).await;
    assert_eq!(few.expect("event").await["seq"], next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_ends_closes_a_socket() {
    let served = Served::start().await;
    let house = &served.house;
    for (fields, code) in [
        (json!({ "capabilities": ["camera:read"] }), 4403),
        (json!({ "revoked_at": "2026-01-01T00:00:00Z" }), 4401),
    ] {
        let (id, head) = served.key(json!({ "capabilities": ["events:read"] })).await;
        let mut socket = Socket::open(&served, "?topics=events", &head).await;
        socket.expect("ready").await;
        let since = Instant::now();
        house.patch(&format!("/api/v1/api-keys/{id}"), fields.clone()).token(&house.admin).ok().await;
        assert!(matches!(socket.hear().await, Heard::Closed(found) if found == code), "{fields}");
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
    let mut socket = Socket::open(&served, "?topics=events", &served.admin()).await;
    socket.expect("ready").await;
    house.kernel.feed.stop();
    assert!(matches!(socket.hear().await, Heard::Closed(1001)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_upgrade_there_is_no_socket() {
    let served = Served::start().await;
    let answer = served.house.get("/api/v1/events/ws").token(&served.house.admin).send().await;
    assert_eq!(answer.error(), (400, "validation".to_owned()));
    let answer = served.house.get("/api/v1/events/ws").send().await;
    assert_eq!(answer.status, 401);
}
