//! `heldar bench restart`: what a restart of the server costs each camera, in order and by a kill.
//!
//! Owns: when the server is ended. What is missing, and why, is what its own ledger says afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use heldar_base::{Micros, WallTime};
use serde::Serialize;
use serde_json::Value;

use super::cameras::TestCameras;
use super::clips::Clip;
use super::folder::TempFolder;
use super::server::{Server, camera_id, warm_up};
use super::stats::{median, quantile, table};
use super::usage::MachineInfo;
use super::{Verdict, now, print_json};
use crate::{complain, say};

/// Footage before and behind an end that is looked at.
const AROUND: Micros = Micros::from_secs(4);

#[derive(clap::Args)]
pub(super) struct Options {
    /// Number of test cameras
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cameras: u32,
    /// What they loop: A (768x576, 10 fps, 1 Mbit/s), B (1080p25, 4 Mbit/s, AAC) or an MP4 file
    #[arg(long, default_value = "A")]
    clip: String,
    /// Restarts of each kind
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
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

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum End {
    /// SIGTERM.
    Stop,
    /// SIGKILL.
    Kill,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    clip: Clip,
    cameras: u32,
    restarts: Vec<Restart>,
}

#[derive(Serialize)]
struct Restart {
    end: End,
    /// From the signal to the end of the process.
    ended_s: f64,
    /// From the new process to its first answer.
    ready_s: f64,
    /// Seconds missing of each camera.
    missing_s: Vec<f64>,
    /// How long before the signal the footage of each camera ends: what was received and is lost.
    lost_s: Vec<f64>,
    /// Seconds by cause, all cameras together.
    causes: BTreeMap<String, f64>,
}

/// Ends and starts the server again and again.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let cameras = TestCameras::start(options.cameras, &clip, folder.path()).await?;
    let patience = warm_up(options.cameras);
    let count = cameras.urls.len();
    let mut server = Server::start(folder.path(), &[]).await?;
    server.add_cameras(&cameras.urls, &clip).await?;
    server.all_recording(count, patience).await?;
    let mut restarts = Vec::new();
    for number in 1..=options.runs {
        for end in [End::Stop, End::Kill] {
            tokio::time::sleep((AROUND + AROUND).to_std()).await;
            let restart;
            (server, restart) = once(server, end, folder.path(), count, patience).await?;
            complain(&format!("run {number} {end:?}: worst {:.2} s missing\n", worst(&restart.missing_s)));
            restarts.push(restart);
        }
    }
    server.stop().await?;
    cameras.stop().await?;
    let report = Report { machine: MachineInfo::read(), clip, cameras: options.cameras, restarts };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

async fn once(
    server: Server,
    end: End,
    folder: &std::path::Path,
    cameras: usize,
    patience: Duration,
) -> Result<(Server, Restart), String> {
    let (at, begun) = (now(), Instant::now());
    match end {
        End::Stop => server.stop().await?,
        End::Kill => server.kill().await?,
    }
    let ended_s = begun.elapsed().as_secs_f64();
    let mut server = Server::start(folder, &[]).await?;
    server.all_recording(cameras, patience).await?;
    let back = now();
    // What lies behind the return is on disk by then, whatever the length of a fragment.
    tokio::time::sleep(AROUND.to_std()).await;
    let mut restart = Restart {
        end,
        ended_s,
        ready_s: server.ready.as_secs_f64(),
        missing_s: Vec::new(),
        lost_s: Vec::new(),
        causes: BTreeMap::new(),
    };
    for number in 0..cameras {
        let camera = camera_id(number);
        let (from, to) = (at - AROUND, back);
        let path = format!("/api/v1/cameras/{camera}/coverage?from={from}&to={to}&detail=true");
        let coverage = server.api.get(&path).await?.success()?;
        restart.add(at, &coverage)?;
    }
    Ok((server, restart))
}

impl Restart {
    fn add(&mut self, at: WallTime, coverage: &Value) -> Result<(), String> {
        let form = || "the coverage has another form".to_owned();
        self.missing_s.push(coverage["missing_seconds"].as_f64().ok_or_else(form)?);
        for (cause, seconds) in coverage["missing"].as_object().ok_or_else(form)? {
            *self.causes.entry(cause.clone()).or_default() += seconds.as_f64().unwrap_or(0.0);
        }
        let intervals = coverage["intervals"].as_array().ok_or_else(form)?;
        let missing = intervals.iter().find(|interval| interval["kind"] == "missing");
        let start = missing.and_then(|m| m["start"].as_str()).and_then(|text| WallTime::parse(text).ok());
        self.lost_s.push(start.map_or(0.0, |start| (at - start).as_secs_f64().max(0.0)));
        Ok(())
    }
}

fn worst(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(0.0, f64::max)
}

impl Report {
    /// Footage that is missing because of a restart is named as such.
    fn verdict(&self) -> Verdict {
        let named = |restart: &Restart| {
            let expected: &[&str] = match restart.end {
                End::Stop => &["server_stopped", "starting"],
                End::Kill => &["server_crashed", "starting"],
            };
            restart.causes.keys().all(|cause| expected.contains(&cause.as_str()))
        };
        if self.restarts.iter().all(named) { Verdict::Valid } else { Verdict::Broken }
    }

    fn text(&self) -> String {
        let names = ["end", "figure", "median", "p99", "worst"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        let mut causes = String::new();
        for end in [End::Stop, End::Kill] {
            let of_kind: Vec<&Restart> = self.restarts.iter().filter(|restart| restart.end == end).collect();
            let each = |of: fn(&Restart) -> &[f64]| of_kind.iter().flat_map(|r| of(r)).copied().collect();
            let figures: [(&str, Vec<f64>); 4] = [
                ("end of the process, s", of_kind.iter().map(|restart| restart.ended_s).collect()),
                ("first answer, s", of_kind.iter().map(|restart| restart.ready_s).collect()),
                ("missing per camera, s", each(|restart| &restart.missing_s)),
                ("of that received, s", each(|restart| &restart.lost_s)),
            ];
            for (name, values) in figures {
                let figures = [median(&values), quantile(&values, 0.99), worst(&values)];
                let words = [format!("{end:?}"), name.to_owned()];
                rows.push(words.into_iter().chain(figures.map(|figure| format!("{figure:.2}"))).collect());
            }
            let mut sums = BTreeMap::<&str, f64>::new();
            for (cause, seconds) in of_kind.iter().flat_map(|restart| &restart.causes) {
                *sums.entry(cause).or_default() += seconds;
            }
            causes.push_str(&format!("{end:?}: seconds by cause {sums:.2?}\n"));
        }
        format!(
            "\n{}\n{} cameras, {}\n{}{causes}",
            self.machine.line(),
            self.cameras,
            self.clip.line(),
            table(&rows)
        )
    }
}
