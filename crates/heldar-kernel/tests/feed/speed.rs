//! Figures, measured by hand: how long from a POST to every listener.
//!
//! `cargo test -p heldar-kernel --release --test feed speed -- --ignored --nocapture`

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::Served;
use crate::sse::Sse;

/// Listeners whose messages are read; what the others are sent is thrown away, for reading it costs more than sending it.
const READ: usize = 10;

/// A batch every 5 ms, and so many listeners.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_of_200_batches_a_second() {
    for listeners in [1, 10, 100, 300, 1000] {
        let served = Served::start().await;
        let (admin, batches) = (served.admin(), 1000);
        let (mut readers, mut others) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        for number in 0..listeners {
            let mut sse = Sse::open(&served, "topics=detections", &admin).await;
            if number >= READ {
                others.push(tokio::spawn(async move {
                    let mut bytes = vec![0; 64 << 10];
                    while sse.stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
                }));
                continue;
            }
            readers.push(tokio::spawn(async move {
                let mut seen = Vec::with_capacity(batches);
                for _ in 0..batches {
                    let block = sse.next().await;
                    seen.push((block.seq(), begun.elapsed()));
                }
                seen
            }));
        }
        let mut posted = std::collections::HashMap::new();
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        let seen = json!([{ "label": "car", "confidence": 0.5, "bbox": [0.1, 0.1, 0.2, 0.2] }]);
        let (first, cpu) = (begun.elapsed(), cpu_seconds());
        for number in 0..batches {
            beat.tick().await;
            let body = json!({
                "camera_id": "gate", "task_type": "yolo", "frame_id": format!("f{number}"), "detections": seen,
            });
            let at = begun.elapsed();
            let answer = served.house.post("/api/v1/ai/events", body).token(&served.house.admin).ok().await;
            posted.insert(answer["seq"].as_i64().unwrap(), at);
        }
        let mut times: Vec<Duration> = Vec::new();
        for reader in readers {
            times.extend(reader.await.unwrap().into_iter().map(|(seq, at)| at - posted[&seq]));
        }
        let (lasted, cpu) = ((begun.elapsed() - first).as_secs_f64(), cpu_seconds() - cpu);
        others.iter().for_each(tokio::task::JoinHandle::abort);
        times.sort_unstable();
        let of = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "{listeners} listeners, {:.0} batches/s, {:.2} cores with the clients: median {:?}, p95 {:?}, p99 {:?}, longest {:?}",
            batches as f64 / lasted,
            cpu / lasted,
            of(0.5),
            of(0.95),
            of(0.99),
            of(1.0)
        );
    }
}

/// Processor time of this process so far: fields 14 and 15 of its line in proc(5), in hundredths of a second.
fn cpu_seconds() -> f64 {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = line.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}
