//! Clients that send anything at all: whole dialogues of requests, torn and stitched together at random.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use heldar_base::WallTime;
use proptest::prelude::*;

use super::dialogue::{Dialogue, Next};
use super::listen::Shared;
use super::*;

/// One stream under any path that begins with `cam`; whoever shows credentials is checked.
struct Open {
    stream: Arc<Stream>,
    challenger: Challenger,
}

impl Host for Open {
    fn authorize<'a>(&'a self, request: &'a AccessRequest<'a>) -> BoxFuture<'a, Verdict> {
        let account = Account { user: "u".to_owned(), password: "p".to_owned().into() };
        let verdict = match request.credentials {
            None => Verdict::Granted,
            Some(shown) => match self.challenger.check(&account, Some(shown), request.method, request.uri) {
                Check::Passed => Verdict::Granted,
                refused => Verdict::Challenge(self.challenger.challenges(refused)),
            },
        };
        Box::pin(std::future::ready(verdict))
    }

    fn open<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Arc<Stream>, OpenError>> {
        let found = path.starts_with("cam").then(|| Arc::clone(&self.stream));
        Box::pin(std::future::ready(found.ok_or(OpenError::NotFound)))
    }
}

fn dialogue() -> Dialogue {
    let sets = ParameterSets {
        vps: vec![],
        sps: vec![Bytes::from_static(&[0x67, 0x42, 0, 0x1f])],
        pps: vec![Bytes::from_static(&[0x68, 1])],
    };
    let stream = Arc::new(Stream::new(vec![Format::H264(sets), Format::Pcmu], Manners::default()));
    let payload = Payload::Frame(Bytes::from_static(&[0, 0, 0, 2, 0x65, 1]));
    stream.publish(&Unit { track: 0, captured_at: WallTime(0), rtp_time: 0, sync: true, payload });
    let schemes = vec![Scheme::Digest(Algorithm::Md5), Scheme::Basic];
    let challenger = Challenger::new("r", schemes, Duration::from_secs(60));
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let shared = Shared {
        config: Config::new(peer),
        host: Arc::new(Open { stream, challenger }),
        udp: None,
        connections: Arc::default(),
        sessions: Arc::default(),
        refused: AtomicU64::new(0),
        malformed: AtomicU64::new(0),
    };
    Dialogue::new(peer, Arc::new(shared))
}

/// Says all of it; tells the status of each answer. A session is named as the server named it.
fn say(bytes: &[u8]) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut dialogue, mut statuses, mut rest) = (dialogue(), Vec::new(), bytes);
        while let Ok(Some((input, used))) = next_input(rest, &Limits::default()) {
            rest = &rest[used..];
            let Input::Request(request) = input else { continue };
            let Next::Respond(answer) = dialogue.handle(&request).await else { break };
            let head = String::from_utf8(answer.to_vec()).unwrap();
            let status = head.strip_prefix("RTSP/1.0 ").and_then(|text| text.get(..3)).unwrap();
            assert!(head.contains("\r\n\r\n") && !head.contains(" 500 "), "{head}");
            statuses.push(status.parse().unwrap());
        }
        statuses
    })
}

/// A whole dialogue, each line of which something in the server reads.
fn script() -> Vec<u8> {
    let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let digest = "Authorization: Digest username=\"u\", realm=\"r\", nonce=\"0000000000000000\", uri=\"/cam\", response=\"00\"\r\n";
    let requests = [
        ("OPTIONS", "*", ""),
        ("DESCRIBE", "rtsp://h:8554/cam?token=v2.9.s.a.b", "Accept: application/sdp\r\n"),
        ("DESCRIBE", "rtsp://h/cam", digest),
        ("DESCRIBE", "rtsp://h/cam", "Authorization: Basic dTpw\r\n"),
        ("SETUP", "rtsp://h/cam/trackID=0", tcp),
        (
            "SETUP",
            "rtsp://h/cam/trackID=1",
            "Transport: RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP\r\n",
        ),
        ("PLAY", "rtsp://h/cam/", "Range: npt=0.000-\r\n"),
        ("SET_PARAMETER", "/cam", "Content-Length: 3\r\n\r\nabc"),
        ("GET_PARAMETER", "*", ""),
        ("PAUSE", "rtsp://h/cam", ""),
        ("TEARDOWN", "rtsp://h/cam", ""),
    ];
    let mut out = Vec::new();
    for (number, (method, uri, headers)) in requests.into_iter().enumerate() {
        let (head, body) =
            headers.split_once("\r\n\r\n").map_or((headers.to_owned(), ""), |(h, b)| (format!("{h}\r\n"), b));
        out.extend_from_slice(
            format!("{method} {uri} RTSP/1.0\r\nCSeq: {number}\r\n{head}\r\n{body}").as_bytes(),
        );
        out.extend_from_slice(b"$\x01\x00\x02ab");
    }
    out
}

#[test]
fn the_script_is_understood() {
    assert_eq!(say(&script()), [200, 200, 401, 200, 200, 200, 200, 451, 200, 200, 200]);
}

/// One change of what a client says.
#[derive(Clone, Debug)]
enum Tear {
    Set(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize),
    Put(usize, String),
}

fn tear() -> impl Strategy<Value = Tear> {
    let at = 0usize..2048;
    let text = "[;,=:/?*\"\\\\%-]{1,4}|[0-9]{1,20}|rtsp://|trackID=|\r\n|Session: x\r\n|Content-Length: [0-9]{1,3}\r\n";
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Tear::Set(at, byte)),
        (at.clone(), 1usize..80).prop_map(|(at, len)| Tear::Cut(at, len)),
        (at.clone(), 1usize..200).prop_map(|(at, len)| Tear::Repeat(at, len)),
        (at, text).prop_map(|(at, text)| Tear::Put(at, text)),
    ]
}

fn torn(mut bytes: Vec<u8>, tears: &[Tear]) -> Vec<u8> {
    for tear in tears {
        let place = |at: usize| at % bytes.len().max(1);
        let range = |at: usize, len: usize| place(at)..(place(at) + len).min(bytes.len());
        match tear {
            Tear::Set(at, byte) => {
                let at = place(*at);
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = *byte;
                }
            }
            Tear::Cut(at, len) => {
                let range = range(*at, *len);
                bytes.drain(range);
            }
            Tear::Repeat(at, len) => {
                let range = range(*at, *len);
                let (end, part) = (range.end, bytes[range].to_vec());
                bytes.splice(end..end, part);
            }
            Tear::Put(at, text) => {
                let at = place(*at);
                bytes.splice(at..at, text.bytes());
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_dialogue_is_survived(tears in prop::collection::vec(tear(), 1..12)) {
        let _statuses = say(&torn(script(), &tears));
    }

    #[test]
    fn any_requests_in_any_order_are_answered(
        requests in prop::collection::vec(("(OPTIONS|DESCRIBE|SETUP|PLAY|PAUSE|TEARDOWN|GET_PARAMETER|RECORD|X)", "(rtsp://h)?/cam(/trackID=[0-9]{1,3})?(\\?[a-z=&%]{0,8})?|\\*", "(Transport: RTP/AVP(/TCP)?;(interleaved|client_port)=[0-9]{1,5}(-[0-9]{1,5})?\r\n)?"), 1..20)
    ) {
        let mut bytes = Vec::new();
        for (method, uri, headers) in &requests {
            bytes.extend_from_slice(format!("{method} {uri} RTSP/1.0\r\nCSeq: 1\r\n{headers}\r\n").as_bytes());
        }
        prop_assert_eq!(say(&bytes).len(), requests.len());
    }
}
