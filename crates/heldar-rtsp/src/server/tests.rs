//! The whole server over loopback sockets, spoken to by a client of a few lines.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use heldar_base::WallTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;

use super::*;

const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// No single step of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Streams by path; a path that begins with `secret` needs a token.
struct Streams(HashMap<&'static str, Arc<Stream>>);

impl Host for Streams {
    fn authorize<'a>(&'a self, request: &'a AccessRequest<'a>) -> BoxFuture<'a, Verdict> {
        let granted =
            !request.path.starts_with("secret") || request.granted || request.query == Some("token=t");
        let verdict = if granted { Verdict::Granted } else { Verdict::Forbidden };
        Box::pin(std::future::ready(verdict))
    }

    fn open<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Arc<Stream>, OpenError>> {
        Box::pin(std::future::ready(self.0.get(path).cloned().ok_or(OpenError::NotFound)))
    }
}

struct World {
    address: SocketAddr,
    stats: Box<dyn Fn() -> ServerStats>,
    _server: tokio::task::JoinHandle<()>,
}

async fn serve(streams: &[(&'static str, &Arc<Stream>)], change: impl FnOnce(&mut Config)) -> World {
    let host = Streams(streams.iter().map(|(path, stream)| (*path, Arc::clone(stream))).collect());
    let mut config = Config::new(LOCAL);
    change(&mut config);
    let server = Server::bind(config, Arc::new(host)).await.unwrap();
    let (address, stats) = (server.local_addr(), Box::new(server.stats()));
    World { address, stats, _server: tokio::spawn(server.run(std::future::pending())) }
}

fn h264() -> Format {
    Format::H264(ParameterSets {
        vps: vec![],
        sps: vec![Bytes::from_static(&[0x67, 0x42, 0, 0x1e])],
        pps: vec![Bytes::from_static(&[0x68, 0xce])],
    })
}

fn stream(change: impl FnOnce(&mut Manners)) -> Arc<Stream> {
    let mut manners =
        Manners { start: Start::NextSync, in_band_sets: InBandSets::Never, ..Manners::default() };
    change(&mut manners);
    Arc::new(Stream::new(vec![h264(), Format::Pcmu], manners))
}

/// A picture whose NAL unit has `len` bytes, the first of them telling whether it is an IDR.
fn picture(number: u32, sync: bool, len: usize) -> Unit {
    let mut payload = (len as u32).to_be_bytes().to_vec();
    payload.push(if sync { 0x65 } else { 0x41 });
    payload.resize(4 + len, number as u8);
    Unit {
        track: 0,
        captured_at: WallTime(1_700_000_000_000_000 + i64::from(number) * 40_000),
        rtp_time: number.wrapping_mul(3600),
        sync,
        payload: Payload::Frame(Bytes::from(payload)),
    }
}

struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    cseq: u32,
    url: String,
    session: Option<String>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Client {
    async fn connect(world: &World, path: &str) -> Client {
        let socket = TcpStream::connect(world.address).await.unwrap();
        let url = format!("rtsp://{}/{path}", world.address);
        Client { socket, buffer: Vec::new(), cseq: 0, url, session: None }
    }

    async fn fill(&mut self) -> bool {
        let mut piece = vec![0; 65536];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut piece[..]))
            .await
            .expect("the server is silent");
        let read = read.unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..read]);
        read > 0
    }

    async fn send(&mut self, method: &str, suffix: &str, headers: &str) {
        self.cseq += 1;
        let session = self.session.as_ref().map_or(String::new(), |id| format!("Session: {id}\r\n"));
        let text = format!(
            "{method} {}{suffix} RTSP/1.0\r\nCSeq: {}\r\n{session}{headers}\r\n",
            self.url, self.cseq
        );
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next reply; packets before it are thrown away.
    async fn reply(&mut self) -> Reply {
        loop {
            while self.buffer.first() == Some(&b'$') {
                if self.take_packet().is_none() {
                    assert!(self.fill().await, "closed");
                }
            }
            if let Some(end) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                let mut reply = Reply { status, head, body: String::new() };
                let len = reply.header("Content-Length").map_or(0, |text| text.parse().unwrap());
                while self.buffer.len() < len {
                    assert!(self.fill().await, "closed");
                }
                reply.body = String::from_utf8(self.buffer.drain(..len).collect()).unwrap();
                return reply;
            }
            assert!(self.fill().await, "closed");
        }
    }

    async fn ask(&mut self, method: &str, suffix: &str, headers: &str) -> Reply {
        self.send(method, suffix, headers).await;
        let reply = self.reply().await;
        if let Some(session) = reply.header("Session") {
            self.session = Some(session.split(';').next().unwrap().to_owned());
        }
        reply
    }

    async fn set_up_and_play(&mut self) -> Reply {
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        assert_eq!(self.ask("SETUP", "/trackID=0", transport).await.status, 200);
        let reply = self.ask("PLAY", "", "").await;
        assert_eq!(reply.status, 200);
        reply
    }

    fn take_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let &[mark, channel, high, low] = self.buffer.first_chunk::<4>()?;
        let end = 4 + usize::from(u16::from_be_bytes([high, low]));
        if mark != b'$' || self.buffer.len() < end {
            return None;
        }
        let packet = self.buffer.drain(..end).skip(4).collect();
        Some((channel, packet))
    }

    /// The next packet and its channel; `None` when the connection is closed.
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = self.take_packet() {
                return Some(packet);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next RTP packet: sequence number, RTP time, payload.
    async fn rtp(&mut self) -> (u16, u32, Vec<u8>) {
        loop {
            let (channel, packet) = self.packet().await.expect("closed");
            if channel % 2 == 0 {
                let sequence = u16::from_be_bytes([packet[2], packet[3]]);
                let time = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
                return (sequence, time, packet[12..].to_vec());
            }
        }
    }

    async fn is_closed(&mut self) -> bool {
        while self.fill().await {}
        true
    }
}

#[tokio::test]
async fn statuses() {
    let one = stream(|_| {});
    let world = serve(&[("cam", &one)], |_| {}).await;
    let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let other = "Session: 0123456789abcdef\r\n";
    // Each row is a request of one connection, in order: method, what follows the URL, headers, status.
    let rows = [
        ("OPTIONS", "", "", 200),
        ("PLAY", "", "", 454),
        ("PLAY", "", other, 454),
        ("PAUSE", "", "", 454),
        ("TEARDOWN", "", "", 454),
        ("ANNOUNCE", "", "", 405),
        ("RECORD", "", "", 405),
        ("BREW", "", "", 501),
        ("DESCRIBE", "x", "", 404),
        ("DESCRIBE", "", "Accept: text/plain\r\n", 406),
        ("DESCRIBE", "", "Require: funky\r\n", 551),
        ("DESCRIBE", "", "Accept: application/sdp\r\n", 200),
        ("SETUP", "", tcp, 459),
        ("SETUP", "/trackID=7", tcp, 404),
        ("SETUP", "/trackID=0", "", 461),
        ("SETUP", "/trackID=0", "Transport: RTP/SAVP;unicast\r\n", 461),
        ("SETUP", "/trackID=0", tcp, 200),
        ("PAUSE", "", "", 455),
        ("GET_PARAMETER", "", "", 200),
        ("SET_PARAMETER", "", "Content-Length: 0\r\n", 200),
        ("PLAY", "", "", 200),
        ("PLAY", "", "", 200),
        ("SETUP", "/trackID=1", tcp, 455),
        ("PAUSE", "", "", 200),
        ("TEARDOWN", "", "", 200),
    ];
    let mut client = Client::connect(&world, "cam").await;
    for (method, suffix, headers, expect) in rows {
        let reply = client.ask(method, suffix, headers).await;
        assert_eq!(reply.status, expect, "{method} {suffix} {headers}");
        assert_eq!(reply.header("CSeq"), Some(client.cseq.to_string().as_str()));
    }
    assert_eq!(client.ask("PLAY", "", "").await.status, 454);
    assert_eq!((one.stats().sessions, (world.stats)().sessions), (0, 0));
}

#[tokio::test]
async fn numbers_are_those_that_play_announced() {
    let one = stream(|m| m.first_sequence_number = Some(65_534));
    one.publish(&picture(1, true, 10));
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut client = Client::connect(&world, "cam").await;
    let info = client.set_up_and_play().await.header("RTP-Info").unwrap().to_owned();
    assert!(info.ends_with("/cam/trackID=0;seq=65534;rtptime=3600"), "{info}");
    one.publish(&picture(2, false, 10));
    one.publish(&picture(3, true, 3000));
    for (sequence, len) in [(65_534, 1399), (65_535, 1399), (0, 207)] {
        let (got, time, payload) = client.rtp().await;
        assert_eq!((got, time, payload.len()), (sequence, 3 * 3600, len));
    }
    // What comes during a pause is not sent, and the numbers go on where they stood.
    assert_eq!(client.ask("PAUSE", "", "").await.status, 200);
    one.publish(&picture(4, true, 10));
    let info = client.ask("PLAY", "", "").await.header("RTP-Info").unwrap().to_owned();
    assert!(info.contains(";seq=2;"), "{info}");
    one.publish(&picture(5, true, 10));
    assert_eq!(client.rtp().await.0, 2);
}

#[tokio::test]
async fn a_held_gop_comes_at_once() {
    let one = stream(|m| {
        m.start = Start::HeldGop;
        m.in_band_sets = InBandSets::EverySync;
    });
    for number in 0..10 {
        one.publish(&picture(number, number % 4 == 0, 20));
    }
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut client = Client::connect(&world, "cam").await;
    let reply = client.set_up_and_play().await;
    let info = reply.header("RTP-Info").unwrap();
    assert!(info.ends_with(&format!("rtptime={}", 8 * 3600)), "{info}");
    let (first, _, sets) = client.rtp().await;
    assert!(info.contains(&format!("seq={first};")) && sets[0] == 0x78, "{info} {first} {sets:?}");
    assert_eq!(client.rtp().await.1, 8 * 3600);
    assert_eq!(client.rtp().await.1, 9 * 3600);
}

#[tokio::test]
async fn channels_are_as_asked_and_never_shared() {
    let one = stream(|_| {});
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut client = Client::connect(&world, "cam").await;
    for (track, asked, given) in [(0, "6-7", "6-7"), (1, "7-8", "0-1"), (1, "8-9", "8-9")] {
        let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={asked}\r\n");
        let reply = client.ask("SETUP", &format!("/trackID={track}"), &transport).await;
        assert!(
            reply.header("Transport").unwrap().contains(&format!("interleaved={given};")),
            "{}",
            reply.head
        );
    }
    client.ask("PLAY", "", "").await;
    one.publish(&picture(1, true, 10));
    let payload = Payload::Frame(Bytes::from_static(&[0xff; 160]));
    one.publish(&Unit { track: 1, payload, ..picture(1, false, 1) });
    let mut channels = Vec::new();
    for _packet in 0..4 {
        channels.push(client.packet().await.unwrap().0);
    }
    // A report precedes the first packet of each track.
    assert_eq!(channels, [7, 6, 9, 8]);
}

#[tokio::test]
async fn a_client_that_does_not_read_disturbs_nobody() {
    let one = stream(|m| m.queue_bytes = 256 * 1024);
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut lazy = Client::connect(&world, "cam").await;
    lazy.set_up_and_play().await;
    let mut keen = Client::connect(&world, "cam").await;
    keen.set_up_and_play().await;
    let total = 600u32;
    for number in 0..total {
        one.publish(&picture(number, number % 10 == 0, 40_000));
        // All packets of the picture reach whoever reads.
        loop {
            let (_, time, payload) = keen.rtp().await;
            assert_eq!(time, number * 3600);
            if payload[0] & 0x1f == 28 && payload[1] & 0x40 != 0 {
                break;
            }
        }
    }
    let stats = one.stats();
    assert!(stats.skips > 0 && stats.skipped_units > 100, "{stats:?}");
    assert_eq!((stats.sessions, stats.units), (2, u64::from(total)));
    // The lazy one comes back: what it gets after its backlog begins with a sync sample, and the hole shows.
    let mut previous: Option<(u16, u32)> = None;
    let mut next = total;
    loop {
        let (sequence, time, payload) = tokio::select! {
            packet = lazy.rtp() => packet,
            // Its queue may have been emptied last, so that it waits for a sync sample.
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                one.publish(&picture(next, true, 40_000));
                next += 1;
                continue;
            }
        };
        if let Some((last_sequence, last_time)) = previous
            && sequence != last_sequence.wrapping_add(1)
        {
            assert!(payload[0] & 0x1f == 28 && payload[1] & 0x1f == 5 && time > last_time);
            break;
        }
        previous = Some((sequence, time));
    }
}

#[tokio::test]
async fn limits_hold() {
    let one = stream(|m| m.max_sessions = 1);
    let world = serve(&[("cam", &one)], |config| config.max_connections = 3).await;
    let mut first = Client::connect(&world, "cam").await;
    first.set_up_and_play().await;
    let mut second = Client::connect(&world, "cam").await;
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    assert_eq!(second.ask("SETUP", "/trackID=0", transport).await.status, 453);
    let mut third = Client::connect(&world, "cam").await;
    assert_eq!(third.ask("OPTIONS", "", "").await.status, 200);
    assert!(Client::connect(&world, "cam").await.is_closed().await);
    assert_eq!((world.stats)().refused, 1);
    // A session that ends makes room.
    assert_eq!(first.ask("TEARDOWN", "", "").await.status, 200);
    assert_eq!(second.ask("SETUP", "/trackID=0", transport).await.status, 200);
    drop(second);
    while one.stats().sessions > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_no_rtsp_is_answered_once_and_closed() {
    let one = stream(|_| {});
    let world = serve(&[("cam", &one)], |_| {}).await;
    for (bytes, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \n\n", "400"),
        (b"OPTIONS * RTSP/3.0\r\nCSeq: 1\r\n\r\n", "505"),
        (b"OPTIONS * RTSP/1.0\r\nContent-Length: 999999999\r\n\r\n", "413"),
        (&[b'A'; 20_000], "400"),
    ] {
        let mut client = Client::connect(&world, "cam").await;
        client.socket.write_all(bytes).await.unwrap();
        assert!(client.is_closed().await);
        let said = String::from_utf8_lossy(&client.buffer);
        assert!(said.starts_with(&format!("RTSP/1.0 {status} ")), "{said}");
    }
    assert_eq!((world.stats)().malformed, 5);
    let mut client = Client::connect(&world, "cam").await;
    client.socket.write_all(b"OPTIONS * RTSP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(client.reply().await.status, 400);
    assert_eq!(client.ask("OPTIONS", "", "").await.status, 200);
}

#[tokio::test]
async fn requests_are_read_no_faster_than_responses() {
    let one = stream(|_| {});
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut client = Client::connect(&world, "cam").await;
    let request = format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", client.url).repeat(1000);
    let mut written = 0usize;
    // Ends when the server stops reading; a server that does not would take all of it.
    while written < 200_000_000 {
        let write = client.socket.write_all(request.as_bytes());
        if tokio::time::timeout(Duration::from_millis(500), write).await.is_err() {
            break;
        }
        written += request.len();
    }
    assert!(written < 200_000_000);
}

#[tokio::test]
async fn a_viewer_that_does_not_read_is_sent_away_too() {
    let one = stream(|m| m.session_timeout = Duration::from_secs(2));
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut client = Client::connect(&world, "cam").await;
    client.set_up_and_play().await;
    for number in 0..300 {
        one.publish(&picture(number, true, 60_000));
        tokio::task::yield_now().await;
    }
    one.disconnect_all();
    let mut sessions = one.sessions();
    tokio::time::timeout(PATIENCE, sessions.wait_for(|count| *count == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn sessions_end_by_silence() {
    for (keep_alive, chatter, survives) in [
        (KeepAlive::AnyTraffic, &b"$\x01\x00\x01x"[..], true),
        (KeepAlive::Requests, b"$\x01\x00\x01x", false),
        (KeepAlive::Requests, b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n", true),
        (KeepAlive::AnyTraffic, b"", false),
        (KeepAlive::Connection, b"", true),
    ] {
        let one = stream(|m| {
            m.session_timeout = Duration::from_secs(1);
            m.keep_alive = keep_alive;
        });
        let world = serve(&[("cam", &one)], |_| {}).await;
        let mut client = Client::connect(&world, "cam").await;
        let reply = client.set_up_and_play().await;
        assert!(reply.header("Session").unwrap().ends_with(";timeout=1"));
        // Three times the timeout, with a sign of life four times in each.
        let mut signs = tokio::time::interval(Duration::from_millis(250));
        for _sign in 0..12 {
            signs.tick().await;
            if one.stats().sessions == 0 {
                break;
            }
            // The connection may be gone already, which is what is looked for.
            let _gone = client.socket.write_all(chatter).await;
        }
        assert_eq!(one.stats().sessions, usize::from(survives), "{keep_alive:?} {chatter:?}");
    }
}

#[tokio::test]
async fn datagrams_go_to_the_ports_asked_for() {
    let one = stream(|_| {});
    let world = serve(&[("cam", &one)], |_| {}).await;
    let (rtp, rtcp) = (UdpSocket::bind(LOCAL).await.unwrap(), UdpSocket::bind(LOCAL).await.unwrap());
    let ports = format!("{}-{}", rtp.local_addr().unwrap().port(), rtcp.local_addr().unwrap().port());
    let mut client = Client::connect(&world, "cam").await;
    let transport = format!("Transport: RTP/AVP;unicast;destination=127.0.0.9;client_port={ports}\r\n");
    let reply = client.ask("SETUP", "/trackID=0", &transport).await;
    let granted = reply.header("Transport").unwrap();
    assert!(granted.contains(&format!("client_port={ports};server_port=")), "{granted}");
    client.ask("PLAY", "", "").await;
    one.publish(&picture(1, true, 2000));
    let mut buffer = [0; 2048];
    let mut lens = Vec::new();
    for socket in [&rtcp, &rtp, &rtp] {
        let received = tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        lens.push(received.0);
    }
    assert_eq!(lens, [48, 12 + 2 + 1397, 12 + 2 + 602]);
}

#[tokio::test]
async fn what_was_granted_once_stays_granted_on_the_connection() {
    let one = stream(|_| {});
    let world = serve(&[("secret/cam", &one)], |_| {}).await;
    let mut client = Client::connect(&world, "secret/cam").await;
    assert_eq!(client.ask("DESCRIBE", "", "").await.status, 403);
    assert_eq!(client.ask("DESCRIBE", "?token=t", "").await.status, 200);
    client.set_up_and_play().await;
    let mut other = Client::connect(&world, "secret/cam").await;
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    assert_eq!(other.ask("SETUP", "/trackID=0", transport).await.status, 403);
}

#[tokio::test]
async fn all_viewers_can_be_sent_away() {
    let one = stream(|_| {});
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut sessions = one.sessions();
    let mut client = Client::connect(&world, "cam").await;
    client.set_up_and_play().await;
    sessions.wait_for(|count| *count == 1).await.unwrap();
    one.disconnect_all();
    assert!(client.is_closed().await);
    tokio::time::timeout(PATIENCE, sessions.wait_for(|count| *count == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn descriptions_follow_the_manners() {
    let one = stream(|_| {});
    let world = serve(&[("cam", &one)], |_| {}).await;
    let base = format!("rtsp://{}/cam", world.address);
    for (control, content_base, line) in [
        (Control::Relative, Some(format!("{base}/")), "a=control:trackID=0".to_owned()),
        (Control::AfterQuery, Some(format!("{base}?a=1/")), "a=control:trackID=0".to_owned()),
        (Control::Absolute, None, format!("a=control:{base}/trackID=0")),
        (Control::AbsoluteSlash, None, format!("a=control:{base}/")),
    ] {
        one.set_manners(Manners { control, ..Manners::default() });
        let reply = Client::connect(&world, "cam").await.ask("DESCRIBE", "?a=1", "").await;
        assert_eq!(reply.header("Content-Base").map(str::to_owned), content_base);
        assert!(reply.body.lines().any(|l| l == line), "{}", reply.body);
        assert!(reply.body.contains("sprop-parameter-sets="));
    }
}

/// What a guest was told.
#[derive(Default)]
struct Told {
    sent: AtomicUsize,
    skipped: AtomicU64,
    over: watch::Sender<bool>,
}

/// One stream under any path, and one note of all who play it.
struct Inn(Arc<Stream>, Arc<Told>);

struct Noted(Arc<Told>);

impl Host for Inn {
    fn authorize<'a>(&'a self, _request: &'a AccessRequest<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(std::future::ready(Verdict::Granted))
    }

    fn open<'a>(&'a self, _path: &'a str) -> BoxFuture<'a, Result<Arc<Stream>, OpenError>> {
        Box::pin(std::future::ready(Ok(Arc::clone(&self.0))))
    }

    fn plays(&self, session: &Playing<'_>) -> Result<Arc<dyn Guest>, OpenError> {
        assert_eq!((session.path, session.tracks, session.user_agent), ("cam", &[0][..], None));
        assert!(Arc::ptr_eq(session.stream, &self.0) && session.peer.ip().is_loopback());
        Ok(Arc::new(Noted(Arc::clone(&self.1))))
    }
}

impl Guest for Noted {
    fn sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn skipped(&self, units: u64) {
        self.0.skipped.fetch_add(units, Ordering::Relaxed);
    }

    fn over(&self) -> BoxFuture<'_, ()> {
        let mut over = self.0.over.subscribe();
        Box::pin(async move {
            over.wait_for(|over| *over).await.unwrap();
        })
    }
}

#[tokio::test]
async fn a_guest_is_told_of_everything_and_ended_whatever_it_does() {
    let one = stream(|m| m.queue_bytes = 256 * 1024);
    let told = Arc::<Told>::default();
    let mut config = Config::new(LOCAL);
    config.send_buffer = Some(64 * 1024);
    let server = Server::bind(config, Arc::new(Inn(Arc::clone(&one), Arc::clone(&told)))).await.unwrap();
    let (address, stats) = (server.local_addr(), Box::new(server.stats()));
    let world = World { address, stats, _server: tokio::spawn(server.run(std::future::pending())) };
    let mut client = Client::connect(&world, "cam").await;
    client.set_up_and_play().await;
    // It does not read, and misses pictures.
    for number in 0..600 {
        one.publish(&picture(number, true, 40_000));
        tokio::task::yield_now().await;
    }
    assert!(one.stats().skipped_units > 0);
    // It reads on, and what it missed is told as far as that is over.
    let mut read = 0;
    let mut number = 600;
    while told.skipped.load(Ordering::Relaxed) < one.stats().skipped_units {
        tokio::select! {
            packet = client.packet() => read += 4 + packet.unwrap().1.len(),
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                one.publish(&picture(number, true, 40_000));
                number += 1;
            }
        }
    }
    assert!(read > 0 && told.sent.load(Ordering::Relaxed) >= read);
    // Again it does not, and is sent away all the same.
    for number in number..number + 600 {
        one.publish(&picture(number, true, 40_000));
        tokio::task::yield_now().await;
    }
    told.over.send_replace(true);
    let mut sessions = one.sessions();
    let ended = sessions.wait_for(|count| *count == 0);
    tokio::time::timeout(Duration::from_secs(2), ended).await.expect("within 2 s").unwrap();
}

#[tokio::test]
async fn a_session_that_never_plays_ends() {
    let one = stream(|m| m.session_timeout = Duration::from_secs(1));
    let world = serve(&[("cam", &one)], |_| {}).await;
    let mut client = Client::connect(&world, "cam").await;
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    assert_eq!(client.ask("SETUP", "/trackID=0", transport).await.status, 200);
    let mut sessions = one.sessions();
    let ended = sessions.wait_for(|count| *count == 0);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            ended = &mut ended => break assert_eq!(*ended.unwrap(), 0),
            // However lively it is.
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                let request = b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n";
                // The connection may be gone already, which is what is looked for.
                let _gone = client.socket.write_all(request).await;
            }
        }
    }
}
