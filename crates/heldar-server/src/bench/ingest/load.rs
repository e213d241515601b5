//! Workers that post results as fast as they are taken: a connection each, the next post when the last one is answered.
//!
//! Owns: the bodies, which are put together from parts made in advance, and a reader of answers that looks at nothing but
//! what counts: the load shares the machine with what it measures.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use heldar_base::{Micros, WallTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::stats::Spread;

/// Pictures that are told apart; they take turns.
const PICTURES: u64 = 64;
/// Pictures that a track lasts.
const TRACK: i64 = 150;
/// Longest answer.
const MAX_ANSWER: usize = 64 << 10;
/// Time for an answer, that of a worker (perception.md 24).
const LIMIT: Duration = Duration::from_secs(10);
/// Rest of a connection after an answer that is no success.
const REST: Duration = Duration::from_millis(10);
/// Kinds of failure that are told apart.
const FAILURES: usize = 3;

/// Results to be posted.
pub(super) struct Batches {
    head: String,
    /// In front of the time, and in front of the number of the frame.
    body: [String; 2],
    /// For each picture its detections, up to the number of the track.
    pictures: Vec<Vec<String>>,
    /// Capture time of the first frame; each next one is a millisecond later, so that ids are distinct and none is late.
    begin: WallTime,
    next: AtomicI64,
}

impl Batches {
    /// Results of a task with so many detections each.
    pub(super) fn new(
        server: SocketAddr,
        camera: &str,
        task: &str,
        detections: u32,
        begin: WallTime,
    ) -> Self {
        let mut spread = Spread(3);
        let mut detection = || {
            let label = ["person", "person", "person", "car", "car", "bicycle"][spread.below(6) as usize];
            let mut share = |most: u64| spread.below(most) as f64 / 1e4;
            let (confidence, x, y, w, h) =
                (0.5 + share(5000), share(8000), share(7000), share(2000), share(3000));
            format!(
                "{{\"label\":\"{label}\",\"confidence\":{confidence:.4},\"bbox\":[{x:.4},{y:.4},{w:.4},{h:.4}],\
                 \"track_id\":\""
            )
        };
        let mut picture = || (0..detections).map(|_| detection()).collect();
        Batches {
            head: format!(
                "POST /api/v1/ai/events HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/json\r\nContent-Length: "
            ),
            body: [
                format!("{{\"camera_id\":\"{camera}\",\"task_type\":\"detection\",\"timestamp\":\""),
                format!("\",\"frame_id\":\"{task}:"),
            ],
            pictures: (0..PICTURES).map(|_| picture()).collect(),
            begin,
            next: AtomicI64::new(0),
        }
    }

    /// Puts the next request together.
    fn request(&self, body: &mut Vec<u8>, request: &mut Vec<u8>) -> std::io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let at = self.begin + Micros::from_millis(number);
        let picture = &self.pictures[number.unsigned_abs() as usize % self.pictures.len()];
        body.clear();
        let [before_time, before_frame] = &self.body;
        write!(body, "{before_time}{at}{before_frame}{}\",\"detections\":[", at.0.div_euclid(1000))?;
        for (place, detection) in (0i64..).zip(picture) {
            let comma = if place > 0 { "," } else { "" };
            write!(body, "{comma}{detection}{}\"}}", number / TRACK * 1000 + place)?;
        }
        body.extend_from_slice(b"]}");
        request.clear();
        write!(request, "{}{}\r\n\r\n", self.head, body.len())?;
        request.extend_from_slice(body);
        Ok(())
    }
}

/// What came of a load.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How long each success took, in milliseconds.
    pub(super) ms: Vec<f64>,
    /// Posts that did not succeed.
    pub(super) errors: u64,
    /// What some of these were answered.
    pub(super) failures: Vec<String>,
}

/// Posts that succeeded so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Posted(Arc<AtomicU64>);

impl Posted {
    /// How many.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running load.
pub(super) struct Load {
    posters: JoinSet<Outcome>,
    posted: Posted,
}

impl Load {
    /// Connects, then posts until `end`.
    ///
    /// # Errors
    /// The server takes no connection.
    pub(super) async fn start(
        server: SocketAddr,
        connections: u32,
        batches: Batches,
        length: Duration,
    ) -> Result<Load, String> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(connect(server).await.map_err(|error| format!("a connection: {error}"))?);
        }
        let (batches, posted) = (Arc::new(batches), Posted::default());
        let end = Instant::now() + length;
        let mut posters = JoinSet::new();
        for stream in open {
            let (batches, posted) = (batches.clone(), posted.clone());
            posters.spawn(async move { post_until(end, server, stream, &batches, &posted).await });
        }
        Ok(Load { posters, posted })
    }

    /// Posts that succeeded, as they come.
    pub(super) fn posted(&self) -> Posted {
        self.posted.clone()
    }

    /// Waits until it is over.
    pub(super) async fn join(self) -> Outcome {
        let mut sum = Outcome::default();
        for outcome in self.posters.join_all().await {
            sum.ms.extend(outcome.ms);
            sum.errors += outcome.errors;
            sum.failures.extend(outcome.failures);
        }
        sum.failures.sort_unstable();
        sum.failures.dedup();
        sum.failures.truncate(FAILURES);
        sum
    }
}

async fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn post_until(
    end: Instant,
    server: SocketAddr,
    mut stream: TcpStream,
    batches: &Batches,
    posted: &Posted,
) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut body, mut request, mut answer) = (Vec::new(), Vec::new(), Vec::new());
    while Instant::now() < end {
        let exchange = async {
            batches.request(&mut body, &mut request)?;
            let begun = Instant::now();
            stream.write_all(&request).await?;
            let status = read_answer(&mut stream, &mut answer).await?;
            Ok::<_, std::io::Error>((status, begun.elapsed()))
        };
        let failure = match tokio::time::timeout(LIMIT, exchange).await {
            Ok(Ok((200, took))) if stored(&answer) => {
                outcome.ms.push(took.as_secs_f64() * 1e3);
                posted.0.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Ok(Ok((status, _))) => format!("status {status}: {}", text_of(&answer)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
        };
        outcome.errors += 1;
        if outcome.failures.len() < FAILURES {
            outcome.failures.push(failure);
        }
        tokio::time::sleep(REST).await;
        // What is left of an answer would be taken for the next one.
        match connect(server).await {
            Ok(anew) => stream = anew,
            Err(error) => tracing::debug!(%error, "no connection"),
        }
    }
    outcome
}

/// Whether an answer says that something new was stored; the frame is a new one each time.
fn stored(answer: &[u8]) -> bool {
    let told = b"\"detections_ingested\":";
    let at = answer.windows(told.len()).position(|part| part == told);
    at.and_then(|at| answer.get(at + told.len())).is_some_and(|digit| (b'1'..=b'9').contains(digit))
}

/// The body of an answer.
fn text_of(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// Reads one whole answer; its status.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> std::io::Result<u16> {
    let malformed = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    answer.clear();
    let mut known = None;
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if known.is_none() {
            known = extent(answer).ok_or_else(|| malformed("the answer is not HTTP of a known length"))?;
        }
        match known {
            Some((status, length)) if answer.len() >= length => return Ok(status),
            _ if answer.len() > MAX_ANSWER => return Err(malformed("the answer is too long")),
            _ => {}
        }
    }
}

/// Status and length of an answer whose beginning is given, `Some(None)` while the head has no end; `None`: it is not HTTP,
/// or does not say how long it is.
fn extent(answer: &[u8]) -> Option<Option<(u16, usize)>> {
    let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") else { return Some(None) };
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    })?;
    Some(Some((status, end + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn answers_end_where_they_say() {
        let check = |answer: &str, expect| assert_eq!(extent(answer.as_bytes()), expect, "{answer}");
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", Some(Some((200, 43))));
        check("HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n", Some(Some((503, 56))));
        check("HTTP/1.1 200 OK\r\nContent-Le", Some(None));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None);
        check("SSH-2.0\r\n\r\n", None);
    }

    #[test]
    fn only_what_is_stored_counts() {
        assert!(stored(b"\r\n\r\n{\"detections_ingested\":100,\"ticketed\":false}"));
        assert!(!stored(b"\r\n\r\n{\"detections_ingested\":0,\"ticketed\":false,\"duplicate\":true}"));
        assert!(!stored(b"\r\n\r\n{\"error\":\"database busy; retry shortly\"}"));
    }

    #[test]
    fn requests_are_whole_and_their_frames_distinct() {
        let server = SocketAddr::from(([127, 0, 0, 1], 80));
        let begin = WallTime::parse("2026-01-01T00:00:00Z").unwrap();
        let batches = Batches::new(server, "gate", "ai_1", 3, begin);
        let (mut body, mut request) = (Vec::new(), Vec::new());
        let mut frames = Vec::new();
        for _ in 0..=TRACK {
            batches.request(&mut body, &mut request).unwrap();
            let text = std::str::from_utf8(&request).unwrap();
            let (head, sent) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", sent.len())), "{head}");
            frames.push(serde_json::from_str::<Value>(sent).unwrap());
        }
        let (first, last) = (&frames[0], &frames[150]);
        assert_eq!((&first["camera_id"], &first["task_type"]), (&"gate".into(), &"detection".into()));
        assert_eq!(first["frame_id"], "ai_1:1767225600000");
        assert_eq!(last["frame_id"], "ai_1:1767225600150");
        let at = |frame: &Value| WallTime::parse(frame["timestamp"].as_str().unwrap()).unwrap();
        assert_eq!(at(last) - at(first), Micros::from_millis(150));
        assert_eq!(first["detections"].as_array().unwrap().len(), 3);
        let track = |frame: &Value| frame["detections"][2]["track_id"].clone();
        assert_eq!([track(first), track(last)], ["2", "1002"]);
        for detection in first["detections"].as_array().unwrap() {
            let share = |value: &Value| value.as_f64().is_some_and(|share| (0.0..=1.0).contains(&share));
            assert!(share(&detection["confidence"]), "{detection}");
            assert!(detection["bbox"].as_array().unwrap().iter().all(share), "{detection}");
        }
    }
}
