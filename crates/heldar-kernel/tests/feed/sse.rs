//! A client of server-sent events, and what it is told.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpSocket;

use crate::{PATIENCE, Served, new_event, store_batch};

/// One block of the stream.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) retry: Option<String>,
}

impl Block {
    /// The number in its id.
    pub(crate) fn seq(&self) -> i64 {
        self.id.as_deref().unwrap().parse().unwrap()
    }

    pub(crate) fn name(&self) -> &str {
        self.event.as_deref().unwrap_or("message")
    }

    pub(crate) fn data(&self) -> &Value {
        self.data.as_ref().unwrap()
    }
}

pub(crate) struct Sse {
    pub(crate) stream: BufReader<tokio::net::TcpStream>,
    pub(crate) headers: String,
    text: Vec<u8>,
}

impl Sse {
    /// Connects; the status where it is not 200.
    pub(crate) async fn try_open(
        address: SocketAddr,
        query: &str,
        head: &str,
        buffer: Option<u32>,
    ) -> Result<Sse, u16> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let mut stream = BufReader::new(socket.connect(address).await.unwrap());
        let request = format!(
            "GET /api/v1/events/stream?{query} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{head}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut headers).await.unwrap() > 0, "{headers}");
        }
        match headers[9..12].parse().unwrap() {
            200 => Ok(Sse { stream, headers: headers.to_ascii_lowercase(), text: Vec::new() }),
            status => Err(status),
        }
    }

    /// Connects, and is told that it is ready.
    pub(crate) async fn open(served: &Served, query: &str, head: &str) -> Sse {
        let mut sse = Sse::try_open(served.address, query, head, None).await.unwrap();
        let ready = sse.next().await;
        assert_eq!(ready.name(), "ready");
        assert_eq!(ready.data(), &json!({ "seq": ready.seq() }));
        sse
    }

    /// The next block that is no comment; `None` when the connection has ended, and whether it did in order.
    pub(crate) async fn try_next(&mut self) -> Result<Block, End> {
        loop {
            let block = tokio::time::timeout(PATIENCE, self.block()).await.expect("nothing comes")?;
            if block.data.is_some() {
                return Ok(block);
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Block {
        self.try_next().await.unwrap()
    }

    async fn block(&mut self) -> Result<Block, End> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let rest = self.text.split_off(end + 2);
                let text = String::from_utf8(std::mem::replace(&mut self.text, rest)).unwrap();
                return Ok(parse(&text));
            }
            self.chunk().await?;
        }
    }

    async fn chunk(&mut self) -> Result<(), End> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(0) | Err(_) => return Err(End::Broken),
            Ok(_) => {}
        }
        let length = usize::from_str_radix(line.trim(), 16).map_err(|_| End::Broken)?;
        if length == 0 {
            return Err(End::Complete);
        }
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).await.map_err(|_| End::Broken)?;
        self.text.extend_from_slice(&bytes[..length]);
        Ok(())
    }
}

/// How a stream was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    Broken,
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("", _)) | None => {}
            Some(("id", value)) => block.id = Some(value.to_owned()),
            Some(("event", value)) => block.event = Some(value.to_owned()),
            Some(("retry", value)) => block.retry = Some(value.to_owned()),
            Some(("data", value)) => block.data = Some(serde_json::from_str(value).unwrap()),
            Some(other) => panic!("{other:?}"),
        }
    }
    block
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_batches_are_told_in_their_forms() {
    let served = Served::start_with(&[("HELDAR_SITE_ID", "north")]).await;
    let admin = served.admin();
    let mut sse = Sse::try_open(served.address, "topics=events,detections", &admin, None).await.unwrap();
    assert!(sse.headers.contains("content-type: text/event-stream\r\n"), "{}", sse.headers);
    let ready = sse.next().await;
    assert_eq!((ready.name(), ready.retry.as_deref()), ("ready", Some("2000")));
    assert_eq!(ready.data(), &json!({ "seq": served.head() }));

    let new = new_event(Some("gate"), "parcel", heldar_store::Severity::Warning);
    let seq = crate::append(served.store(), new.clone()).await;
    let told = sse.next().await;
    assert_eq!((told.seq(), told.name()), (seq, "message"));
    let expect = json!({
        "seq": seq, "id": new.id, "camera_id": "gate", "site_id": "north", "event_type": "parcel",
        "severity": "warning", "timestamp": new.timestamp, "payload": { "zone_id": "zone_1" },
        "created_at": new.created_at,
    });
    assert_eq!(told.data(), &expect);

    let seq = store_batch(served.store(), "yard", &["car", "dog"]).await;
    let told = sse.next().await;
    assert_eq!((told.seq(), told.name()), (seq, "detections"));
    let entry = told.data();
    for (name, expect) in [
        ("seq", json!(seq)),
        ("topic", json!("detections")),
        ("camera_id", json!("yard")),
        ("site_id", json!("north")),
        ("task_type", json!("yolo")),
        ("detection_count", json!(2)),
        ("part", json!(0)),
        ("late", json!(false)),
        ("ticketed", json!(false)),
        ("detections", Value::Null),
    ] {
        assert_eq!(entry[name], expect, "{name}");
    }
    // In full, live and from the store alike, and as the list of detections has them.
    let mut full = Sse::open(&served, "topics=detections&include=detections", &admin).await;
    let since = format!("topics=detections&include=detections&since_seq={seq}");
    let next = store_batch(served.store(), "yard", &["cat"]).await;
    let live = full.next().await;
    let stored = Sse::open(&served, &since, &admin).await.next().await;
    assert_eq!((live.seq(), live.data()), (next, stored.data()));
    let listed = served.house.see("/api/v1/cameras/yard/detections?label=cat").await;
    assert_eq!(live.data()["detections"], listed);
    assert_eq!(sse.next().await.data()["detections"], Value::Null, "others get the headers alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_not_told() {
    let served = Served::start().await;
    let admin = served.admin();
    let before = served.head();
    let gate = served.event(Some("gate"), "zone_enter").await;
    let yard = served.event(Some("yard"), "zone_exit").await;
    let none = served.event(None, "disk_pressure").await;
    let warning = new_event(Some("yard"), "parcel", heldar_store::Severity::Warning);
    let warning = crate::append(served.store(), warning).await;
    let batch = store_batch(served.store(), "gate", &[]).await;
    let last = served.event(Some("gate"), "end").await;
    for (query, expect) in [
        ("", vec![gate, yard, none, warning, last]),
        ("camera_id=gate", vec![gate, last]),
        ("camera_id=gate,yard", vec![gate, yard, warning, last]),
        ("camera_id=No%20Camera", vec![]),
        ("event_type=zone_*,end", vec![gate, yard, last]),
        ("event_type=parcel", vec![warning]),
        ("min_severity=warning", vec![warning]),
        ("zone_id=zone_1&event_type=zone_*", vec![gate, yard]),
        ("zone_id=zone_2", vec![]),
        ("topics=detections", vec![batch]),
        ("topics=detections,events&camera_id=gate", vec![gate, batch, last]),
        ("include=detections&camera_id=gate", vec![gate, last]),
    ] {
        // From the store, and then live.
        let mut sse = Sse::open(&served, &format!("{query}&since_seq={before}"), &admin).await;
        for expect in &expect {
            assert_eq!(sse.next().await.seq(), *expect, "{query}");
        }
    }
    for query in ["topics=x", "include=x", "min_severity=loud", "since_seq=x"] {
        let refused = Sse::try_open(served.address, query, &admin, None).await;
        assert_eq!(refused.err(), Some(400), "{query}");
    }
}
