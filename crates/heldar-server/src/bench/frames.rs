//! `heldar bench frames`: what sampling frames for a worker costs and how old they are at its hand, beside one ffmpeg per
//! camera that makes the same pictures.
//!
//! Owns: the order of runs and the figures. Both sides pull the same sub streams of the same test cameras, one after the
//! other and never at once, make as many JPEGs of the same width, and hand them to this process.
//!
//! The age of a frame counts from its time of capture, which is the moment at which its last byte would have come with the
//! shortest delay that the stream has shown. So it holds whatever it came later than that, reading, passing it on,
//! decoding, encoding, the answer and its last byte being read here; what the camera took to make and send it is not in it.

mod baseline;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use heldar_base::WallTime;
use serde::Serialize;
use serde_json::json;

use super::cameras::TestCameras;
use super::clips::Clip;
use super::folder::TempFolder;
use super::server::{Server, camera_id, decoder};
use super::stats::{markdown, median, quantile};
use super::usage::{Machine, MachineInfo, Usage};
use super::{Verdict, now, print_json};
use crate::{complain, say};
use worker::Worker;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Number of test cameras, each with a task and a client
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    cameras: u32,
    /// What their sub streams loop: A (768x576, 10 fps, 1 Mbit/s), B (1080p25, 4 Mbit/s, AAC) or an MP4 file
    #[arg(long, default_value = "A")]
    clip: String,
    /// Frames a second where every picture is decoded
    #[arg(long, default_value_t = 5.0)]
    fps: f64,
    /// Frames a second where sync samples alone are decoded: at most as many as there are of these
    #[arg(long, default_value_t = 0.2)]
    sync_fps: f64,
    /// Width of the frames
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u32).range(160..=3840))]
    width: u32,
    /// Seconds that are measured in each run
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds between every camera's first frame and the measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3600))]
    settle: u64,
    /// Runs of each side and rate
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
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

impl Options {
    fn settle(&self) -> Duration {
        Duration::from_secs(self.settle)
    }
}

/// What is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Decode {
    All,
    SyncOnly,
}

/// Who made the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Heldar,
    Ffmpeg,
}

/// What is asked of each side.
#[derive(Clone, Copy, Debug)]
struct Asked {
    decode: Decode,
    fps: f64,
    width: u32,
}

/// One run of one side.
#[derive(Clone, Debug, Serialize)]
struct Run {
    of: Side,
    decode: Decode,
    run: u32,
    fps_asked: f64,
    /// Frames of all cameras, and of the one that got the fewest.
    frames: u64,
    fewest: u64,
    /// Measured time, by the clock.
    seconds: f64,
    kib_per_frame: f64,
    cpu_s: f64,
    rss_mib: f64,
    pss_mib: f64,
    processes: u32,
    /// Of frames at the worker's hand; none of ffmpeg's, which carry no time.
    age: Option<Age>,
    /// Share of all cores that was busy, test cameras and this process included, 0..=1.
    machine_busy: f64,
}

/// How old frames were, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Age {
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// What a side handed over in the measured time.
#[derive(Debug, Default)]
struct Taken {
    /// Frames of each camera.
    frames: Vec<u64>,
    bytes: u64,
    ages_ms: Vec<f64>,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    clip: Clip,
    cameras: u32,
    width: u32,
    seconds: u64,
    runs: Vec<Run>,
    /// This build over ffmpeg, by medians.
    ratios: Vec<Ratio>,
}

#[derive(Serialize)]
struct Ratio {
    decode: Decode,
    cpu: f64,
    rss: f64,
    pss: f64,
}

/// Measures both sides in turn, at both rates.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let decoder = decoder(options.decoder.as_deref())?;
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut cameras = TestCameras::start_with_sub(options.cameras, (&clip, &clip), folder.path()).await?;
    let mut runs = Vec::new();
    for (decode, fps) in [(Decode::All, options.fps), (Decode::SyncOnly, options.sync_fps)] {
        let asked = Asked { decode, fps, width: options.width };
        for number in 1..=options.runs {
            for side in [Side::Heldar, Side::Ffmpeg] {
                let run = match side {
                    Side::Heldar => sampled(&options, asked, &decoder, &cameras, number).await?,
                    Side::Ffmpeg => baseline::run(&options, asked, &cameras, number).await?,
                };
                cameras.cpu_s()?;
                complain(&run.progress());
                runs.push(run);
            }
        }
    }
    cameras.stop().await?;
    let ratios = [Decode::All, Decode::SyncOnly].map(|decode| Ratio::of(decode, &runs));
    let report = Report {
        machine: MachineInfo::read(),
        clip,
        cameras: options.cameras,
        width: options.width,
        seconds: options.seconds,
        runs,
        ratios: ratios.into(),
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

/// One run of this build: a fresh server that records nothing, a task per camera, a worker that pulls them.
async fn sampled(
    options: &Options,
    asked: Asked,
    decoder: &str,
    cameras: &TestCameras,
    number: u32,
) -> Result<Run, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    // Neither budget is to come into play.
    let total = (asked.fps * f64::from(options.cameras)).max(1.0) * 2.0;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (total, cores) = (total.to_string(), cores.to_string());
    let settings = [
        ("HELDAR_DECODER", decoder),
        ("HELDAR_AI_MAX_TOTAL_FPS", total.as_str()),
        ("HELDAR_AI_DECODE_CORES", cores.as_str()),
    ];
    let mut server = Server::start(folder.path(), &settings).await?;
    for (camera, (url, sub_url)) in cameras.urls.iter().zip(&cameras.sub_urls).enumerate() {
        let id = camera_id(camera);
        let body = json!({
            "id": id, "name": id, "main_stream_url": url, "sub_stream_url": sub_url, "record_enabled": false,
        });
        server.api.post("/api/v1/cameras", &body).await?.success()?;
        let body = json!({
            "task_type": "detection", "stream_profile": "sub", "fps": asked.fps, "width": asked.width,
        });
        server.api.post(&format!("/api/v1/cameras/{id}/ai-tasks"), &body).await?.success()?;
    }
    let mut worker = Worker::start(&mut server, cameras.urls.len()).await?;
    worker.all_have_one(&mut server).await?;
    worker.lasts(&mut server, options.settle()).await?;

    let window = Window::open(server.family_usage()?)?;
    worker.lasts(&mut server, Duration::from_secs(options.seconds)).await?;
    let usage = server.family_usage()?;
    let (from, to) = (window.from, now());
    let taken = worker.taken(from, to);
    let run = window.close(Side::Heldar, asked, number, &usage, &taken);
    worker.end().await;
    server.stop().await?;
    run
}

/// Looks at a side before and after the measured time.
struct Window {
    from: WallTime,
    before: Usage,
    machine: Machine,
}

impl Window {
    fn open(before: Usage) -> Result<Window, String> {
        Ok(Window { from: now(), before, machine: Machine::now()? })
    }

    fn close(&self, of: Side, asked: Asked, run: u32, after: &Usage, taken: &Taken) -> Result<Run, String> {
        let frames: u64 = taken.frames.iter().sum();
        let (rss_mib, pss_mib) = after.memory_mib();
        let age = |share| quantile(&taken.ages_ms, share);
        Ok(Run {
            of,
            decode: asked.decode,
            run,
            fps_asked: asked.fps,
            frames,
            fewest: taken.frames.iter().min().copied().unwrap_or(0),
            seconds: (now() - self.from).as_secs_f64(),
            kib_per_frame: taken.bytes as f64 / 1024.0 / frames.max(1) as f64,
            cpu_s: after.cpu_since(&self.before),
            rss_mib,
            pss_mib,
            processes: after.processes(),
            age: (!taken.ages_ms.is_empty()).then(|| Age {
                p50_ms: age(0.5),
                p95_ms: age(0.95),
                p99_ms: age(0.99),
            }),
            machine_busy: Machine::now()?.busy_since(self.machine),
        })
    }
}

impl Decode {
    const fn name(self) -> &'static str {
        match self {
            Decode::All => "every picture decoded",
            Decode::SyncOnly => "sync samples alone",
        }
    }
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Side::Heldar => "heldar",
            Side::Ffmpeg => "ffmpeg",
        }
    }
}

impl Run {
    fn progress(&self) -> String {
        let Run { of, decode, run, frames, cpu_s, pss_mib, .. } = self;
        let (of, decode) = (of.name(), decode.name());
        format!("run {run} {of}, {decode}: {frames} frames, {cpu_s:.2} CPU s, {pss_mib:.1} MiB PSS\n")
    }

    fn cpu_per_camera_minute(&self, cameras: u32) -> f64 {
        self.cpu_s / f64::from(cameras) / (self.seconds / 60.0)
    }
}

/// The median of a figure over all runs of a side.
fn middle(runs: &[Run], decode: Decode, of: Side, figure: impl Fn(&Run) -> f64) -> f64 {
    let of = runs.iter().filter(|run| run.decode == decode && run.of == of);
    median(&of.map(figure).collect::<Vec<_>>())
}

impl Ratio {
    fn of(decode: Decode, runs: &[Run]) -> Ratio {
        let ratio = |figure: fn(&Run) -> f64| {
            let theirs = middle(runs, decode, Side::Ffmpeg, figure);
            if theirs > 0.0 { middle(runs, decode, Side::Heldar, figure) / theirs } else { 0.0 }
        };
        Ratio {
            decode,
            cpu: ratio(|run| run.cpu_s / run.seconds),
            rss: ratio(|run| run.rss_mib),
            pss: ratio(|run| run.pss_mib),
        }
    }
}

impl Report {
    /// A camera whose frames did not come.
    fn verdict(&self) -> Verdict {
        if self.runs.iter().all(|run| run.fewest > 0) { Verdict::Valid } else { Verdict::Broken }
    }

    fn text(&self) -> String {
        let names = [
            "",
            "frames/s of a camera",
            "KiB a frame",
            "CPU s per camera-minute",
            "RSS",
            "PSS",
            "processes",
            "age p50",
            "p95",
            "p99",
            "machine busy",
        ];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        for Ratio { decode, .. } in &self.ratios {
            for side in [Side::Heldar, Side::Ffmpeg] {
                rows.push(self.row(*decode, side));
            }
        }
        let mut ratios = vec![["heldar over ffmpeg", "CPU", "RSS", "PSS"].map(str::to_owned).to_vec()];
        for Ratio { decode, cpu, rss, pss } in &self.ratios {
            let figures = [cpu, rss, pss].map(|ratio| format!("{ratio:.2}"));
            ratios.push(std::iter::once(decode.name().to_owned()).chain(figures).collect());
        }
        format!(
            "\n{}\n{} cameras, sub streams of {}, {} pixels wide, {} s a run\n\n{}\n{}",
            self.machine.line(),
            self.cameras,
            self.clip.line(),
            self.width,
            self.seconds,
            markdown(&rows),
            markdown(&ratios),
        )
    }

    fn row(&self, decode: Decode, side: Side) -> Vec<String> {
        let middle = |figure: &dyn Fn(&Run) -> f64| middle(&self.runs, decode, side, figure);
        let cameras = self.cameras;
        let rate = middle(&|run| run.frames as f64 / run.seconds / f64::from(cameras));
        let age = |figure: fn(&Age) -> f64| match side {
            Side::Heldar => {
                format!("{:.0} ms", middle(&|run| run.age.as_ref().map_or(0.0, figure)))
            }
            Side::Ffmpeg => String::new(),
        };
        vec![
            format!("{}: {}", decode.name(), side.name()),
            format!("{rate:.2}"),
            format!("{:.1}", middle(&|run| run.kib_per_frame)),
            format!("{:.3}", middle(&|run| run.cpu_per_camera_minute(cameras))),
            format!("{:.0} MiB", middle(&|run| run.rss_mib)),
            format!("{:.0} MiB", middle(&|run| run.pss_mib)),
            format!("{:.0}", middle(&|run| f64::from(run.processes))),
            age(|age| age.p50_ms),
            age(|age| age.p95_ms),
            age(|age| age.p99_ms),
            format!("{:.0} %", middle(&|run| run.machine_busy * 100.0)),
        ]
    }
}
