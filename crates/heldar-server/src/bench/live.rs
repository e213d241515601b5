//! `heldar bench live`: viewers of one stream, while all cameras are recorded.
//!
//! Owns: the viewers, which run in this process and decode nothing, so that what they cost is told apart from what the
//! server costs; and the figures. Never: judges by anything but what viewers received and the server's own ledger.

mod peer;
mod socket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use super::cameras::TestCameras;
use super::clips::Clip;
use super::folder::TempFolder;
use super::loss::Loss;
use super::server::{Server, camera_id, warm_up};
use super::stats::{quantile, table};
use super::usage::{Machine, MachineInfo, Usage};
use super::{Verdict, now, print_json};
use crate::{complain, say};

/// Neither is to come into play.
const SETTINGS: &[(&str, &str)] =
    &[("HELDAR_MIN_FREE_DISK_GB", "0"), ("HELDAR_MAX_RECORDINGS_GB", "1000000")];
/// Viewers come one after another.
const APART: Duration = Duration::from_millis(25);
/// Time for figures to settle once all have come.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Options {
    /// Number of cameras, all recorded
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cameras: u32,
    /// What they loop: A (768x576, 10 fps, 1 Mbit/s), B (1080p25, 4 Mbit/s, AAC) or an MP4 file
    #[arg(long, default_value = "B")]
    clip: String,
    /// Viewers of the first camera over a WebSocket
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=4096))]
    sockets: u32,
    /// Viewers of the first camera over WebRTC
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=256))]
    peers: u32,
    /// Further viewers over a WebSocket that stop reading once they have seen a picture
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=256))]
    stuck: u32,
    /// Seconds that are measured, without viewers and then with them
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=3600))]
    seconds: u32,
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

/// How a viewer watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Socket,
    Stuck,
    Peer,
}

/// What a viewer has received; counted from when measuring begins.
#[derive(Debug, Default)]
struct Seen {
    pictures: AtomicU64,
    bytes: AtomicU64,
    /// Longest time between two pictures, in microseconds.
    longest_us: AtomicU64,
    first_ms: AtomicU64,
    counts: AtomicBool,
}

impl Seen {
    fn bytes(&self, bytes: usize) {
        if self.counts.load(Ordering::Relaxed) {
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// Notes the pictures of one viewer.
struct Notes {
    seen: Arc<Seen>,
    called: Instant,
    last: Option<Instant>,
}

impl Notes {
    fn new(seen: Arc<Seen>) -> Self {
        Notes { seen, called: Instant::now(), last: None }
    }

    /// A picture is complete.
    fn picture(&mut self) {
        let at = Instant::now();
        match self.last.replace(at) {
            None => self.seen.first_ms.store(millis(at - self.called), Ordering::Relaxed),
            Some(last) if self.seen.counts.load(Ordering::Relaxed) => {
                self.seen.pictures.fetch_add(1, Ordering::Relaxed);
                let micros = u64::try_from((at - last).as_micros()).unwrap_or(u64::MAX);
                self.seen.longest_us.fetch_max(micros, Ordering::Relaxed);
            }
            Some(_) => {}
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    clip: Clip,
    cameras: u32,
    seconds: u32,
    /// Without viewers.
    alone: Cost,
    /// With them.
    watched: Cost,
    /// CPU seconds of this process, which receives, while they were watched.
    sinks_cpu_s: f64,
    machine_busy: f64,
    groups: Vec<Group>,
    loss: Loss,
    errors: Vec<String>,
}

/// What the server used.
#[derive(Clone, Copy, Serialize)]
struct Cost {
    cpu_s: f64,
    rss_mib: f64,
}

/// Viewers of one kind.
#[derive(Serialize)]
struct Group {
    kind: &'static str,
    viewers: usize,
    /// Pictures that each got in the time that was measured.
    fewest_pictures: u64,
    most_pictures: u64,
    /// Longest time that any waited for a picture, in milliseconds.
    longest_ms: f64,
    /// From the call to the first picture, in milliseconds.
    first_p50_ms: f64,
    first_p95_ms: f64,
    mbit_per_s: f64,
}

/// Records, lets viewers come, and counts.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let cameras = TestCameras::start(options.cameras, &clip, folder.path()).await?;
    let mut server = Server::start(folder.path(), SETTINGS).await?;
    let count = cameras.urls.len();
    server.add_cameras(&cameras.urls, &clip).await?;
    server.all_recording(count, warm_up(options.cameras)).await?;
    tokio::time::sleep(SETTLE).await;

    let length = Duration::from_secs(options.seconds.into());
    let from = now();
    let before = server.usage()?;
    tokio::time::sleep(length).await;
    let after = server.usage()?;
    let alone = Cost::between(&before, &after);
    complain(&format!("without viewers: {}", alone.line()));

    let mut audience = Audience::gather(&options, server.address()).await;
    tokio::time::sleep(SETTLE).await;
    let (machine, own) = (Machine::now()?, Usage::own()?);
    let before = server.usage()?;
    audience.count();
    tokio::time::sleep(length).await;
    let after = server.usage()?;
    let machine_busy = Machine::now()?.busy_since(machine);
    let sinks_cpu_s = Usage::own()?.cpu_since(&own);
    let (groups, errors) = audience.told(length);
    let watched = Cost::between(&before, &after);
    let loss = Loss::of(&mut server, count, from, now()).await?;
    audience.leave().await;
    server.stop().await?;
    cameras.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        clip,
        cameras: options.cameras,
        seconds: options.seconds,
        alone,
        watched,
        sinks_cpu_s,
        machine_busy,
        groups,
        loss,
        errors,
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

/// Everyone who watches.
struct Audience {
    viewers: Vec<(Kind, Arc<Seen>)>,
    tasks: JoinSet<(Kind, String)>,
}

impl Audience {
    async fn gather(options: &Options, server: SocketAddr) -> Audience {
        let mut audience = Audience { viewers: Vec::new(), tasks: JoinSet::new() };
        let camera = camera_id(0);
        for (kind, count) in
            [(Kind::Socket, options.sockets), (Kind::Stuck, options.stuck), (Kind::Peer, options.peers)]
        {
            for _ in 0..count {
                let seen = Arc::<Seen>::default();
                audience.viewers.push((kind, seen.clone()));
                let (notes, camera) = (Notes::new(seen), camera.clone());
                audience.tasks.spawn(async move {
                    let ended = match kind {
                        Kind::Socket => socket::watch(server, &camera, notes, false).await,
                        Kind::Stuck => socket::watch(server, &camera, notes, true).await,
                        Kind::Peer => Box::pin(peer::watch(server, &camera, notes)).await,
                    };
                    (kind, ended.err().unwrap_or_else(|| "it ended".to_owned()))
                });
                tokio::time::sleep(APART).await;
            }
        }
        audience
    }

    fn count(&self) {
        self.viewers.iter().for_each(|(_, seen)| seen.counts.store(true, Ordering::Relaxed));
    }

    /// What each kind saw, and why viewers have gone that should not.
    fn told(&mut self, length: Duration) -> (Vec<Group>, Vec<String>) {
        let mut errors = Vec::new();
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                // The server lets one go that takes nothing.
                Ok((Kind::Stuck, _)) => {}
                Ok((kind, why)) => errors.push(format!("{}: {why}", kind.name())),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let kinds = [Kind::Socket, Kind::Peer];
        (kinds.into_iter().filter_map(|kind| Group::of(kind, &self.viewers, length)).collect(), errors)
    }

    async fn leave(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Socket => "WebSocket",
            Kind::Stuck => "WebSocket, stuck",
            Kind::Peer => "WebRTC",
        }
    }
}

impl Group {
    fn of(kind: Kind, viewers: &[(Kind, Arc<Seen>)], length: Duration) -> Option<Group> {
        let seen: Vec<&Seen> =
            viewers.iter().filter(|(of, _)| *of == kind).map(|(_, seen)| &**seen).collect();
        let pictures = || seen.iter().map(|seen| seen.pictures.load(Ordering::Relaxed));
        let first: Vec<f64> = seen.iter().map(|seen| seen.first_ms.load(Ordering::Relaxed) as f64).collect();
        let bytes: u64 = seen.iter().map(|seen| seen.bytes.load(Ordering::Relaxed)).sum();
        Some(Group {
            kind: kind.name(),
            viewers: seen.len(),
            fewest_pictures: pictures().min()?,
            most_pictures: pictures().max()?,
            longest_ms: seen.iter().map(|seen| seen.longest_us.load(Ordering::Relaxed)).max()? as f64 / 1e3,
            first_p50_ms: quantile(&first, 0.5),
            first_p95_ms: quantile(&first, 0.95),
            mbit_per_s: bytes as f64 * 8e-6 / length.as_secs_f64(),
        })
    }
}

impl Cost {
    fn between(before: &Usage, after: &Usage) -> Cost {
        Cost { cpu_s: after.cpu_since(before), rss_mib: after.rss_kib as f64 / 1024.0 }
    }

    fn line(self) -> String {
        format!("{:.2} CPU s, {:.1} MiB RSS\n", self.cpu_s, self.rss_mib)
    }
}

impl Report {
    /// Missing footage, or a viewer that saw nothing or was thrown out.
    fn verdict(&self) -> Verdict {
        let all_see = self.groups.iter().all(|group| group.fewest_pictures > 0);
        if !self.loss.any() && self.errors.is_empty() && all_see { Verdict::Valid } else { Verdict::Broken }
    }

    fn text(&self) -> String {
        let names = ["viewers", "of", "pictures", "longest wait", "first p50", "p95", "Mbit/s"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        for group in &self.groups {
            rows.push(vec![
                group.kind.to_owned(),
                group.viewers.to_string(),
                format!("{} to {}", group.fewest_pictures, group.most_pictures),
                format!("{:.0} ms", group.longest_ms),
                format!("{:.0} ms", group.first_p50_ms),
                format!("{:.0} ms", group.first_p95_ms),
                format!("{:.0}", group.mbit_per_s),
            ]);
        }
        let viewers: usize = self.groups.iter().map(|group| group.viewers).sum();
        let minutes = viewers.max(1) as f64 * f64::from(self.seconds) / 60.0;
        let mut text = format!(
            "\n{}\n{} cameras, {}, {} s\n{}the server without viewers: {}the server with them: {}\
             per viewer: {:.3} CPU s a minute, {:.2} MiB\n\
             the viewers themselves: {:.2} CPU s; the machine was {:.1} % busy\n{}",
            self.machine.line(),
            self.cameras,
            self.clip.line(),
            self.seconds,
            table(&rows),
            self.alone.line(),
            self.watched.line(),
            (self.watched.cpu_s - self.alone.cpu_s) / minutes,
            (self.watched.rss_mib - self.alone.rss_mib) / viewers.max(1) as f64,
            self.sinks_cpu_s,
            self.machine_busy * 100.0,
            self.loss.line("all cameras"),
        );
        self.errors.iter().for_each(|error| text.push_str(&format!("{error}\n")));
        text
    }
}
