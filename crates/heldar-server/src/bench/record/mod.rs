//! `heldar bench record`: what recording costs, beside one ffmpeg per camera.
//!
//! Owns: the order of runs. Both sides pull the same test cameras, one after the other and never at once, so that both
//! meet the same machine; both write files of the same length to the same disk.

mod baseline;
mod kernel;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use heldar_base::WallTime;

use super::cameras::TestCameras;
use super::clips::Clip;
use super::folder::TempFolder;
use super::server::warm_up;
use super::usage::{Machine, MachineInfo, Usage};
use super::{Verdict, now, print_json};
use crate::{complain, say};
use report::{Report, Run};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Number of test cameras
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cameras: u32,
    /// What they loop: A (768x576, 10 fps, 1 Mbit/s), B (1080p25, 4 Mbit/s, AAC) or an MP4 file
    #[arg(long, default_value = "A")]
    clip: String,
    /// Seconds that are measured in each run
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Runs of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// What to compare with
    #[arg(long, default_value = "ffmpeg", value_enum)]
    against: Against,
    /// Seconds between all cameras being recorded and the measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    settle: u64,
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

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    /// One `ffmpeg -c copy` per camera
    Ffmpeg,
    /// Nothing: this build alone
    None,
}

/// Measures both sides in turn.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let clip = Clip::get(&options.clip, &options.media_dir).await?;
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut cameras = TestCameras::start(options.cameras, &clip, folder.path()).await?;
    let machine = MachineInfo::read();
    let mut report =
        Report { machine, clip, cameras: options.cameras, seconds: options.seconds, runs: vec![] };
    complain(&format!("{}\n", report.heading()));
    for number in 1..=options.runs {
        let run = kernel::run(&options, &report.clip, &mut cameras, number).await?;
        complain(&report.progress(&run));
        report.runs.push(run);
        if options.against == Against::Ffmpeg {
            let run = baseline::run(&options, &report.clip, &mut cameras, number).await?;
            complain(&report.progress(&run));
            report.runs.push(run);
        }
    }
    cameras.stop().await?;
    if options.json {
        print_json(&report.summary())?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

impl Options {
    fn warm_up(&self) -> Duration {
        warm_up(self.cameras)
    }

    fn settle(&self) -> Duration {
        Duration::from_secs(self.settle)
    }
}

/// Looks at a side before and after the measured time.
struct Window {
    from: WallTime,
    before: Usage,
    machine: Machine,
    cameras_s: f64,
}

impl Window {
    fn open(before: Usage, cameras: &mut TestCameras) -> Result<Window, String> {
        Ok(Window { from: now(), before, machine: Machine::now()?, cameras_s: cameras.cpu_s()? })
    }

    fn close(&self, after: &Usage, cameras: &mut TestCameras, number: u32) -> Result<Run, String> {
        let seconds = (now() - self.from).as_secs_f64();
        Ok(Run {
            run: number,
            seconds,
            cpu_s: after.cpu_since(&self.before),
            rss_mib: after.rss_kib as f64 / 1024.0,
            peak_mib: after.peak_kib as f64 / 1024.0,
            pss_mib: after.pss_kib as f64 / 1024.0,
            fds: after.fds,
            wakeups_per_s: after.sleeps.saturating_sub(self.before.sleeps) as f64 / seconds,
            threads: after.threads_since(&self.before),
            machine_busy: Machine::now()?.busy_since(self.machine),
            test_cameras_cpu_s: cameras.cpu_s()? - self.cameras_s,
            ..Run::default()
        })
    }
}
