//! `heldar bench webhook`: from somebody's entry into a zone to the receiver of a webhook, with the picture of it.
//!
//! Owns: a worker that sees somebody new in every so many frames, and a receiver of what a phone would get. Both clocks are
//! this machine's. Events come in their order, so that the first message is about the first entry.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heldar_base::WallTime;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::cameras::TestCameras;
use super::clips::Clip;
use super::folder::TempFolder;
use super::http::Client;
use super::server::{Server, camera_id, decoder};
use super::stats::{markdown, quantile};
use super::usage::MachineInfo;
use super::{Verdict, now, print_json};
use crate::say;

/// Time that the first frame may take.
const START: Duration = Duration::from_secs(60);
/// Time that the last messages get to arrive.
const LAST: Duration = Duration::from_secs(20);
/// Longest message.
const MAX_MESSAGE: usize = 16 << 20;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Seconds that are measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Frames a second
    #[arg(long, default_value_t = 5.0)]
    fps: f64,
    /// Somebody new is seen in every so many frames
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    one_in: u32,
    /// Width of the frames
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u32).range(160..=3840))]
    width: u32,
    /// What the test camera loops: A (768x576, 10 fps, 1 Mbit/s), B (1080p25, 4 Mbit/s, AAC) or an MP4 file
    #[arg(long, default_value = "A")]
    clip: String,
    /// Program of the decoder processes; by default the one beside this program
    #[arg(long)]
    decoder: Option<PathBuf>,
    /// Print JSON; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// Where temporary folders are made
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Folder of clips
    #[arg(long, default_value = "media")]
    media_dir: PathBuf,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    entries: usize,
    messages: usize,
    /// Of them with a JPEG.
    with_picture: usize,
    kib_per_message: f64,
    /// From the capture of the picture with the entry to the whole message.
    from_capture: Times,
    /// The same from the begin of the post of the worker's results.
    from_post: Times,
}

#[derive(Serialize)]
struct Times {
    p50_ms: f64,
    p95_ms: f64,
    max_ms: f64,
}

impl Times {
    fn of(ms: &[f64]) -> Times {
        Times { p50_ms: quantile(ms, 0.5), p95_ms: quantile(ms, 0.95), max_ms: quantile(ms, 1.0) }
    }
}

/// An entry that was told.
#[derive(Clone, Copy)]
struct Entry {
    captured_at: WallTime,
    posted_at: WallTime,
}

/// A message that came.
#[derive(Clone, Copy)]
struct Message {
    at: WallTime,
    bytes: usize,
    is_jpeg: bool,
}

/// Measures.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let decoder = decoder(options.decoder.as_deref())?;
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let cameras = TestCameras::start(1, &clip, folder.path()).await?;
    let url = cameras.urls.first().ok_or("there is no camera")?;
    let settings = [("HELDAR_DECODER", decoder.as_str())];
    let mut server = Server::start(folder.path(), &settings).await?;
    let id = camera_id(0);
    let camera = json!({ "id": id, "name": "Front door", "main_stream_url": url });
    server.api.post("/api/v1/cameras", &camera).await?.success()?;
    let task = json!({
        "task_type": "detection", "stream_profile": "main", "fps": options.fps, "width": options.width,
    });
    server.api.post(&format!("/api/v1/cameras/{id}/ai-tasks"), &task).await?.success()?;
    let zone = json!({
        "name": "Gate", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "config": { "confirm_frames": 1 },
    });
    server.api.post(&format!("/api/v1/cameras/{id}/zones"), &zone).await?.success()?;
    let fail = |error: std::io::Error| format!("a receiver: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let messages: Arc<Mutex<Vec<Message>>> = Arc::default();
    let receiver = tokio::spawn(receive(listener, messages.clone()));
    let webhook = json!({
        "name": "phone", "format": "ntfy", "url": format!("http://{address}/gate"), "event_types": ["zone_enter"],
    });
    server.api.post("/api/v1/webhooks", &webhook).await?.success()?;

    let entries = work(&mut server, &options).await?;
    let count = || messages.lock().unwrap_or_else(PoisonError::into_inner).len();
    let until = Instant::now() + LAST;
    while count() < entries.len() && Instant::now() < until {
        server.check()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    receiver.abort();
    server.stop().await?;
    cameras.stop().await?;

    let messages = std::mem::take(&mut *messages.lock().unwrap_or_else(PoisonError::into_inner));
    let pairs = || entries.iter().zip(&messages);
    let ms = |to: WallTime, from: WallTime| (to - from).as_secs_f64() * 1e3;
    let from_capture: Vec<f64> = pairs().map(|(entry, message)| ms(message.at, entry.captured_at)).collect();
    let from_post: Vec<f64> = pairs().map(|(entry, message)| ms(message.at, entry.posted_at)).collect();
    let bytes: usize = messages.iter().map(|message| message.bytes).sum();
    let report = Report {
        machine: MachineInfo::read(),
        entries: entries.len(),
        messages: messages.len(),
        with_picture: messages.iter().filter(|message| message.is_jpeg).count(),
        kib_per_message: bytes as f64 / 1024.0 / messages.len().max(1) as f64,
        from_capture: Times::of(&from_capture),
        from_post: Times::of(&from_post),
    };
    if options.json {
        print_json(&report)?
    } else {
        say(&report.text())
    }
    let is_whole = report.messages == report.entries && report.with_picture == report.entries;
    Ok(if is_whole { Verdict::Valid } else { Verdict::Broken })
}

/// Pulls frames, and sees somebody new in one of so many.
async fn work(server: &mut Server, options: &Options) -> Result<Vec<Entry>, String> {
    let lease = json!({ "worker_id": "bench", "ttl_secs": 300, "task_types": ["detection"] });
    let lease = server.api.post("/api/v1/ai/leases", &lease).await?.success()?;
    let url = lease["tasks"][0]["frame_url"].as_str().ok_or("the task is not leased")?.to_owned();
    let mut client = server.client(START);
    let begun = Instant::now();
    let (mut entries, mut after, mut frames, mut first) = (Vec::new(), String::new(), 0u32, None);
    loop {
        let frame = client.get(&format!("{url}{after}&wait_ms=5000")).await?;
        if frame.status != 200 {
            if first.is_none() && begun.elapsed() > START {
                return Err(format!("there is no frame after {} s", START.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let first = *first.get_or_insert_with(Instant::now);
        if first.elapsed() > Duration::from_secs(options.seconds) {
            return Ok(entries);
        }
        let field = |name: &str| frame.field(name).ok_or_else(|| format!("a frame has no {name}"));
        after = format!("&after={}", field("x-frame-seq")?);
        frames += 1;
        let is_entry = frames.is_multiple_of(options.one_in);
        let seen = if is_entry {
            json!([{ "label": "person", "confidence": 0.9, "track_id": entries.len().to_string(), "bbox": [0.4, 0.3, 0.1, 0.4] }])
        } else {
            json!([])
        };
        let ticket = field("x-frame-ticket")?;
        let body = json!({
            "camera_id": camera_id(0), "task_type": "detection", "frame_ticket": ticket, "detections": seen,
        });
        let captured_at =
            WallTime::parse(field("x-frame-captured-at")?).map_err(|_| "a frame has no time".to_owned())?;
        let posted_at = now();
        post(&mut client, &body).await?;
        if is_entry {
            entries.push(Entry { captured_at, posted_at });
        }
    }
}

async fn post(client: &mut Client, body: &Value) -> Result<(), String> {
    client.post("/api/v1/ai/events", body).await?.success().map(|_taken| ())
}

/// Takes every message, as a service for phones would.
async fn receive(listener: TcpListener, messages: Arc<Mutex<Vec<Message>>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        tokio::spawn(serve(stream, messages.clone()));
    }
}

async fn serve(stream: TcpStream, messages: Arc<Mutex<Vec<Message>>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line).await {
                Ok(1..) if line.trim_end().is_empty() => break,
                Ok(1..) => {}
                _ => return,
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        if length > MAX_MESSAGE {
            return;
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let message = Message { at: now(), bytes: length, is_jpeg: body.starts_with(&[0xff, 0xd8]) };
        messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let row = |name: &str, times: &Times| {
            let cells = [times.p50_ms, times.p95_ms, times.max_ms].map(|ms| format!("{ms:.0} ms"));
            std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>()
        };
        let rows = [
            ["to the message with its picture", "p50", "p95", "longest"].map(str::to_owned).to_vec(),
            row("from the capture of the entry", &self.from_capture),
            row("from the post of the results", &self.from_post),
        ];
        format!(
            "\n{}\n{} entries, {} messages, {} with a picture, {:.0} KiB each\n\n{}",
            self.machine.line(),
            self.entries,
            self.messages,
            self.with_picture,
            self.kib_per_message,
            markdown(&rows),
        )
    }
}
