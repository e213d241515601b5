//! Clips of the generated scene: encoded once by the system's ffmpeg, then kept in a folder.
//!
//! Owns: the list of recipes and the folder. A file's name holds a hash of everything that decides its content, so a folder
//! never holds anything stale under a name that is used.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::scene::Scene;
use crate::scene::paint::Painter;

/// Held while this process encodes: ffmpeg uses all cores by itself, and whoever comes second finds the file.
static ENCODING: Mutex<()> = Mutex::new(());
/// Raised when the look of the scene changes, so that kept files are made anew.
const LOOK: u32 = 1;
/// Seed of the scene in all clips.
pub const SEED: u64 = 20;

/// What ffmpeg is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Pictures of the scene.
    Scene {
        /// Width and height in pixels.
        size: (u16, u16),
        /// Pictures per second.
        rate: u32,
        /// Length of the loop.
        seconds: u32,
    },
    /// A tone that beeps, from a filter graph.
    Tone(&'static str),
}

/// One clip and how it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) source: Source,
    /// Options of ffmpeg between input and output.
    pub(crate) encode: &'static str,
}

const MAIN: Source = Source::Scene { size: (1280, 720), rate: 25, seconds: 20 };
const SUB: Source = Source::Scene { size: (640, 360), rate: 25, seconds: 20 };
const ALT: Source = Source::Scene { size: (960, 540), rate: 25, seconds: 20 };
const ZOO: Source = Source::Scene { size: (640, 360), rate: 25, seconds: 12 };

const fn recipe(name: &'static str, source: Source, encode: &'static str) -> Recipe {
    Recipe { name, source, encode }
}

const fn at_rate(rate: u32) -> Source {
    Source::Scene { size: (640, 360), rate, seconds: 12 }
}

/// Every clip there is.
pub(crate) const RECIPES: &[Recipe] = &[
    recipe(
        "h264_main",
        MAIN,
        "-c:v libx264 -preset veryfast -profile:v high -g 50 -keyint_min 50 -sc_threshold 0 -bf 0 -b:v 2500k -maxrate 3500k -bufsize 2500k",
    ),
    recipe(
        "h264_sub",
        SUB,
        "-c:v libx264 -preset veryfast -profile:v main -g 50 -keyint_min 50 -sc_threshold 0 -bf 0 -b:v 500k -maxrate 700k -bufsize 500k",
    ),
    recipe(
        "h264_alt",
        ALT,
        "-c:v libx264 -preset veryfast -profile:v main -g 50 -keyint_min 50 -sc_threshold 0 -bf 0 -b:v 1200k",
    ),
    recipe(
        "h265_main",
        MAIN,
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=50:min-keyint=50:scenecut=0:bframes=0:open-gop=0 -b:v 1800k",
    ),
    recipe(
        "h264_plain",
        ZOO,
        "-c:v libx264 -preset veryfast -g 50 -keyint_min 50 -sc_threshold 0 -bf 0 -b:v 600k",
    ),
    recipe(
        "h264_smart",
        Source::Scene { size: (640, 360), rate: 25, seconds: 24 },
        "-c:v libx264 -preset veryfast -g 300 -keyint_min 300 -sc_threshold 0 -bf 0 -crf 30",
    ),
    recipe(
        "h264_vfr",
        ZOO,
        "-vf select='lt(mod(n\\,100)\\,50)+not(mod(n\\,5))' -vsync vfr -enc_time_base 1/90000 -c:v libx264 -preset veryfast -g 50 -keyint_min 1 -sc_threshold 0 -bf 0 -b:v 500k",
    ),
    recipe(
        "h264_vbr",
        ZOO,
        "-vf noise=alls=14:allf=t:enable='gt(mod(t\\,6)\\,3)' -c:v libx264 -preset veryfast -g 50 -keyint_min 50 -sc_threshold 0 -bf 0 -crf 24",
    ),
    recipe(
        "h264_refresh",
        ZOO,
        "-c:v libx264 -preset veryfast -x264-params intra-refresh=1:keyint=50:bframes=0 -b:v 600k",
    ),
    recipe(
        "h264_open",
        ZOO,
        "-c:v libx264 -preset veryfast -x264-params open-gop=1:keyint=50:min-keyint=50:scenecut=0:bframes=2:b-adapt=0 -b:v 600k",
    ),
    recipe(
        "h264_b",
        ZOO,
        "-c:v libx264 -preset veryfast -g 50 -keyint_min 50 -sc_threshold 0 -bf 3 -x264-params b-adapt=0:b-pyramid=normal:open-gop=0 -b:v 600k",
    ),
    recipe(
        "h264_aud",
        ZOO,
        "-c:v libx264 -preset veryfast -g 50 -sc_threshold 0 -bf 0 -x264-params aud=1 -b:v 600k",
    ),
    recipe(
        "h264_slices",
        ZOO,
        "-c:v libx264 -preset veryfast -g 50 -sc_threshold 0 -bf 0 -x264-params slices=6 -b:v 600k",
    ),
    recipe("h264_intra", ZOO, "-c:v libx264 -preset veryfast -g 1 -crf 33"),
    recipe(
        "h264_huge",
        Source::Scene { size: (1920, 1080), rate: 5, seconds: 10 },
        "-vf noise=alls=100:allf=t:enable='not(mod(n\\,10))' -c:v libx264 -preset ultrafast -g 10 -keyint_min 10 -sc_threshold 0 -bf 0 -x264-params qpmax=30 -qp 22",
    ),
    recipe(
        "h264_cbr",
        ZOO,
        "-c:v libx264 -preset veryfast -g 50 -sc_threshold 0 -bf 0 -x264-params nal-hrd=cbr:filler=1 -b:v 2000k -minrate 2000k -maxrate 2000k -bufsize 1000k",
    ),
    recipe(
        "h264_baseline",
        ZOO,
        "-c:v libx264 -preset veryfast -profile:v baseline -g 50 -sc_threshold 0 -b:v 600k",
    ),
    recipe(
        "h264_crop",
        Source::Scene { size: (642, 358), rate: 25, seconds: 12 },
        "-c:v libx264 -preset veryfast -g 50 -sc_threshold 0 -bf 0 -b:v 600k",
    ),
    recipe(
        "h264_sar",
        Source::Scene { size: (704, 576), rate: 25, seconds: 12 },
        "-vf setsar=16/11 -c:v libx264 -preset veryfast -g 50 -sc_threshold 0 -bf 0 -b:v 800k",
    ),
    recipe(
        "h264_interlaced",
        ZOO,
        "-vf tinterlace=interleave_top -flags +ilme+ildct -c:v libx264 -preset veryfast -g 50 -sc_threshold 0 -bf 0 -b:v 600k",
    ),
    recipe(
        "h264_no_timing",
        ZOO,
        "-c:v libx264 -preset veryfast -g 50 -sc_threshold 0 -bf 0 -bsf:v h264_metadata=tick_rate=0 -x264-params force-cfr=0 -b:v 600k",
    ),
    recipe(
        "h264_5",
        at_rate(5),
        "-c:v libx264 -preset veryfast -g 10 -keyint_min 10 -sc_threshold 0 -bf 0 -b:v 200k",
    ),
    recipe(
        "h264_15",
        at_rate(15),
        "-c:v libx264 -preset veryfast -g 30 -keyint_min 30 -sc_threshold 0 -bf 0 -b:v 400k",
    ),
    recipe(
        "h264_30",
        at_rate(30),
        "-c:v libx264 -preset veryfast -g 60 -keyint_min 60 -sc_threshold 0 -bf 0 -b:v 700k",
    ),
    recipe(
        "h264_50",
        at_rate(50),
        "-c:v libx264 -preset veryfast -g 100 -keyint_min 100 -sc_threshold 0 -bf 0 -b:v 900k",
    ),
    recipe(
        "h265_plain",
        ZOO,
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=50:min-keyint=50:scenecut=0:bframes=0:open-gop=0 -b:v 400k",
    ),
    recipe(
        "h265_cra",
        ZOO,
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=50:min-keyint=50:scenecut=0:bframes=2:b-adapt=0:open-gop=1 -b:v 400k",
    ),
    recipe(
        "h265_b",
        ZOO,
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=50:min-keyint=50:scenecut=0:bframes=3:b-adapt=0:b-pyramid=1:open-gop=0 -b:v 400k",
    ),
    recipe(
        "h265_smart",
        Source::Scene { size: (640, 360), rate: 20, seconds: 24 },
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=240:min-keyint=240:scenecut=0:bframes=0:open-gop=0 -b:v 200k",
    ),
    recipe(
        "aac",
        Source::Tone("sine=frequency=440:beep_factor=4:sample_rate=48000:duration=12"),
        "-c:a aac -b:a 64k -ac 1",
    ),
    recipe(
        "aac_16k",
        Source::Tone("sine=frequency=440:beep_factor=4:sample_rate=16000:duration=12"),
        "-c:a aac -b:a 32k -ac 1",
    ),
    recipe(
        "opus",
        Source::Tone("sine=frequency=440:beep_factor=4:sample_rate=48000:duration=12"),
        "-c:a libopus -b:a 32k -ac 1",
    ),
];

/// The recipe of that name.
pub(crate) fn find(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

impl Recipe {
    /// The scene in the clip.
    pub(crate) fn scene(&self) -> Option<Scene> {
        match self.source {
            Source::Scene { rate, seconds, .. } => Some(Scene { seed: SEED, pictures: rate * seconds, rate }),
            Source::Tone(_) => None,
        }
    }

    fn file(&self, folder: &Path) -> PathBuf {
        let text = format!("{LOOK} {SEED} {self:?}");
        // FNV-1a.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        folder.join(format!("{}-{:08x}.mp4", self.name, hash >> 32))
    }

    /// The clip's file; encodes it if it is not there. Blocks.
    ///
    /// # Errors
    /// A folder that can't be written to, an ffmpeg that is missing or fails.
    pub(crate) fn ensure(&self, folder: &Path) -> Result<PathBuf, Error> {
        let path = self.file(folder);
        let _one_at_a_time = ENCODING.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            return Ok(path);
        }
        fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
        encode_to(&path, |partial| self.encode(partial))?;
        Ok(path)
    }

    fn encode(&self, target: &Path) -> Result<(), Error> {
        tracing::info!(clip = self.name, "encoding a clip of the generated scene");
        let mut command = ffmpeg();
        match self.source {
            Source::Scene { size: (width, height), rate, .. } => {
                command.args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-framerate", &rate.to_string()]);
                command.args(["-s", &format!("{width}x{height}"), "-i", "-"]);
            }
            Source::Tone(graph) => {
                command.args(["-f", "lavfi", "-i", graph]);
            }
        }
        // The quotes are for people and keep the filters' commas apart; no shell is involved.
        command.args(self.encode.split(' ').map(|word| word.replace('\'', "")));
        command
            .args(["-movflags", "+faststart", "-video_track_timescale", "90000", "-f", "mp4", "-y"])
            .arg(target);
        let mut child = spawn(&mut command)?;
        if let (Source::Scene { size, .. }, Some(scene)) = (self.source, self.scene())
            && let Some(mut input) = child.stdin.take()
        {
            let painter = Painter::new(scene, usize::from(size.0), usize::from(size.1));
            for number in 0..scene.pictures {
                let picture = painter.paint(number);
                let [blue, red] = &picture.chroma;
                // An encoder that is gone is reported below, with what it said.
                if [&picture.luma, blue, red].iter().try_for_each(|plane| input.write_all(plane)).is_err() {
                    break;
                }
            }
        }
        finish(child)
    }
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin"]);
    command
}

fn spawn(command: &mut Command) -> Result<Child, Error> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    piped.spawn().map_err(|error| Error::Ffmpeg(format!("it can't be started: {error}")))
}

fn finish(child: Child) -> Result<(), Error> {
    let output = child.wait_with_output().map_err(|error| Error::Ffmpeg(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Ffmpeg(said.lines().last().unwrap_or("it said nothing").to_owned()))
}

/// Writes a file under another name first, so that nobody ever sees half of it.
fn encode_to(path: &Path, encode: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let done = encode(&partial).and_then(|()| {
        fs::rename(&partial, path).map_err(|source| Error::File { path: path.to_owned(), source })
    });
    if done.is_err() {
        // What is left of a failure is of no use; it may never have been made.
        let _gone = fs::remove_file(&partial);
    }
    done
}

/// Half the size of any video, in the same coding: what a camera sends after its settings were changed. Blocks.
///
/// # Errors
/// As [`Recipe::ensure`].
pub(crate) fn half_size(video: &Path, codec: &str, folder: &Path) -> Result<PathBuf, Error> {
    let fail = |source: io::Error| Error::File { path: video.to_owned(), source };
    let (canonical, metadata) = (video.canonicalize().map_err(fail)?, video.metadata().map_err(fail)?);
    let key = format!("{LOOK} {} {} {:?}", canonical.display(), metadata.len(), metadata.modified().ok());
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let path = folder.join(format!("half-{hash:016x}.mp4"));
    let _one_at_a_time = ENCODING.lock().unwrap_or_else(PoisonError::into_inner);
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
    encode_to(&path, |partial| {
        let mut command = ffmpeg();
        command.arg("-i").arg(video).args(["-an", "-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2", "-c:v", codec]);
        command.args(["-preset", "ultrafast", "-g", "25", "-bf", "0", "-f", "mp4", "-y"]).arg(partial);
        let mut child = spawn(&mut command)?;
        drop(child.stdin.take());
        finish(child)
    })?;
    Ok(path)
}

/// Makes every clip that a folder does not have yet and tells one line for each. Blocks for a minute or two the first
/// time.
///
/// # Errors
/// As for one clip; an `out` that can't be written to.
pub fn make_media(folder: &Path, mut out: impl Write) -> Result<(), Error> {
    for recipe in RECIPES {
        let path = recipe.ensure(folder)?;
        writeln!(out, "{}", path.display()).map_err(Error::Output)?;
    }
    Ok(())
}
