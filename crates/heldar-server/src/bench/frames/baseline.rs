//! One run of the baseline: a process of the system's ffmpeg for each camera, which decodes, scales and encodes as often as
//! asked and writes the pictures to a pipe.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStdout, Command};
use tokio::task::JoinSet;

use super::{Asked, Decode, Options, Run, Side, Taken, Window};
use crate::bench::cameras::TestCameras;
use crate::bench::folder::TempFolder;
use crate::bench::process::Process;
use crate::bench::usage::Usage;

/// Time that each has to give its first picture.
const START: Duration = Duration::from_secs(60);
/// Between looks whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// How a JPEG begins.
const BEGIN: [u8; 3] = [0xFF, 0xD8, 0xFF];
/// Makes pictures of about the size that the server's quality of 85 makes.
const QUALITY: &str = "3";

pub(super) async fn run(
    options: &Options,
    asked: Asked,
    cameras: &TestCameras,
    number: u32,
) -> Result<Run, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut all = Vec::new();
    let mut readers = JoinSet::new();
    let mut counts = Vec::new();
    for (camera, url) in cameras.sub_urls.iter().enumerate() {
        let mut process = start(&folder.path().join(format!("{camera}.log")), url, asked)?;
        let output = process.take_output().ok_or("standard output is no pipe")?;
        let count = Arc::<Count>::default();
        counts.push(count.clone());
        readers.spawn(async move { count.read(output).await });
        all.push(process);
    }
    let begun = Instant::now();
    while counts.iter().any(|count| count.frames.load(Ordering::Relaxed) == 0) {
        all.iter_mut().try_for_each(Process::check)?;
        if begun.elapsed() > START {
            return Err("ffmpeg makes no pictures".to_owned());
        }
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(options.settle()).await;

    let before: Vec<_> = counts.iter().map(|count| count.now()).collect();
    let window = Window::open(usage(&mut all)?)?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let after = usage(&mut all)?;
    let mut taken = Taken::default();
    for (count, before) in counts.iter().zip(before) {
        let (frames, bytes) = count.now();
        taken.frames.push(frames - before.0);
        taken.bytes += bytes - before.1;
    }
    let run = window.close(Side::Ffmpeg, asked, number, &after, &taken);
    all.iter_mut().for_each(Process::tell_to_end);
    for process in all {
        process.stop().await?;
    }
    readers.shutdown().await;
    run
}

fn start(log: &Path, url: &str, asked: Asked) -> Result<Process, String> {
    let Asked { decode, fps, width } = asked;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error"]);
    if decode == Decode::SyncOnly {
        ffmpeg.args(["-skip_frame", "nokey"]);
    }
    ffmpeg
        .args(["-rtsp_transport", "tcp", "-i", url, "-an", "-vf"])
        .arg(format!("fps={fps},scale='min({width},iw)':-2"))
        .args(["-c:v", "mjpeg", "-q:v", QUALITY, "-f", "image2pipe", "pipe:1"])
        .stdout(Stdio::piped());
    Process::start("ffmpeg", &mut ffmpeg, log)
}

/// Of all processes together. Shared pages count in each one's resident memory, and once in the proportional sum.
fn usage(all: &mut [Process]) -> Result<Usage, String> {
    all.iter_mut().try_fold(Usage::default(), |sum, process| Ok(sum.and(process.usage()?)))
}

/// Pictures that came through a pipe.
#[derive(Debug, Default)]
struct Count {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    fn now(&self) -> (u64, u64) {
        (self.frames.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    async fn read(&self, mut output: ChildStdout) {
        let mut begins = Begins::default();
        let mut part = vec![0; 64 << 10];
        while let Ok(read @ 1..) = output.read(&mut part).await {
            self.bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.frames.fetch_add(begins.count(&part[..read]), Ordering::Relaxed);
        }
    }
}

/// Counts beginnings of JPEGs. Inside of one no such bytes are: a marker there follows data, in which 0xFF is escaped, and
/// is no start of an image (ITU-T T.81 B.1.1).
#[derive(Debug, Default)]
struct Begins {
    /// How much of a beginning the last part ended with.
    seen: usize,
}

impl Begins {
    fn count(&mut self, part: &[u8]) -> u64 {
        let mut count = 0;
        for byte in part {
            self.seen = match (*byte == BEGIN[self.seen], *byte == BEGIN[0]) {
                (true, _) => self.seen + 1,
                (false, true) => 1,
                (false, false) => 0,
            };
            if self.seen == BEGIN.len() {
                count += 1;
                // The last byte of a beginning is the first of the next marker, never of an image.
                self.seen = 0;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_counted_wherever_they_are_cut() {
        let one = [0xFF, 0xD8, 0xFF, 0xDB, 1, 0xFF, 0x00, 0xFF, 0xFF, 0xD9];
        let stream = [one, one, one].concat();
        for cut in 0..stream.len() {
            let mut begins = Begins::default();
            let (first, second) = stream.split_at(cut);
            assert_eq!(begins.count(first) + begins.count(second), 3, "cut at {cut}");
        }
    }
}
