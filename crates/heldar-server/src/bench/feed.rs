//! `heldar bench feed`: how long it takes from the post of an event to each of many listeners of server-sent events.
//!
//! Owns: the listeners and the posts, which run in this process and are counted apart. Each event carries a number, so that
//! what a listener receives is known to be that event, and what it does not receive is known to be missing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::folder::TempFolder;
use super::server::Server;
use super::stats::{markdown, quantile};
use super::usage::{Machine, MachineInfo, Usage};
use super::{Verdict, print_json};
use crate::{complain, say};

const CAMERA: &str = "camera_000";
/// In front of the number of an event, in its message.
const MARK: &[u8] = b"\"number\":";
/// Listeners that connect from one address.
const FROM_ONE: u32 = 200;
/// Time that the last messages get to arrive.
const LAST: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Options {
    /// Listeners, each with a connection
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    listeners: u32,
    /// Batches a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    batches: u32,
    /// Of them one in so many raises an event
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    one_in: u32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print JSON; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// Where temporary folders are made
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    listeners: u32,
    seconds: f64,
    batches_per_s: f64,
    events: usize,
    messages: usize,
    /// Messages that did not arrive.
    missing: usize,
    /// From the begin of the post to the message, over all listeners and events.
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// The same to the answer of the post.
    answer_p50_ms: f64,
    answer_p95_ms: f64,
    server_cores: f64,
    load_cores: f64,
    machine_busy: f64,
    rss_mib: f64,
}

/// Measures.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut server = Server::start(folder.path(), &[]).await?;
    server.add_silent_camera(CAMERA).await?;
    let heard: Arc<Mutex<Vec<(usize, Instant)>>> = Arc::default();
    let mut listeners = JoinSet::new();
    for number in 0..options.listeners {
        let stream =
            listen(server.address(), source(number)).await.map_err(|error| format!("a listener: {error}"))?;
        listeners.spawn(receive(stream, heard.clone()));
    }
    complain(&format!("{} listen\n", options.listeners));

    let (usage, own, machine) = (server.usage()?, Usage::own()?, Machine::now()?);
    let begun = Instant::now();
    let posts = post(&mut server, &options).await?;
    let lasted = begun.elapsed().as_secs_f64();
    let (after, own_after) = (server.usage()?, Usage::own()?);
    let machine_busy = Machine::now()?.busy_since(machine);
    let wanted = posts.events.len() * options.listeners as usize;
    let until = Instant::now() + LAST;
    while count(&heard) < wanted && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    listeners.shutdown().await;
    server.stop().await?;

    let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let since = |(number, at): &(usize, Instant)| posts.events.get(*number).map(|begun| ms(*at - *begun));
    let times: Vec<f64> = heard.iter().filter_map(since).collect();
    let answers: Vec<f64> = posts.answers.into_iter().map(ms).collect();
    let report = Report {
        machine: MachineInfo::read(),
        listeners: options.listeners,
        seconds: lasted,
        batches_per_s: answers.len() as f64 / lasted,
        events: posts.events.len(),
        messages: times.len(),
        missing: wanted.saturating_sub(times.len()),
        p50_ms: quantile(&times, 0.5),
        p95_ms: quantile(&times, 0.95),
        p99_ms: quantile(&times, 0.99),
        max_ms: quantile(&times, 1.0),
        answer_p50_ms: quantile(&answers, 0.5),
        answer_p95_ms: quantile(&answers, 0.95),
        server_cores: after.cpu_since(&usage) / lasted,
        load_cores: own_after.cpu_since(&own) / lasted,
        machine_busy,
        rss_mib: after.rss_kib as f64 / 1024.0,
    };
    if options.json {
        print_json(&report)?
    } else {
        say(&report.text())
    }
    Ok(if report.missing == 0 { Verdict::Valid } else { Verdict::Broken })
}

fn count(heard: &Mutex<Vec<(usize, Instant)>>) -> usize {
    heard.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Where a listener connects from: the server takes 256 connections from each address.
fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 1 + number / FROM_ONE)
}

/// A listener of all events from now on, with what it has received so far behind it.
async fn listen(server: SocketAddr, source: Ipv4Addr) -> Result<TcpStream, String> {
    let connect = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        socket.connect(server).await
    };
    let mut stream = connect.await.map_err(|error| error.to_string())?;
    let request =
        format!("GET /api/v1/events/stream HTTP/1.1\r\nHost: {server}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut some = [0; 1024];
        match stream.read(&mut some).await {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            Ok(count) => head.extend(some.iter().take(count)),
            Err(error) => return Err(error.to_string()),
        }
    }
    match head.starts_with(b"HTTP/1.1 200") {
        true => Ok(stream),
        false => Err(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()),
    }
}

/// Notes when which event came, until the connection ends.
async fn receive(mut stream: TcpStream, heard: Arc<Mutex<Vec<(usize, Instant)>>>) {
    let (mut bytes, mut filled) = (vec![0; 16 << 10], 0);
    while let Some(room) = bytes.get_mut(filled..)
        && let Ok(count @ 1..) = stream.read(room).await
    {
        let at = Instant::now();
        filled += count;
        let used = bytes.get(..filled).unwrap_or_default();
        // Lines that are whole; the rest of the last one is still to come.
        let whole = used.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let numbers = used.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').filter_map(number);
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend(numbers.map(|number| (number, at)));
        drop(heard);
        bytes.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// The number of the event that a line is about.
fn number(line: &[u8]) -> Option<usize> {
    let start = line.windows(MARK.len()).position(|part| part == MARK)? + MARK.len();
    let digits: Vec<u8> = line.get(start..)?.iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// What was posted.
struct Posts {
    /// When the post of each event began.
    events: Vec<Instant>,
    /// How long each post took.
    answers: Vec<Duration>,
}

/// Posts batches, one after the other.
async fn post(server: &mut Server, options: &Options) -> Result<Posts, String> {
    let mut beat = tokio::time::interval(Duration::from_secs(1) / options.batches);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut posts = Posts { events: Vec::new(), answers: Vec::new() };
    let total = options.seconds * u64::from(options.batches);
    for batch in 0..total {
        beat.tick().await;
        let seen =
            json!([{ "label": "person", "confidence": 0.9, "bbox": [0.1, 0.1, 0.2, 0.4], "track_id": "7" }]);
        let mut body = json!({
            "camera_id": CAMERA, "task_type": "detection", "frame_id": format!("f{batch}"), "detections": seen,
        });
        let begun = Instant::now();
        if batch % u64::from(options.one_in) == 0 {
            body["event"] =
                json!({ "event_type": "object_seen", "payload": { "number": posts.events.len() } });
            posts.events.push(begun);
        }
        server.api.post("/api/v1/ai/events", &body).await?.success()?;
        posts.answers.push(begun.elapsed());
    }
    Ok(posts)
}

impl Report {
    fn text(&self) -> String {
        let row = |cells: [String; 5]| cells.to_vec();
        let ms = |value: f64| format!("{value:.1} ms");
        let times = [
            row([
                "from the post to".to_owned(),
                "p50".to_owned(),
                "p95".to_owned(),
                "p99".to_owned(),
                "longest".to_owned(),
            ]),
            row([
                "each listener".to_owned(),
                ms(self.p50_ms),
                ms(self.p95_ms),
                ms(self.p99_ms),
                ms(self.max_ms),
            ]),
            row([
                "its answer".to_owned(),
                ms(self.answer_p50_ms),
                ms(self.answer_p95_ms),
                String::new(),
                String::new(),
            ]),
        ];
        format!(
            "\n{}\n{} listeners, {:.0} s, {:.0} batches/s, {} events, {} messages, {} missing\n\n{}\n\
             server {:.2} cores, {:.0} MiB; listeners and posts {:.2} cores; machine {:.0} % busy\n",
            self.machine.line(),
            self.listeners,
            self.seconds,
            self.batches_per_s,
            self.events,
            self.messages,
            self.missing,
            markdown(&times),
            self.server_cores,
            self.rss_mib,
            self.load_cores,
            self.machine_busy * 100.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_lines() {
        assert_eq!(number(br#"data: {"payload":{"links":{},"number":17}}"#), Some(17));
        assert_eq!(number(br#"data: {"payload":{"number":0,"x":1}}"#), Some(0));
        assert_eq!(number(b"id: 17"), None);
        assert_eq!(number(br#"data: {"number":"x"}"#), None);
    }
}
