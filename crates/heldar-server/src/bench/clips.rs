//! Clips that test cameras loop: the two that figures are quoted for, and any other file.
//!
//! Owns: how clips A and B are encoded. They are made once by the system's ffmpeg and kept, so that runs of different
//! versions loop the same bytes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;

use super::process::output;
use crate::complain;

/// Real street footage, from Debian's opencv-doc: 768x576, 10 pictures per second, 79.5 s.
const STREET: &str = "/usr/share/doc/opencv-doc/examples/data/vtest.avi";
/// Time that encoding may take.
const ENCODING: Duration = Duration::from_secs(600);
/// Time that reading a header may take.
const PROBING: Duration = Duration::from_secs(30);

/// A clip.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Clip {
    /// `A`, `B`, or the name of its file.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Whether it has sound.
    pub(super) audio: bool,
    /// Bits per second on average, all tracks.
    pub(super) bits_per_second: u64,
    /// Width, height and pictures per second.
    pub(super) pictures: String,
}

impl Clip {
    /// Clip `A` or `B`, made when it is not there, or a file.
    ///
    /// # Errors
    /// There is no such file, or ffmpeg cannot make or read it.
    pub(super) async fn get(name: &str, media_dir: &Path) -> Result<Clip, String> {
        let path = match name {
            "A" | "B" => {
                let folder = media_dir.join("bench");
                let path = folder.join(format!("{name}.mp4"));
                if !path.exists() {
                    std::fs::create_dir_all(&folder)
                        .map_err(|error| format!("{}: {error}", folder.display()))?;
                    complain(&format!("Encoding clip {name}, once.\n"));
                    make(&arguments(name == "B", Path::new(STREET).exists()), &path).await?;
                }
                path
            }
            file => PathBuf::from(file),
        };
        Self::probe(name, path).await
    }

    async fn probe(name: &str, path: PathBuf) -> Result<Clip, String> {
        let entries = "stream=codec_type,width,height,avg_frame_rate:format=bit_rate";
        let mut ffprobe = Command::new("ffprobe");
        ffprobe.args(["-v", "error", "-of", "json", "-show_entries", entries]).arg(&path);
        let text = output(&mut ffprobe, PROBING).await?;
        let found: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let streams = found["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |kind: &str| streams.iter().find(|stream| stream["codec_type"] == kind);
        let video = of("video").ok_or_else(|| format!("{} has no pictures", path.display()))?;
        let rate = video["avg_frame_rate"].as_str().unwrap_or_default();
        Ok(Clip {
            name: name.to_owned(),
            path,
            audio: of("audio").is_some(),
            bits_per_second: found["format"]["bit_rate"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0),
            pictures: format!("{}x{}, {} fps", video["width"], video["height"], rate.trim_end_matches("/1")),
        })
    }

    /// In words.
    pub(super) fn line(&self) -> String {
        let megabits = self.bits_per_second as f64 / 1e6;
        let sound = if self.audio { "with sound" } else { "no sound" };
        format!("clip {} ({}, {megabits:.2} Mbit/s, {sound})", self.name, self.pictures)
    }
}

/// Encodes into a file that has its name only when it is whole.
async fn make(arguments: &str, path: &Path) -> Result<(), String> {
    let partial = path.with_extension("part.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y"]).args(arguments.split_whitespace()).arg(&partial);
    output(&mut ffmpeg, ENCODING).await?;
    std::fs::rename(&partial, path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What ffmpeg is told. Both clips have a sync sample every 2 s and no reordered pictures, as cameras send them. A little
/// noise in B stands for the noise of a sensor; without it the enlarged pictures would not fill 4 Mbit/s.
fn arguments(large: bool, street: bool) -> String {
    let coding = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 0 -sc_threshold 0 -movflags +faststart";
    match (large, street) {
        (false, true) => {
            format!("-i {STREET} -an {coding} -b:v 1M -maxrate 1M -bufsize 2M -g 20 -keyint_min 20")
        }
        (false, false) => format!(
            "-f lavfi -i testsrc2=size=768x576:rate=10 -t 80 -vf noise=alls=12:allf=t -an {coding} \
             -b:v 1M -maxrate 1M -bufsize 2M -g 20 -keyint_min 20"
        ),
        (true, street) => {
            let source =
                if street { format!("-i {STREET}") } else { "-f lavfi -i testsrc2=rate=25".to_owned() };
            format!(
                "{source} -f lavfi -i anoisesrc=amplitude=0.1:sample_rate=48000 -t 60 -map 0:v -map 1:a \
                 -vf fps=25,scale=1920:1080,noise=alls=8:allf=t {coding} -b:v 4M -maxrate 4M -bufsize 8M -g 50 \
                 -keyint_min 50 -c:a aac -ac 1 -b:a 64k"
            )
        }
    }
}
