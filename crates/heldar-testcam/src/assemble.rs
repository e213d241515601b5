//! Puts cameras together from options: clips, profiles, faults, phases.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use heldar_base::Micros;
use heldar_rtsp::server::{Account, Challenger, Format};

use crate::audio::{self, Law};
use crate::clip::{self, ClipTrack};
use crate::fault::{Control, FaultSpec};
use crate::feed::{Feed, FeedParts, lock};
use crate::host::Camera;
use crate::media;
use crate::profile::{Audio, Profile, Setup};
use crate::scene::Scene;
use crate::{Error, Options};

/// Share of the loop that each camera is ahead of the one before: the golden ratio spreads any number of them evenly.
const PHASE_SHARE: f64 = 0.618_033_988_749_895;
/// Sent pictures that all main streams together remember, 24 bytes each; one remembers at most a 32nd of it, 40 minutes
/// at 25 per second.
const MAX_HISTORY: usize = 2_000_000;
/// Sent pictures that a stream remembers at least.
const MIN_HISTORY: usize = 4000;
/// Main and sub stream of an ordinary camera.
const MAIN_RECIPE: &str = "h264_main";
const SUB_RECIPE: &str = "h264_sub";

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Recipe(&'static str),
    File(PathBuf),
}

/// Reads each clip once.
pub(crate) struct Library {
    media_dir: PathBuf,
    clips: Mutex<HashMap<Origin, Vec<Arc<ClipTrack>>>>,
}

impl Library {
    pub(crate) fn new(media_dir: PathBuf) -> Self {
        Library { media_dir, clips: Mutex::default() }
    }

    /// Blocks, for the time of an encoding if need be.
    fn clip(&self, origin: &Origin) -> Result<Vec<Arc<ClipTrack>>, Error> {
        let mut clips = lock(&self.clips);
        if let Some(clip) = clips.get(origin) {
            return Ok(clip.clone());
        }
        let clip = match origin {
            Origin::File(path) => clip::read(path, None)?,
            Origin::Recipe(name) => {
                let recipe = media::find(name).ok_or_else(|| Error::Option(format!("no clip `{name}`")))?;
                clip::read(&recipe.ensure(&self.media_dir)?, recipe.scene())?
            }
        };
        clips.insert(origin.clone(), clip.clone());
        Ok(clip)
    }

    /// Pictures of another size for a feed, coded alike: the file at half its size, or another clip of the scene. Blocks.
    pub(crate) fn alternate(
        &self,
        video: Option<&PathBuf>,
        current: &ClipTrack,
    ) -> Result<Arc<ClipTrack>, Error> {
        let is_h265 = matches!(current.format(), Format::H265(_));
        let origin = match video {
            Some(video) => {
                let codec = if is_h265 { "libx265" } else { "libx264" };
                Origin::File(media::half_size(video, codec, &self.media_dir)?)
            }
            None if is_h265 && current.track.size == (640, 360) => Origin::Recipe("h265_main"),
            None if is_h265 => Origin::Recipe("h265_plain"),
            None => Origin::Recipe("h264_alt"),
        };
        let clip = self.clip(&origin)?;
        let video = clip.into_iter().find(|track| track.format().is_video());
        video.ok_or_else(|| Error::Option("the other clip has no pictures".to_owned()))
    }
}

/// Puts all cameras together. Blocks.
pub(crate) fn cameras(options: &Options, library: &Library) -> Result<Vec<Arc<Camera>>, Error> {
    let now = Instant::now();
    let mut cameras = Vec::new();
    for number in 1..=options.cameras {
        let profile = match options.profiles.len() {
            0 => None,
            count => options.profiles.get((number as usize - 1) % count).copied(),
        };
        let control = Arc::new(Control::default());
        let faults = options.faults.iter().filter(|(camera, _)| camera.is_none_or(|camera| camera == number));
        faults.for_each(|(_, spec)| control.add(*spec, now));
        cameras.push(Arc::new(camera(options, library, number, profile, control, now)?));
    }
    Ok(cameras)
}

fn camera(
    options: &Options,
    library: &Library,
    number: u32,
    profile: Option<&'static Profile>,
    control: Arc<Control>,
    now: Instant,
) -> Result<Camera, Error> {
    let mut setup = Setup::default();
    if let Some(profile) = profile {
        (profile.apply)(&mut setup);
    }
    for fault in setup.faults {
        let spec = FaultSpec::parse(fault).map_err(|error| Error::Option(error.to_string()))?;
        control.add(spec, now);
    }
    let name = format!("cam{number}");
    let share = (f64::from(number - 1) * PHASE_SHARE).fract();
    let mut feeds = Vec::new();
    for (suffix, origin) in origins(options, &setup) {
        let mut tracks = library.clip(&origin)?;
        let length = tracks.first().map_or(Micros::ZERO, |track| track.length());
        if suffix.is_empty() {
            add_tracks(&mut tracks, &setup, library, &origin)?;
        }
        let feed = Mutex::new(Feed::new(FeedParts {
            path: format!("{name}{suffix}"),
            tracks,
            manners: setup.manners.clone(),
            tricks: setup.tricks.clone(),
            control: Arc::clone(&control),
            phase: Micros((length.0 as f64 * share) as i64),
            history: (MAX_HISTORY / options.cameras as usize).clamp(MIN_HISTORY, MAX_HISTORY / 32),
        }));
        if control.may_change_parameters() {
            add_alternate(&feed, options.video.as_ref(), library)?;
        }
        feeds.push(Arc::new(feed));
    }
    let fallback = || Account { user: "admin".to_owned(), password: "testcam".to_owned().into() };
    Ok(Camera {
        name,
        profile: profile.map(|profile| profile.name),
        control,
        feeds,
        account: options.account.clone().or_else(|| setup.wants_account.then(fallback)),
        challenger: Challenger::new("testcam", setup.schemes, setup.nonce_lifetime),
    })
}

/// Gives a feed pictures to change to, unless it has them. Blocks; others can use the feed meanwhile.
pub(crate) fn add_alternate(
    feed: &Mutex<Feed>,
    video: Option<&PathBuf>,
    library: &Library,
) -> Result<(), Error> {
    let current = {
        let feed = lock(feed);
        feed.video().cloned().filter(|_| !feed.has_alternate())
    };
    if let Some(current) = current {
        // A clip of the scene stays one, whatever file other cameras show.
        let alternate = library.alternate(video.filter(|_| current.scene.is_none()), &current)?;
        lock(feed).set_alternate(alternate);
    }
    Ok(())
}

/// Suffix of the path and origin of the pictures of each stream of a camera.
fn origins(options: &Options, setup: &Setup) -> Vec<(&'static str, Origin)> {
    let about_coding = setup.video.filter(|&recipe| recipe != "h264_plain");
    match (about_coding, &options.video, setup.video) {
        (Some(recipe), _, _) | (None, None, Some(recipe)) => vec![("", Origin::Recipe(recipe))],
        (None, Some(video), _) => {
            let sub = options.sub_video.iter().map(|sub| ("_sub", Origin::File(sub.clone())));
            std::iter::once(("", Origin::File(video.clone()))).chain(sub).collect()
        }
        (None, None, None) => {
            vec![("", Origin::Recipe(MAIN_RECIPE)), ("_sub", Origin::Recipe(SUB_RECIPE))]
        }
    }
}

/// Adds the tracks beside the pictures. A file's own sound makes way for that of a profile; ordinary cameras have sound.
fn add_tracks(
    tracks: &mut Vec<Arc<ClipTrack>>,
    setup: &Setup,
    library: &Library,
    origin: &Origin,
) -> Result<(), Error> {
    let made = |track| vec![Arc::new(ClipTrack::new(track, None))];
    let sound = match setup.audio {
        Audio::None if *origin == Origin::Recipe(MAIN_RECIPE) => library.clip(&Origin::Recipe("aac"))?,
        Audio::None => Vec::new(),
        Audio::Recipe(name) => library.clip(&Origin::Recipe(name))?,
        Audio::Pcmu => made(audio::g711(Law::Mu)),
        Audio::Pcma => made(audio::g711(Law::A)),
        Audio::G726 => made(audio::g726()),
    };
    if !sound.is_empty() {
        tracks.retain(|track| track.format().is_video());
        tracks.extend(sound);
    }
    if setup.metadata {
        let scene = tracks.iter().find_map(|track| track.scene);
        let scene = scene.unwrap_or(Scene { seed: 1, pictures: 300, rate: 25 });
        tracks.extend(made(audio::metadata(scene)));
    }
    Ok(())
}
