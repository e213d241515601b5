//! What a camera's footage is, by the API, by the files and by what the test camera sent, and whether these agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use heldar_base::WallTime;
use serde_json::Value;

use super::media::{Clip, RATE, Ticks, decodes, has_picture, packets};
use super::server::{Place, Server};
use super::testcam::Sent;

/// A time of the API in microseconds of UTC.
#[track_caller]
pub(crate) fn micros(text: &str) -> i64 {
    WallTime::parse(text).unwrap_or_else(|_| panic!("`{text}` is a time")).0
}

/// Microseconds of UTC as the API takes them.
pub(crate) fn time(us: i64) -> String {
    WallTime(us).to_string()
}

/// A listed segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) start_us: i64,
    pub(crate) end_us: i64,
    pub(crate) open: bool,
    pub(crate) file: PathBuf,
    url: String,
}

/// A recorded picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    /// Its place in the endless row of pictures that the camera sends.
    pub(crate) serial: usize,
    pub(crate) at_us: i64,
}

/// Missing time, by the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub(crate) start_us: i64,
    pub(crate) end_us: i64,
    pub(crate) cause: String,
}

impl Hole {
    pub(crate) fn seconds(&self) -> f64 {
        (self.end_us - self.start_us) as f64 / 1e6
    }
}

/// All footage of a camera.
#[derive(Debug)]
pub(crate) struct Footage {
    pub(crate) camera: String,
    pub(crate) segments: Vec<Segment>,
}

impl Footage {
    /// Lists it. Segments neither overlap nor run backwards.
    #[track_caller]
    pub(crate) fn of(server: &Server, place: &Place, camera: &str) -> Footage {
        let mut segments: Vec<Segment> = Vec::new();
        // With a bound: oldest first.
        let all = format!("/api/v1/cameras/{camera}/segments?from=1970-01-01T00:00:00Z&limit=5000");
        let mut next = Some(String::new());
        while let Some(cursor) = next {
            let answer = server.ask(&format!("{all}{cursor}"));
            next = answer.header("x-next-cursor").map(|cursor| format!("&cursor={cursor}"));
            segments.extend(answer.ok().as_array().unwrap().iter().map(|row| segment(place, row)));
        }
        for segment in &segments {
            assert!(segment.start_us < segment.end_us, "{camera}: {segment:?}");
        }
        for pair in segments.windows(2) {
            assert!(pair[0].end_us <= pair[1].start_us, "{camera}: an overlap: {pair:#?}");
        }
        Footage { camera: camera.to_owned(), segments }
    }

    /// How rows and files differ, if they do. While the server records, a file is there a moment before it is listed.
    pub(crate) fn disagreement(&self, place: &Place) -> Option<String> {
        let on_disk: BTreeSet<PathBuf> =
            files_below(&place.recordings().join(&self.camera)).into_iter().collect();
        let listed: BTreeSet<PathBuf> = self.segments.iter().map(|segment| segment.file.clone()).collect();
        let phantoms: Vec<_> = listed.difference(&on_disk).collect();
        let orphans: Vec<_> = on_disk.difference(&listed).collect();
        let twice = self.segments.len() - listed.len();
        let same = phantoms.is_empty() && orphans.is_empty() && twice == 0;
        (!same).then(|| format!("{twice} rows twice, without a file {phantoms:?}, without a row {orphans:?}"))
    }

    /// Rows and files are the same, one for one; what was set aside holds no footage. How many files were set aside.
    #[track_caller]
    pub(crate) fn matches_disk(&self, place: &Place) -> usize {
        assert_eq!(self.disagreement(place), None, "{}", self.camera);
        let aside = files_below(&place.recordings().join(".set-aside").join(&self.camera));
        for file in &aside {
            // A first fragment that was cut off: an init segment, perhaps, and no whole fragment behind it.
            assert!(!has_picture(file), "{} was set aside and holds footage", file.display());
        }
        aside.len()
    }

    /// Every file is served and decodes without a complaint.
    #[track_caller]
    pub(crate) fn decodes(&self, server: &Server) {
        self.decodes_by(server, Ticks::Pictures);
    }

    /// The same with times counted in another way.
    #[track_caller]
    pub(crate) fn decodes_by(&self, server: &Server, ticks: Ticks) {
        for segment in &self.segments {
            let served = server.ask(&segment.url);
            assert_eq!(served.status, 200, "{}", segment.url);
            assert!(!served.body.is_empty());
            decodes(&segment.file, ticks);
        }
    }

    /// Its pictures in order. Each is one that the camera sent, at its time; where footage goes on, none is missing and none
    /// comes twice; where it begins anew, it does so with a sync sample.
    #[track_caller]
    pub(crate) fn pictures(&self, clip: &Clip, sent: &[Sent]) -> Vec<Picture> {
        let known = sent.first().expect("the camera has sent pictures");
        let mut pictures: Vec<Picture> = Vec::new();
        let mut goes_on = None;
        for segment in &self.segments {
            for (number, packet) in packets(&segment.file).iter().enumerate() {
                let place = segment.file.display();
                let at_us = segment.start_us + packet.at_us;
                let in_clip =
                    clip.place(packet).unwrap_or_else(|| panic!("{place}: picture {number} was never sent"));
                let serial = nearest(known, at_us, in_clip, clip.pictures).unwrap_or_else(|| {
                    panic!("{place}: picture {number} was not sent around {}", time(at_us))
                });
                if let Some(last) = pictures.last() {
                    let follows = number > 0 || goes_on == Some(segment.start_us);
                    let wrong = if follows { serial != last.serial + 1 } else { serial <= last.serial };
                    assert!(!wrong, "{place}: picture {number} is {serial} after {}", last.serial);
                }
                if number == 0 && goes_on != Some(segment.start_us) {
                    assert!(packet.sync, "{place} begins a run and not with a sync sample");
                }
                pictures.push(Picture { serial, at_us });
            }
            goes_on = Some(segment.end_us);
        }
        pictures
    }

    /// The ledger of a window: it adds up to the microsecond, and what it calls recorded is what is listed. What is missing.
    #[track_caller]
    pub(crate) fn ledger(&self, server: &Server, from_us: i64, to_us: i64) -> Vec<Hole> {
        let (camera, from, to) = (&self.camera, time(from_us), time(to_us));
        let ledger =
            server.get(&format!("/api/v1/cameras/{camera}/coverage?from={from}&to={to}&detail=true"));
        let whole = |value: &Value| (value.as_f64().unwrap() * 1e6).round() as i64;
        let missing: i64 = ledger["missing"].as_object().unwrap().values().map(whole).sum();
        let (recorded, off) = (whole(&ledger["recorded_seconds"]), whole(&ledger["not_wanted_seconds"]));
        assert_eq!(recorded + off + missing, to_us - from_us, "{ledger:#}");
        let mut at = from_us;
        let mut holes = Vec::new();
        let mut listed = 0;
        for interval in ledger["intervals"].as_array().unwrap() {
            let edge = |name: &str| micros(interval[name].as_str().unwrap());
            let (start_us, end_us) = (edge("start"), edge("end"));
            assert_eq!(start_us, at, "a hole or an overlap in {ledger:#}");
            at = end_us;
            match interval["kind"].as_str().unwrap() {
                "recorded" => listed += end_us - start_us,
                "missing" => {
                    let cause = interval["cause"].as_str().unwrap().to_owned();
                    holes.push(Hole { start_us, end_us, cause });
                }
                _ => {}
            }
        }
        assert_eq!((at, listed), (to_us, recorded), "{ledger:#}");
        let clipped = |segment: &Segment| (segment.end_us.min(to_us) - segment.start_us.max(from_us)).max(0);
        let in_files: i64 = self.segments.iter().map(clipped).sum();
        // A segment may hold holes of its own; none of the clips makes any.
        assert_eq!(in_files, recorded, "{ledger:#}");
        holes
    }
}

fn segment(place: &Place, row: &Value) -> Segment {
    let text = |name: &str| row[name].as_str().unwrap();
    Segment {
        start_us: micros(text("start_time")),
        end_us: micros(text("end_time")),
        open: row["open"] == true,
        file: place.recordings().join(text("path")),
        url: text("url").to_owned(),
    }
}

/// The picture of that place in the clip that was sent nearest to an instant; `None` when that is not near.
fn nearest(known: &Sent, at_us: i64, in_clip: usize, length: usize) -> Option<usize> {
    let (rate, length) = (RATE as i64, i64::try_from(length).ok()?);
    let expected = i64::try_from(known.serial).ok()? + (at_us - known.at_us) * rate / 1_000_000;
    let off = (i64::try_from(in_clip).ok()? - expected).rem_euclid(length);
    let off = if off > length / 2 { off - length } else { off };
    // On a busy machine a picture arrives late; by a quarter of the clip it does not.
    (off.abs() < length / 4).then(|| usize::try_from(expected + off).ok()).flatten()
}

pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
