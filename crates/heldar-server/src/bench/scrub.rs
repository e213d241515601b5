//! `heldar bench scrub`: thumbnails as a mouse that is dragged along a timeline asks for them, and pictures of instants.
//!
//! Owns: the footage, which is laid down before, and the mouse: it asks at its own pace whatever the answers do, over as
//! many connections as a browser has, and a request that waits for a connection is late for the mouse as well. A cold
//! request is for a tile that nobody has asked this server for; the footage itself may be in the system's page cache.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heldar_base::{Interval, Micros, WallTime};
use serde::Serialize;
use tokio::task::JoinSet;

use super::clips::Clip;
use super::folder::TempFolder;
use super::server::{Server, camera_id, decoder};
use super::stats::{Spread, markdown, quantile};
use super::usage::MachineInfo;
use super::{Verdict, footage, now, print_json};
use crate::{complain, say};

/// Connections that a browser opens to a server.
const CONNECTIONS: usize = 6;
/// Time for an answer.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two positions of the mouse on the timeline; a tile stands for as much.
const STEP: Micros = Micros::from_secs(2);
/// Footage around what is asked for.
const MARGIN: Micros = Micros::from_secs(10);
/// Kinds of failure that are told apart.
const FAILURES: usize = 3;
/// The footage lies in the past and fills a part of the disk; it is not to be tidied away meanwhile.
const SETTINGS: &[(&str, &str)] =
    &[("HELDAR_MIN_FREE_DISK_GB", "0"), ("HELDAR_MAX_RECORDINGS_GB", "1000000")];

#[derive(clap::Args)]
pub(super) struct Options {
    /// Cameras, each with a mouse on its timeline
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    cameras: u32,
    /// Minutes of footage: a mouse goes along the first half, and jumps about in the second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=600))]
    minutes: i64,
    /// Thumbnails that each mouse asks for in a second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Width of a thumbnail
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u32).range(64..=640))]
    width: u32,
    /// Pictures of instants, one after another
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pictures: u32,
    /// What was recorded: A (768x576, 10 fps, 1 Mbit/s), B (1080p25, 4 Mbit/s, AAC) or an MP4 file
    #[arg(long, default_value = "B")]
    clip: String,
    /// Program of the decoder processes; by default the one beside this program
    #[arg(long)]
    decoder: Option<PathBuf>,
    /// Print JSON; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// Where temporary folders are made, footage included
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Folder of clips
    #[arg(long, default_value = "media")]
    media_dir: PathBuf,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    clip: Clip,
    cameras: u32,
    minutes: i64,
    /// Thumbnails asked for in a second, all cameras together.
    rate: u32,
    answers: Vec<Answers>,
    /// Of server and decoder processes at the end.
    rss_mib: f64,
    pss_mib: f64,
}

/// How requests of one kind went.
#[derive(Serialize)]
struct Answers {
    of: String,
    answered: usize,
    per_s: f64,
    /// From the moment at which it was due to the last byte.
    p50_ms: f64,
    p95_ms: f64,
    max_ms: f64,
    /// CPU of server and decoder processes for each.
    cpu_ms: f64,
    errors: usize,
    failures: Vec<String>,
}

/// Lays down footage, then asks for thumbnails and pictures.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let decoder = decoder(options.decoder.as_deref())?;
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let settings = [SETTINGS, &[("HELDAR_DECODER", decoder.as_str())]].concat();
    let cameras: Vec<String> = (0..options.cameras as usize).map(camera_id).collect();
    let mut server = Server::start(folder.path(), &settings).await?;
    for camera in &cameras {
        server.add_silent_camera(camera).await?;
    }
    server.stop().await?;
    let length = Micros::from_secs(options.minutes * 60);
    let begin = WallTime((now() - length).0).floor_second() - (MARGIN + MARGIN);
    complain(&format!("Laying down {} minutes of {}.\n", options.minutes, clip.line()));
    for camera in &cameras {
        let laid = Interval::new(begin, begin + length + MARGIN + MARGIN);
        footage::lay_down(&folder.path().join("data"), &clip, camera, laid).await?;
    }

    // Nothing of what is asked for first is known to it.
    let mut server = Server::start(folder.path(), &settings).await?;
    let timeline = Timeline { begin: begin + MARGIN, length, width: options.width };
    let pace = Duration::from_secs(1) / options.rate;
    let mut spread = Spread(11);
    let mut answers = Vec::new();
    for (name, positions) in timeline.drags(&mut spread) {
        let asked: Vec<Vec<String>> =
            cameras.iter().map(|camera| timeline.paths(camera, &positions)).collect();
        for turn in ["for the first time", "again"] {
            let name = format!("{name}, {turn}");
            let went = measured(&mut server, name, asked.clone(), Some(pace)).await?;
            complain(&format!("{}: p95 {:.1} ms\n", went.of, went.p95_ms));
            answers.push(went);
        }
    }
    for (name, kind) in [("picture of an instant", "picture"), ("snapshot of an instant", "snapshot")] {
        let instants = (0..options.pictures).map(|_| timeline.instant(&mut spread));
        let path = |at| format!("/api/v1/cameras/{}/{kind}?at={at}", cameras[0]);
        let asked = vec![instants.map(path).collect()];
        answers.push(measured(&mut server, name.to_owned(), asked, None).await?);
    }
    let (rss_mib, pss_mib) = server.family_usage()?.memory_mib();
    server.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        clip,
        cameras: options.cameras,
        minutes: options.minutes,
        rate: options.rate * options.cameras,
        answers,
        rss_mib,
        pss_mib,
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

/// What is asked about.
struct Timeline {
    begin: WallTime,
    length: Micros,
    width: u32,
}

impl Timeline {
    /// The positions of a mouse that goes along the first half, and of one that jumps about in the second.
    fn drags(&self, spread: &mut Spread) -> [(&'static str, Vec<WallTime>); 2] {
        let steps = self.length.0 / STEP.0;
        let position = |step| self.begin + Micros(STEP.0 * step);
        let along = (0..steps / 2).map(position).collect();
        let mut about: Vec<WallTime> = (steps / 2..steps).map(position).collect();
        spread.shuffle(&mut about);
        [("thumbnail, the mouse goes along", along), ("thumbnail, it jumps about", about)]
    }

    fn paths(&self, camera: &str, positions: &[WallTime]) -> Vec<String> {
        let width = self.width;
        let path = |from: &WallTime| {
            let to = *from + STEP;
            format!("/api/v1/cameras/{camera}/thumbnails.jpg?from={from}&to={to}&count=1&width={width}")
        };
        positions.iter().map(path).collect()
    }

    fn instant(&self, spread: &mut Spread) -> WallTime {
        let ms = spread.below((self.length.0 / 1000).unsigned_abs().max(1));
        self.begin + Micros::from_millis(ms.cast_signed())
    }
}

/// Asks for lists of paths side by side, each at a pace over as many connections as a browser has; without a pace one
/// after another.
async fn measured(
    server: &mut Server,
    name: String,
    lists: Vec<Vec<String>>,
    pace: Option<Duration>,
) -> Result<Answers, String> {
    let before = server.family_usage()?;
    let begun = Instant::now();
    let mut askers = JoinSet::new();
    for list in lists {
        let list = Arc::new(Drag { paths: list, pace, begun, next: AtomicUsize::new(0) });
        for _ in 0..pace.map_or(1, |_| CONNECTIONS) {
            let (client, list) = (server.client(LIMIT), list.clone());
            askers.spawn(async move { list.ask(client).await });
        }
    }
    let mut ms = Vec::new();
    let mut failures = Vec::new();
    for (times, failed) in askers.join_all().await {
        ms.extend(times);
        failures.extend(failed);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let after = server.family_usage()?;
    let errors = failures.len();
    failures.sort_unstable();
    failures.dedup();
    failures.truncate(FAILURES);
    Ok(Answers {
        of: name,
        answered: ms.len(),
        per_s: ms.len() as f64 / elapsed,
        p50_ms: quantile(&ms, 0.5),
        p95_ms: quantile(&ms, 0.95),
        max_ms: quantile(&ms, 1.0),
        cpu_ms: after.cpu_since(&before) * 1e3 / ms.len().max(1) as f64,
        errors,
        failures,
    })
}

/// What a mouse asks for.
struct Drag {
    paths: Vec<String>,
    pace: Option<Duration>,
    begun: Instant,
    next: AtomicUsize,
}

impl Drag {
    /// Asks for what nobody else has asked for yet, when it is due: how long each took from then on, and what failed.
    async fn ask(&self, mut client: super::http::Client) -> (Vec<f64>, Vec<String>) {
        let (mut ms, mut failures) = (Vec::new(), Vec::new());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = self.paths.get(number) else { return (ms, failures) };
            let due = match (self.pace, u32::try_from(number)) {
                (Some(pace), Ok(number)) => self.begun + pace * number,
                _ => Instant::now(),
            };
            // What a timer is late is not the server's; what a connection is late, is.
            let due = if Instant::now() < due {
                tokio::time::sleep_until(due.into()).await;
                Instant::now()
            } else {
                due
            };
            match client.get(path).await {
                Ok(answer) if answer.status == 200 && answer.body.starts_with(&[0xFF, 0xD8]) => {
                    ms.push(due.elapsed().as_secs_f64() * 1e3);
                }
                Ok(answer) => failures.push(match answer.success() {
                    Ok(_) => "an answer is no JPEG".to_owned(),
                    Err(error) => error,
                }),
                Err(error) => failures.push(error),
            }
        }
    }
}

impl Report {
    /// There is footage everywhere, so every request has an answer.
    fn verdict(&self) -> Verdict {
        if self.answers.iter().all(|kind| kind.errors == 0) { Verdict::Valid } else { Verdict::Broken }
    }

    fn text(&self) -> String {
        let names = ["request", "answers", "in a second", "p50", "p95", "longest", "CPU", "errors"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        for kind in &self.answers {
            let times = [kind.p50_ms, kind.p95_ms, kind.max_ms, kind.cpu_ms];
            let counts = [kind.answered.to_string(), format!("{:.1}", kind.per_s)];
            let times = times.map(|ms| format!("{ms:.1} ms"));
            let errors = kind.errors.to_string();
            rows.push(std::iter::once(kind.of.clone()).chain(counts).chain(times).chain([errors]).collect());
        }
        let mut text = format!(
            "\n{}\n{} cameras, {} minutes each of {}, {} thumbnails asked for in a second; {:.0} MiB RSS, {:.0} MiB PSS with \
             decoder processes\n\n{}",
            self.machine.line(),
            self.cameras,
            self.minutes,
            self.clip.line(),
            self.rate,
            self.rss_mib,
            self.pss_mib,
            markdown(&rows),
        );
        let failures = self.answers.iter().flat_map(|kind| &kind.failures);
        failures.for_each(|failure| text.push_str(&format!("failed: {failure}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mouse_goes_along_one_half_and_jumps_about_in_the_other() {
        let timeline = Timeline { begin: WallTime(0), length: Micros::from_secs(60), width: 160 };
        let [(_, along), (_, mut about)] = timeline.drags(&mut Spread(1));
        assert!(along.is_sorted() && !about.is_sorted());
        about.sort_unstable();
        let all = [along, about].concat();
        assert!(all.iter().zip(0..30).all(|(at, step)| at.0 == step * STEP.0), "{all:?}");
        assert_eq!(all.len(), 30, "each position once");
    }
}
