//! `heldar bench export`: a clip of an hour, beside copying, syncing and hashing the same bytes; and the first byte of
//! the same hour as a virtual file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heldar_base::{Interval, Micros, WallTime};
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use super::clips::Clip;
use super::folder::TempFolder;
use super::process::output;
use super::server::{Server, camera_id};
use super::stats::{median, quantile, table};
use super::usage::MachineInfo;
use super::{Verdict, footage, now, print_json};
use crate::{complain, say};

/// Longest time for one export and for each step of the baseline.
const LIMIT: Duration = Duration::from_secs(600);
/// Footage around the window, so that it begins and ends inside files.
const MARGIN: Micros = Micros::from_secs(90);
/// Where the window begins inside a group of pictures.
const INSIDE: Micros = Micros::from_millis(700);

#[derive(clap::Args)]
pub(super) struct Options {
    /// What is exported: A, B or an MP4 file, looped
    #[arg(long, default_value = "B")]
    clip: String,
    /// Length of the window in minutes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(i64).range(1..=60))]
    minutes: i64,
    /// Exports, each with its baseline
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Windows whose first byte is timed
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    windows: u32,
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
    minutes: i64,
    runs: Vec<Run>,
    first_byte: FirstByte,
    server_peak_mib: f64,
}

#[derive(Serialize)]
struct Run {
    mib: f64,
    export_s: f64,
    server_cpu_s: f64,
    cp_s: f64,
    sync_s: f64,
    sha256sum_s: f64,
    same_bytes: bool,
}

/// Milliseconds to the first byte of a window's virtual file.
#[derive(Serialize)]
struct FirstByte {
    new_p50_ms: f64,
    new_p99_ms: f64,
    again_p50_ms: f64,
    again_p99_ms: f64,
}

/// Lays down footage, exports it again and again, and times first bytes.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let camera = camera_id(0);
    let mut server = Server::start(folder.path(), SETTINGS).await?;
    server.add_silent_camera(&camera).await?;
    server.stop().await?;

    let length = Micros::from_secs(options.minutes * 60);
    let begin = WallTime((now() - length).0).floor_second() - (MARGIN + MARGIN);
    complain(&format!("Laying down {} minutes of {}.\n", options.minutes, clip.line()));
    let laid = Interval::new(begin, begin + length + MARGIN + MARGIN);
    footage::lay_down(&folder.path().join("data"), &clip, &camera, laid).await?;
    let from = begin + MARGIN + INSIDE;
    let window = Interval::new(from, from + length);

    let mut server = Server::start(folder.path(), SETTINGS).await?;
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = one(&mut server, folder.path(), &camera, window).await?;
        complain(&format!("run {number}: {:.2} s, baseline {:.2} s\n", run.export_s, run.baseline_s()));
        runs.push(run);
    }
    let first_byte = first_bytes(&mut server, &camera, window, options.windows).await?;
    let server_peak_mib = server.usage()?.peak_kib as f64 / 1024.0;
    server.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        clip,
        minutes: options.minutes,
        runs,
        first_byte,
        server_peak_mib,
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

/// The footage lies in the past and fills a part of the disk; neither is to be tidied away meanwhile.
const SETTINGS: &[(&str, &str)] = &[
    ("HELDAR_MIN_FREE_DISK_GB", "0"),
    ("HELDAR_MAX_RECORDINGS_GB", "1000000"),
    ("HELDAR_MAX_CLIP_SECONDS", "7200"),
];

async fn one(server: &mut Server, folder: &Path, camera: &str, window: Interval) -> Result<Run, String> {
    let body = json!({ "from": window.start, "to": window.end });
    let before = server.usage()?.cpu_s;
    let mut client = server.client(LIMIT);
    let answer = client.post(&format!("/api/v1/cameras/{camera}/clip"), &body).await?;
    let clip = answer.success()?;
    let server_cpu_s = server.usage()?.cpu_s - before;
    let text = |name: &str| clip[name].as_str().map(str::to_owned).ok_or("the clip has another form");
    let file = folder.join("data").join("clips").join(text("filename")?);
    let copy = folder.join("copy.mp4");

    let cp_s = timed(Command::new("cp").arg(&file).arg(&copy)).await?.0;
    let sync_s = timed(Command::new("sync").arg(&copy)).await?.0;
    let (sha256sum_s, hash) = timed(Command::new("sha256sum").arg(&copy)).await?;

    let size = std::fs::metadata(&copy).map_err(|error| error.to_string())?.len();
    std::fs::remove_file(&copy).map_err(|error| error.to_string())?;
    client.request("DELETE", &format!("/api/v1/clips/{}", text("id")?), None).await?.success()?;
    Ok(Run {
        mib: size as f64 / 1_048_576.0,
        export_s: answer.took.as_secs_f64(),
        server_cpu_s,
        cp_s,
        sync_s,
        sha256sum_s,
        same_bytes: hash.split_whitespace().next() == Some(text("sha256")?.as_str()),
    })
}

async fn timed(command: &mut Command) -> Result<(f64, String), String> {
    let begun = Instant::now();
    let text = output(command, LIMIT).await?;
    Ok((begun.elapsed().as_secs_f64(), text))
}

/// Each window is asked for twice: the first time nothing is known of it, the second time its plan may be.
async fn first_bytes(
    server: &mut Server,
    camera: &str,
    window: Interval,
    windows: u32,
) -> Result<FirstByte, String> {
    let (mut new, mut again) = (Vec::new(), Vec::new());
    for number in 0..windows {
        // A picture further each time, so that no plan fits another window.
        let from = window.start + Micros::from_millis(i64::from(number) * 40);
        let to = from + window.len();
        let path = format!("/api/v1/cameras/{camera}/video.mp4?from={from}&to={to}");
        new.push(server.api.first_byte(&path).await?.as_secs_f64() * 1e3);
        again.push(server.api.first_byte(&path).await?.as_secs_f64() * 1e3);
    }
    Ok(FirstByte {
        new_p50_ms: quantile(&new, 0.5),
        new_p99_ms: quantile(&new, 0.99),
        again_p50_ms: quantile(&again, 0.5),
        again_p99_ms: quantile(&again, 0.99),
    })
}

impl Run {
    fn baseline_s(&self) -> f64 {
        self.cp_s + self.sync_s + self.sha256sum_s
    }

    fn ratio(&self) -> f64 {
        self.export_s / self.baseline_s()
    }
}

impl Report {
    /// A file with another hash than was told is not what was exported.
    fn verdict(&self) -> Verdict {
        if self.runs.iter().all(|run| run.same_bytes) { Verdict::Valid } else { Verdict::Broken }
    }

    fn text(&self) -> String {
        let names = ["run", "MiB", "export s", "server CPU s", "cp s", "sync s", "sha256sum s", "ratio"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        let figures = |run: &Run| {
            [run.mib, run.export_s, run.server_cpu_s, run.cp_s, run.sync_s, run.sha256sum_s, run.ratio()]
        };
        let mut add = |name: String, figures: [f64; 7]| {
            rows.push(std::iter::once(name).chain(figures.map(|figure| format!("{figure:.2}"))).collect());
        };
        for (number, run) in self.runs.iter().enumerate() {
            add((number + 1).to_string(), figures(run));
        }
        let all: Vec<[f64; 7]> = self.runs.iter().map(figures).collect();
        let middle = std::array::from_fn(|at| median(&all.iter().map(|run| run[at]).collect::<Vec<_>>()));
        add("median".to_owned(), middle);
        let FirstByte { new_p50_ms, new_p99_ms, again_p50_ms, again_p99_ms } = &self.first_byte;
        let hashes =
            if self.verdict() == Verdict::Valid { "" } else { "A FILE HAS ANOTHER HASH THAN WAS TOLD\n" };
        format!(
            "\n{}\n{} minutes of {}\n{}first byte of video.mp4: new window p50 {new_p50_ms:.1} ms, p99 {new_p99_ms:.1} ms; \
             the same again p50 {again_p50_ms:.1} ms, p99 {again_p99_ms:.1} ms\npeak memory of the server {:.1} MiB\n{hashes}",
            self.machine.line(),
            self.minutes,
            self.clip.line(),
            table(&rows),
            self.server_peak_mib,
        )
    }
}
