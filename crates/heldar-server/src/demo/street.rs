//! Real street footage as a camera of the demo: `vtest.avi` of Debian's package opencv-doc, where that is installed.
//!
//! Owns: where it is found, and its copy in a coding that cameras send, made once by the system's ffmpeg and kept beside
//! the other clips. Never: a demo that does not start for want of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use heldar_testcam::{Options, Running};
use tokio::process::Command;

use super::{RTSP_PORT, start_cameras};
use crate::say;

/// Where packages put it, compressed by some.
const PLACES: [&str; 4] = [
    "/usr/share/doc/opencv-doc/examples/data/vtest.avi",
    "/usr/share/doc/opencv-doc/examples/data/vtest.avi.gz",
    "/usr/share/opencv4/samples/data/vtest.avi",
    "/usr/share/opencv4/samples/data/vtest.avi.gz",
];
/// Raised when it is encoded otherwise, so that kept files are made anew.
const LOOK: u32 = 1;
/// A sync sample every two seconds at its ten pictures a second, and none that refers to a later one.
const ENCODE: &str = "-c:v libx264 -preset veryfast -profile:v main -pix_fmt yuv420p -r 10 -g 20 -keyint_min 20 \
                      -sc_threshold 0 -bf 0 -movflags +faststart -video_track_timescale 90000 -f mp4 -y";
/// Sizes and rates of main and sub stream.
const MAIN: &str = "-an -vf scale=768:576 -b:v 1500k";
const SUB: &str = "-an -vf scale=640:480 -b:v 700k";
/// Longest time to encode 80 seconds of it.
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts the camera; why there is none, for people.
pub(super) async fn start(media_dir: &Path) -> Result<Running, String> {
    let Some(source) = PLACES.iter().map(Path::new).find(|place| place.is_file()) else {
        return Err("Debian's package opencv-doc has some (apt-get install opencv-doc)".to_owned());
    };
    let [main, sub] = clips(source, media_dir).await?;
    let options =
        Options { video: Some(main), sub_video: Some(sub), port: RTSP_PORT + 1, ..Options::default() };
    start_cameras(options).await.map_err(|error| crate::with_causes(&error))
}

/// Main and sub stream, made if they are not there.
async fn clips(source: &Path, media_dir: &Path) -> Result<[PathBuf; 2], String> {
    let shown = source.display();
    let length = source.metadata().map_err(|error| format!("{shown}: {error}"))?.len();
    let name = |stream: &str| media_dir.join(format!("street-{LOOK}-{length}-{stream}.mp4"));
    let clips = ["main", "sub"].map(name);
    if clips.iter().all(|clip| clip.is_file()) {
        return Ok(clips);
    }
    say("Encoding the street footage, once; this takes some seconds.\n");
    std::fs::create_dir_all(media_dir).map_err(|error| format!("{}: {error}", media_dir.display()))?;
    // Under other names first, so that nobody ever sees half of them.
    let partial = clips.clone().map(|clip| clip.with_extension(format!("{}.partial", std::process::id())));
    let encoded = match tokio::time::timeout(PATIENCE, encode(source, &partial)).await {
        Ok(encoded) => encoded,
        Err(_) => Err(format!("ffmpeg takes longer than {} s", PATIENCE.as_secs())),
    };
    let renamed = encoded.and_then(|()| {
        let pairs = partial.iter().zip(&clips);
        pairs
            .into_iter()
            .try_for_each(|(from, to)| std::fs::rename(from, to))
            .map_err(|error| error.to_string())
    });
    for left in &partial {
        // It is not there where all went well.
        let _gone = std::fs::remove_file(left);
    }
    renamed.map(|()| clips).map_err(|error| format!("{shown} cannot be encoded: {error}"))
}

async fn encode(source: &Path, [main, sub]: &[PathBuf; 2]) -> Result<(), String> {
    let fail = |program: &str, error: &dyn std::fmt::Display| format!("{program}: {error}");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-i"]).kill_on_drop(true).stdin(Stdio::null());
    let unpacking = if source.extension().is_some_and(|ending| ending == "gz") {
        let mut gzip = Command::new("gzip");
        let gzip = gzip.arg("-dc").arg(source).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut unpacking = gzip.spawn().map_err(|error| fail("gzip", &error))?;
        if let Some(output) = unpacking.stdout.take() {
            let output: Stdio = output.try_into().map_err(|error: std::io::Error| fail("gzip", &error))?;
            ffmpeg.arg("pipe:0").stdin(output);
        }
        Some(unpacking)
    } else {
        ffmpeg.arg(source);
        None
    };
    for (shape, clip) in [(MAIN, main), (SUB, sub)] {
        ffmpeg.args(shape.split_whitespace()).args(ENCODE.split_whitespace()).arg(clip);
    }
    let output = ffmpeg.output().await.map_err(|error| fail("ffmpeg", &error))?;
    // Ended, or of no use any more.
    drop(unpacking);
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(fail("ffmpeg", &said.lines().last().unwrap_or("it failed and said nothing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds in an AVI, as the footage is.
    fn footage(folder: &Path) -> PathBuf {
        let path = folder.join("v.avi");
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=768x576:rate=10:duration=4"]);
        assert!(ffmpeg.args(["-c:v", "mpeg4"]).arg(&path).status().unwrap().success());
        path
    }

    fn probed(clip: &Path) -> String {
        let mut ffprobe = std::process::Command::new("ffprobe");
        ffprobe.args(["-v", "error", "-select_streams", "v", "-of", "csv=p=0", "-show_entries"]);
        ffprobe.arg("stream=codec_name,width,height,has_b_frames,r_frame_rate,nb_frames").arg(clip);
        String::from_utf8(ffprobe.output().unwrap().stdout).unwrap().trim().to_owned()
    }

    #[tokio::test]
    async fn footage_is_encoded_once_compressed_or_not() {
        let scratch = tempfile::tempdir().unwrap();
        let plain = footage(scratch.path());
        let packed = scratch.path().join("v.avi.gz");
        let mut gzip = std::process::Command::new("gzip");
        assert!(gzip.arg("-k").arg(&plain).status().unwrap().success());
        for source in [plain, packed] {
            let media = scratch.path().join("media");
            let [main, sub] = clips(&source, &media).await.unwrap();
            assert_eq!(probed(&main), "h264,768,576,0,10/1,40");
            assert_eq!(probed(&sub), "h264,640,480,0,10/1,40");
            let made = main.metadata().unwrap().modified().unwrap();
            assert_eq!(
                clips(&source, &media).await.unwrap()[0].metadata().unwrap().modified().unwrap(),
                made
            );
        }
        assert_eq!(
            std::fs::read_dir(scratch.path().join("media")).unwrap().count(),
            4,
            "nothing half made is left"
        );
        let text = scratch.path().join("text.avi");
        std::fs::write(&text, "no video").unwrap();
        let error = clips(&text, &scratch.path().join("media")).await.unwrap_err();
        assert!(error.contains("text.avi cannot be encoded: ffmpeg: "), "{error}");
    }
}
