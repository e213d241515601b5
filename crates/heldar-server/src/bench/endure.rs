//! `heldar bench endure`: recording over a long time, with viewers and exports beside it, memory every so often.
//!
//! Owns: the load and the figures. A viewer follows a playback session at its newest end, as a player does; an export is
//! downloaded no faster than a network of a given speed takes it. Never: judges by anything but the server's own ledger
//! and what viewers and exports received.

mod load;

use std::path::PathBuf;
use std::time::Duration;

use heldar_base::{Micros, WallTime};
use serde::Serialize;

use super::cameras::TestCameras;
use super::clips::Clip;
use super::folder::TempFolder;
use super::loss::Loss;
use super::server::{Server, warm_up};
use super::stats::table;
use super::usage::{Machine, MachineInfo, Usage};
use super::{Verdict, now, print_json};
use crate::{complain, say};
use load::{Exported, Load, Seen};

/// Neither is to come into play.
const SETTINGS: &[(&str, &str)] =
    &[("HELDAR_MIN_FREE_DISK_GB", "0"), ("HELDAR_MAX_RECORDINGS_GB", "1000000")];

#[derive(clap::Args)]
pub(super) struct Options {
    /// Number of test cameras
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cameras: u32,
    /// What they loop: A (768x576, 10 fps, 1 Mbit/s), B (1080p25, 4 Mbit/s, AAC) or an MP4 file
    #[arg(long, default_value = "B")]
    clip: String,
    /// Seconds that are measured
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=6900))]
    seconds: u32,
    /// Seconds between two looks at the server
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    every: u32,
    /// Viewers that follow a camera each by HLS
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=256))]
    viewers: u32,
    /// Speed in Mbit/s at which one download of recorded footage after another runs; 0 for none
    #[arg(long, default_value_t = 100)]
    export_mbit: u64,
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
    looks: Vec<Look>,
    /// Share of all cores that the server used, 0..=1.
    server_share: f64,
    /// Share of all cores that was busy, everything included, 0..=1.
    machine_busy: f64,
    loss: Loss,
    viewers: Vec<Seen>,
    exports: Option<Exported>,
}

/// What the server used since the look before, and held then.
#[derive(Clone, Copy, Serialize)]
struct Look {
    /// Since the measurement began.
    second: u32,
    cpu_s: f64,
    rss_mib: f64,
    peak_mib: f64,
    pss_mib: f64,
}

/// Records, watches and exports for as long as asked.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let cameras = TestCameras::start(options.cameras, &clip, folder.path()).await?;
    let mut server = Server::start(folder.path(), SETTINGS).await?;
    let count = cameras.urls.len();
    server.add_cameras(&cameras.urls, &clip).await?;
    server.all_recording(count, warm_up(options.cameras)).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;

    let (from, machine, begun) = (now(), Machine::now()?, server.usage()?);
    complain(&format!("process {} is measured from now on\n", server.id()));
    let length = Duration::from_secs(options.seconds.into());
    let load = Load::start(&server, count, options.viewers, options.export_mbit, length);
    let mut looks = Vec::new();
    let mut before = begun.cpu_s;
    for second in (options.every..=options.seconds).step_by(options.every as usize) {
        tokio::time::sleep(until(from + Micros::from_secs(second.into()))).await;
        let usage = server.usage()?;
        let look = Look::between(second, before, &usage);
        before = usage.cpu_s;
        complain(&look.line());
        looks.push(look);
    }
    let to = now();
    let machine_busy = Machine::now()?.busy_since(machine);
    let server_share = (before - begun.cpu_s) / (to - from).as_secs_f64() / cores();
    let (viewers, exports) = load.finish().await;
    let loss = Loss::of(&mut server, count, from, to).await?;
    server.stop().await?;
    cameras.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        clip,
        cameras: options.cameras,
        looks,
        server_share,
        machine_busy,
        loss,
        viewers,
        exports,
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

fn until(due: WallTime) -> Duration {
    (due - now()).max(Micros::ZERO).to_std()
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

impl Look {
    fn between(second: u32, cpu_s_before: f64, usage: &Usage) -> Look {
        Look {
            second,
            cpu_s: usage.cpu_s - cpu_s_before,
            rss_mib: usage.rss_kib as f64 / 1024.0,
            peak_mib: usage.peak_kib as f64 / 1024.0,
            pss_mib: usage.pss_kib as f64 / 1024.0,
        }
    }

    fn line(&self) -> String {
        let Look { second, cpu_s, rss_mib, peak_mib, .. } = self;
        format!("{second} s: {cpu_s:.2} CPU s, {rss_mib:.1} MiB RSS, peak {peak_mib:.1} MiB\n")
    }
}

impl Report {
    /// Missing footage, a viewer that was refused something, or an export that failed.
    fn verdict(&self) -> Verdict {
        let fine = !self.loss.any()
            && self.viewers.iter().all(|viewer| viewer.error.is_none() && viewer.segments > 0)
            && self.exports.as_ref().is_none_or(|exports| exports.error.is_none() && exports.files > 0);
        if fine { Verdict::Valid } else { Verdict::Broken }
    }

    fn text(&self) -> String {
        let names = ["second", "CPU s", "RSS MiB", "peak MiB", "PSS MiB"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        for look in &self.looks {
            let figures = [look.cpu_s, look.rss_mib, look.peak_mib, look.pss_mib];
            let second = std::iter::once(look.second.to_string());
            rows.push(second.chain(figures.map(|figure| format!("{figure:.1}"))).collect());
        }
        let mut text = format!(
            "\n{}\n{} cameras, {}\n{}the server used {:.1} % of all cores, the machine was {:.1} % busy\n{}",
            self.machine.line(),
            self.cameras,
            self.clip.line(),
            table(&rows),
            self.server_share * 100.0,
            self.machine_busy * 100.0,
            self.loss.line("all cameras"),
        );
        self.viewers.iter().for_each(|viewer| text.push_str(&viewer.line()));
        self.exports.iter().for_each(|exports| text.push_str(&exports.line()));
        text
    }
}
