//! Those who watch and download through the real listener, and how they notice that it is over.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heldar_http::{AppSlot, Limits, Listeners};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::client::Client;
use crate::house::House;
use crate::whep;

/// A right that has ended shows within this time (auth-system.md 14).
pub(crate) const CUT: Duration = Duration::from_secs(2);
/// No single step takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A WebSocket was closed with this code.
    Closed(u16),
    /// The next request was refused with this status.
    Refused(u16),
    /// The connection ended in the middle.
    Broken,
    /// Everything was sent.
    Complete,
}

/// Somebody who watches or downloads.
pub(crate) struct Watcher {
    what: &'static str,
    seen: Arc<AtomicUsize>,
    ended: watch::Receiver<Option<(Instant, End)>>,
}

impl Watcher {
    fn start<F: Future<Output = End> + Send + 'static>(
        what: &'static str,
        work: impl FnOnce(Arc<AtomicUsize>) -> F,
    ) -> Watcher {
        let (seen, (over, ended)) = (Arc::<AtomicUsize>::default(), watch::channel(None));
        let work = work(seen.clone());
        tokio::spawn(async move {
            let end = work.await;
            over.send_replace(Some((Instant::now(), end)));
        });
        Watcher { what, seen, ended }
    }

    /// Waits until more has come.
    pub(crate) async fn goes_on(&self) {
        let (before, begun) = (self.seen.load(Ordering::Relaxed), Instant::now());
        while self.seen.load(Ordering::Relaxed) <= before {
            assert_eq!(*self.ended.borrow(), None, "{}", self.what);
            assert!(begun.elapsed() < PATIENCE, "{}: nothing comes", self.what);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How it is over, and how long after an instant; fails where nothing ends it in time.
    pub(crate) async fn ends(&mut self, cause: &str, since: Instant) -> End {
        let what = self.what;
        let ended = tokio::time::timeout(CUT * 2, self.ended.wait_for(Option::is_some)).await;
        let Ok(Ok(ended)) = ended else { panic!("{cause}: {what} goes on") };
        let (at, end) = ended.unwrap();
        assert!(at >= since, "{cause}: {what} ends before its time with {end:?}");
        let time = at - since;
        assert!(time < CUT, "{cause}: {what} ends after {time:?} with {end:?}");
        end
    }
}

/// A server that is listening.
pub(crate) struct Served {
    pub(crate) house: House,
    pub(crate) address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    pub(crate) async fn start() -> Served {
        let house = House::start_with(&[("HELDAR_WEBRTC_UDP_PORT", "0")]).await;
        house.kernel.open_webrtc(Ipv4Addr::LOCALHOST.into());
        let listeners = Listeners::bind(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]).await.unwrap();
        let address = listeners.addresses()[0];
        let slot = AppSlot::new(house.app.clone());
        let server = heldar_http::serve(listeners, slot, Limits::default(), std::future::pending());
        Served { house, address, server: tokio::spawn(server) }
    }

    /// Watches over a WebSocket; `head` are header lines.
    pub(crate) fn socket(&self, path: &str, head: &str) -> Watcher {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{head}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        let address = self.address;
        Watcher::start("WebSocket", move |seen| async move {
            socket(address, request, &seen).await.unwrap_or(End::Broken)
        })
    }

    /// Fetches a live playlist, and waits for each next part of it.
    pub(crate) fn hls(&self, path: &str, query: &str, head: &str) -> Watcher {
        let (path, query, head, address) = (path.to_owned(), query.to_owned(), head.to_owned(), self.address);
        Watcher::start("HLS", move |seen| async move {
            let mut wanted = String::new();
            loop {
                let path = format!("{path}?{query}{wanted}");
                let answer = fetch(address, "GET", &path, &head, "").await;
                // One that was cut asks again, as players do.
                let Some((status, body)) = answer else { continue };
                match status {
                    200 => _ = seen.fetch_add(1, Ordering::Relaxed),
                    503 => continue,
                    _ => return End::Refused(status),
                }
                let number = |line: &str, name: &str| -> Option<u64> {
                    let (_, rest) = line.split_once(name)?;
                    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
                };
                let first = body.lines().find_map(|line| number(line, "#EXT-X-MEDIA-SEQUENCE:")).unwrap_or(0);
                let segments = body.lines().filter(|line| line.starts_with("#EXTINF")).count() as u64;
                let hint = body.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).unwrap_or("");
                let part = hint.split_once(".m4s").and_then(|(name, _)| name.rsplit('.').next());
                let part: u64 = part.and_then(|part| part.parse().ok()).unwrap_or(0);
                wanted = format!("&_HLS_msn={}&_HLS_part={part}", first + segments);
            }
        })
    }

    /// Watches over WebRTC.
    pub(crate) fn whep(&self, path: &str, head: &str) -> Watcher {
        let (path, head, address) = (path.to_owned(), head.to_owned(), self.address);
        Watcher::start("WebRTC", move |seen| async move { whep::watch(address, &path, &head, &seen).await })
    }

    /// Downloads, no faster than a slow line.
    pub(crate) fn download(&self, path: &str, head: &str) -> Watcher {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{head}\r\n", self.address);
        let address = self.address;
        Watcher::start("download", move |seen| async move {
            download(address, request, &seen).await.unwrap_or(End::Broken)
        })
    }

    /// Plays over RTSP with a token.
    pub(crate) fn rtsp(&self, port: u16, name: &str, token: &str) -> Watcher {
        let url = format!("rtsp://127.0.0.1:{port}/{name}");
        let shown = format!("{url}?token={token}");
        Watcher::start("RTSP", move |seen| async move {
            let mut client = Client::connect(port).await;
            let described = client.ask("DESCRIBE", &shown, "").await;
            assert_eq!(described.status, 200, "{}", described.head);
            client.play(&url).await;
            while client.packet().await.is_some() {
                seen.fetch_add(1, Ordering::Relaxed);
            }
            End::Broken
        })
    }
}

/// The head of an answer: its status and its length.
async fn head(stream: &mut BufReader<TcpStream>) -> std::io::Result<(u16, Option<usize>)> {
    let (mut line, mut status, mut length) = (String::new(), 0, None);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Ok((status, length));
        }
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap_or(0);
        } else if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse().ok();
        }
    }
}

async fn socket(address: SocketAddr, request: String, seen: &AtomicUsize) -> std::io::Result<End> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.write_all(request.as_bytes()).await?;
    let (status, _) = head(&mut stream).await?;
    if status != 101 {
        return Ok(End::Refused(status));
    }
    loop {
        let opcode = stream.read_u8().await? & 0x0f;
        let length = match stream.read_u8().await? & 0x7f {
            126 => usize::from(stream.read_u16().await?),
            127 => usize::try_from(stream.read_u64().await?).unwrap_or(usize::MAX),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        match opcode {
            8 => return Ok(End::Closed(u16::from_be_bytes([payload[0], payload[1]]))),
            2 => _ = seen.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// A whole answer; `None` for one that was cut.
pub(crate) async fn fetch(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let (status, length) = head(&mut stream).await.ok()?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await.ok()?;
    (length.is_none_or(|length| length == body.len()))
        .then(|| (status, String::from_utf8_lossy(&body).into_owned()))
}

/// Status of a request through the listener.
pub(crate) async fn status(address: SocketAddr, path: &str, headers: &str) -> Option<u16> {
    fetch(address, "GET", path, headers, "").await.map(|(status, _)| status)
}

async fn download(address: SocketAddr, request: String, seen: &AtomicUsize) -> std::io::Result<End> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(64 << 10)?;
    let mut stream = BufReader::with_capacity(4096, socket.connect(address).await?);
    stream.write_all(request.as_bytes()).await?;
    let (status, length) = head(&mut stream).await?;
    if !matches!(status, 200 | 206) {
        return Ok(End::Refused(status));
    }
    let (mut buffer, mut count) = (vec![0; 32 << 10], 0);
    loop {
        let read = stream.read(&mut buffer).await?;
        count += read;
        if read == 0 {
            let complete = length.is_some_and(|length| length == count);
            return Ok(if complete { End::Complete } else { End::Broken });
        }
        seen.fetch_add(read, Ordering::Relaxed);
        if length.is_some_and(|length| length == count) {
            return Ok(End::Complete);
        }
        tokio::time::sleep(Duration::from_millis(16)).await;
    }
}
