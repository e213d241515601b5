//! A worker that leases all tasks and pulls their frames, a client for each, the next one as soon as there is one.
//!
//! Owns: the lease, and what frames came. It analyses nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use heldar_base::WallTime;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Taken;
use crate::bench::http::{Answer, Client};
use crate::bench::now;
use crate::bench::server::Server;

/// Longest wait of a pull; answers of 8 s are what workers must bear (perception.md 2.3).
const WAIT_MS: u32 = 8000;
/// Time for an answer.
const LIMIT: Duration = Duration::from_secs(20);
/// Time that every task has to give its first frame.
const START: Duration = Duration::from_secs(60);
/// Between pulls while there is nothing yet.
const PAUSE: Duration = Duration::from_millis(250);
/// Between renewals of the lease (perception.md 2.1).
const RENEW: Duration = Duration::from_secs(10);
/// Between looks whether frames have come.
const LOOK: Duration = Duration::from_millis(50);

/// A frame at the worker's hand.
#[derive(Clone, Copy, Debug)]
struct Frame {
    at: WallTime,
    captured_at: WallTime,
    bytes: usize,
}

/// Frames of one task.
#[derive(Debug, Default)]
struct Hand(Mutex<Vec<Frame>>);

impl Hand {
    fn frames(&self) -> MutexGuard<'_, Vec<Frame>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running worker.
pub(super) struct Worker {
    hands: Vec<Arc<Hand>>,
    pulls: JoinSet<String>,
    renewed: Instant,
}

impl Worker {
    /// Leases every task and begins to pull.
    ///
    /// # Errors
    /// Not as many tasks are leased as there should be.
    pub(super) async fn start(server: &mut Server, tasks: usize) -> Result<Worker, String> {
        let begun = Instant::now();
        let leased = loop {
            let leased = lease(server).await?;
            if leased.len() == tasks {
                break leased;
            }
            if begun.elapsed() > START {
                return Err(format!("{} of {tasks} tasks are leased", leased.len()));
            }
            tokio::time::sleep(PAUSE).await;
        };
        let mut worker = Worker { hands: Vec::new(), pulls: JoinSet::new(), renewed: Instant::now() };
        for url in leased {
            let hand = Arc::<Hand>::default();
            worker.hands.push(hand.clone());
            let client = server.client(LIMIT);
            worker.pulls.spawn(async move { pull(client, &url, &hand).await });
        }
        Ok(worker)
    }

    /// Waits until every task has given a frame.
    ///
    /// # Errors
    /// One gives none in time: what is known of it.
    pub(super) async fn all_have_one(&mut self, server: &mut Server) -> Result<(), String> {
        let begun = Instant::now();
        while self.hands.iter().any(|hand| hand.frames().is_empty()) {
            if begun.elapsed() > START {
                let samplers = server.api.get("/api/v1/ai/samplers").await?.success()?;
                return Err(format!("not every task gives frames: {samplers}"));
            }
            self.lasts(server, LOOK).await?;
        }
        Ok(())
    }

    /// Lets it work for so long.
    ///
    /// # Errors
    /// A pull has failed, or the lease is not renewed.
    pub(super) async fn lasts(&mut self, server: &mut Server, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        loop {
            if let Some(ended) = self.pulls.try_join_next() {
                return Err(ended.unwrap_or_else(|error| error.to_string()));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(RENEW.saturating_sub(self.renewed.elapsed()))).await;
            if self.renewed.elapsed() >= RENEW {
                lease(server).await?;
                self.renewed = Instant::now();
            }
        }
    }

    /// What came to hand in a window.
    pub(super) fn taken(&self, from: WallTime, to: WallTime) -> Taken {
        let mut taken = Taken::default();
        for hand in &self.hands {
            let frames = hand.frames();
            let mut count = 0;
            for frame in frames.iter().filter(|frame| frame.at >= from && frame.at < to) {
                count += 1;
                taken.bytes += frame.bytes as u64;
                taken.ages_ms.push((frame.at - frame.captured_at).as_secs_f64() * 1e3);
            }
            taken.frames.push(count);
        }
        taken
    }

    /// Ends its pulls.
    pub(super) async fn end(mut self) {
        self.pulls.shutdown().await;
    }
}

/// Leases all tasks, anew or again: where their frames are.
async fn lease(server: &mut Server) -> Result<Vec<String>, String> {
    let body = json!({ "worker_id": "bench", "ttl_secs": 60 });
    let lease = server.api.post("/api/v1/ai/leases", &body).await?.success()?;
    let tasks = lease["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let url = |task: &Value| task["frame_url"].as_str().map(str::to_owned);
    Ok(tasks.iter().filter_map(url).collect())
}

/// Pulls until something fails: why.
async fn pull(mut client: Client, url: &str, hand: &Hand) -> String {
    let mut after: Option<u64> = None;
    loop {
        let newer = after.map_or_else(String::new, |seq| format!("&after={seq}"));
        let answer = match client.get(&format!("{url}{newer}&wait_ms={WAIT_MS}")).await {
            Ok(answer) => answer,
            Err(error) => return error,
        };
        let at = now();
        match answer.status {
            200 => match read(&answer) {
                Some((seq, captured_at)) => {
                    after = Some(seq);
                    hand.frames().push(Frame { at, captured_at, bytes: answer.body.len() });
                }
                None => return "a frame has no time or no number".to_owned(),
            },
            204 => {}
            404 => tokio::time::sleep(PAUSE).await,
            _ => return answer.success().map_or_else(|error| error, |_| format!("status {}", answer.status)),
        }
    }
}

/// Number and time of capture of a frame.
fn read(answer: &Answer) -> Option<(u64, WallTime)> {
    let seq = answer.field("x-frame-seq")?.parse().ok()?;
    let captured_at = WallTime::parse(answer.field("x-frame-captured-at")?).ok()?;
    Some((seq, captured_at))
}
