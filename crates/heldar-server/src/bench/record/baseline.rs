//! One run of the baseline: a process of the system's ffmpeg for each camera, copying what it receives into files.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::report::{Run, Side};
use super::{Options, Window};
use crate::bench::cameras::TestCameras;
use crate::bench::clips::Clip;
use crate::bench::folder::{TempFolder, bytes_below};
use crate::bench::process::Process;
use crate::bench::server::SEGMENT_SECONDS;
use crate::bench::usage::Usage;

/// A file with a fragment in it is longer than one without.
const FIRST_FRAGMENT: u64 = 8 << 10;

pub(super) async fn run(
    options: &Options,
    clip: &Clip,
    cameras: &mut TestCameras,
    number: u32,
) -> Result<Run, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut all = Vec::new();
    for (camera, url) in cameras.urls.iter().enumerate() {
        all.push(start(&folder.path().join(camera.to_string()), url, clip)?);
    }
    all_recording(folder.path(), &mut all, options.warm_up()).await?;
    tokio::time::sleep(options.settle()).await;

    let bytes = bytes_below(folder.path())?;
    let window = Window::open(usage(&mut all)?, cameras)?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let run = window.close(&usage(&mut all)?, cameras, number)?;

    let recorded = bytes_below(folder.path())?.saturating_sub(bytes);
    stop(all).await?;
    Ok(Run { of: Side::Ffmpeg, recorded_mib: recorded as f64 / 1_048_576.0, ..run })
}

/// Both sides leave the sound out where the clip has none to record.
fn start(folder: &Path, url: &str, clip: &Clip) -> Result<Process, String> {
    std::fs::create_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy"]);
    if !clip.audio {
        ffmpeg.arg("-an");
    }
    ffmpeg
        .args(["-f", "segment", "-segment_time", &SEGMENT_SECONDS.to_string(), "-segment_format", "mp4"])
        .args(["-segment_format_options", "movflags=+frag_keyframe+empty_moov+default_base_moof"])
        .args(["-reset_timestamps", "1", "-strftime", "1"])
        .arg(folder.join("%Y%m%d_%H%M%S.mp4"))
        .env("TZ", "UTC")
        .stdout(Stdio::null());
    Process::start("ffmpeg", &mut ffmpeg, &folder.with_extension("log"))
}

async fn all_recording(folder: &Path, all: &mut [Process], limit: Duration) -> Result<(), String> {
    let begun = Instant::now();
    for (camera, process) in all.iter_mut().enumerate() {
        while bytes_below(&folder.join(camera.to_string()))? < FIRST_FRAGMENT {
            process.check()?;
            if begun.elapsed() > limit {
                return Err(format!("ffmpeg records nothing of camera {}", camera + 1));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    Ok(())
}

/// Of all processes together. Shared pages count in each one's resident memory, and once in the proportional sum.
fn usage(all: &mut [Process]) -> Result<Usage, String> {
    all.iter_mut().try_fold(Usage::default(), |sum, process| Ok(sum.and(process.usage()?)))
}

/// ffmpeg ends its file and itself when told to; its exit status then says that it was told.
async fn stop(mut all: Vec<Process>) -> Result<(), String> {
    all.iter_mut().for_each(Process::tell_to_end);
    for process in all {
        process.stop().await?;
    }
    Ok(())
}
