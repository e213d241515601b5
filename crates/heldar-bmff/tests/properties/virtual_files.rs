//! Windows of the virtual file against a model that looks at one picture after the other.

use std::collections::BTreeSet;

use heldar_base::{Interval, Micros, WallTime};
use heldar_bmff::*;
use heldar_media::VideoCodec;
use proptest::prelude::*;

use crate::{
    progressive::{self, Movie, Track},
    world::{BASE, Dice, File, Picture, footage},
};

/// What is asked for: which files, and in each of them these windows.
struct Request {
    files: Vec<File>,
    windows: Vec<Interval>,
}

impl Request {
    fn new(seed: u64, groups: u64) -> Self {
        let mut files = footage(seed, groups);
        let mut dice = Dice::new(!seed);
        if files.len() > 1 && dice.once_in(3) {
            files.remove(0);
        }
        let last = files.iter().flat_map(|f| &f.pictures).map(|p| p.end).max().unwrap();
        let mut instants: Vec<_> = (0..4).map(|_| instant(&mut dice, &files, last)).collect();
        instants.sort();
        let windows = if dice.once_in(3) {
            vec![Interval::new(instants[0], instants[1]), Interval::new(instants[2], instants[3])]
        } else {
            vec![Interval::new(instants[0], instants[3])]
        };
        Request { files, windows }
    }

    fn plan(&self) -> Result<VirtualFile, Error> {
        let tables: Vec<_> = self.files.iter().map(File::table).collect();
        let mut parts = Vec::new();
        for ((file, table), number) in self.files.iter().zip(&tables).zip(0..) {
            let join = if file.continues { Join::Continues } else { Join::Fresh };
            for window in &self.windows {
                parts.push(Part { file: number, table, wall_start: file.wall_start, window: *window, join });
            }
        }
        VirtualFile::plan(&parts)
    }

    /// The pictures that should be shown, in order of presentation.
    fn shown(&self) -> Vec<&Picture> {
        let mut shown = Vec::new();
        let mut from = 0;
        for (at, file) in self.files.iter().enumerate() {
            // What a picture needs must be in this file or, when decoding goes on from it, in one before.
            if at == 0 || !file.continues {
                from = file.pictures[0].number;
            }
            let touches = |p: &&Picture| self.windows.iter().any(|w| touches(w, p));
            shown.extend(file.pictures.iter().filter(|p| p.needs >= from).filter(touches));
        }
        shown.sort_by_key(|p| p.rank);
        shown
    }
}

fn touches(window: &Interval, picture: &Picture) -> bool {
    !window.is_empty() && picture.start < window.end && picture.end > window.start
}

/// How long a picture should be shown.
fn length(request: &Request, picture: &Picture) -> Micros {
    let shown = Interval::new(picture.start, picture.end);
    request.windows.iter().filter_map(|w| w.intersect(&shown)).map(|i| i.len()).sum()
}

/// Anywhere, or at or right beside a picture's edge.
fn instant(dice: &mut Dice, files: &[File], last: WallTime) -> WallTime {
    if dice.once_in(2) {
        let span = (last - BASE).0 + 200_000;
        return BASE - Micros(100_000) + Micros(dice.below(span as u64) as i64);
    }
    let file = &files[dice.below(files.len() as u64) as usize];
    let picture = &file.pictures[dice.below(file.pictures.len() as u64) as usize];
    picture.start + Micros(dice.below(5) as i64 - 2)
}

fn assemble(file: &VirtualFile, range: std::ops::Range<u64>, files: &[File]) -> Vec<u8> {
    let mut out = Vec::new();
    for source in file.sources(range) {
        match source {
            Source::Header(bytes) => out.extend_from_slice(&bytes),
            Source::File(r) => {
                out.extend_from_slice(
                    &files[r.file as usize].bytes[r.offset as usize..(r.offset + r.len) as usize],
                );
            }
        }
    }
    out
}

/// 1/90000 s as microseconds, with the error of a tick or two.
fn near(ticks: i64, expected: Micros, ticks_off: i64) -> bool {
    (Micros::from_ticks(ticks, 90_000) - expected).abs().0 <= 12 * ticks_off + 2
}

fn check_video(request: &Request, file: &VirtualFile, movie: &Movie) -> Result<(), TestCaseError> {
    let track = &movie.tracks[0];
    prop_assert_eq!((track.handler, track.timescale), (*b"vide", 90_000));
    let shown = request.shown();

    // Carried: all from the sync sample that the first picture of a window needs to the last one in decoding order.
    let mut carried = BTreeSet::new();
    for (window, recorded) in request.windows.iter().flat_map(|w| request.files.iter().map(move |f| (w, f))) {
        let here =
            |p: &&&Picture| touches(window, p) && recorded.pictures.iter().any(|q| q.number == p.number);
        let here: Vec<_> = shown.iter().filter(here).collect();
        if let (Some(first), Some(last)) =
            (here.iter().map(|p| p.needs).min(), here.iter().map(|p| p.number).max())
        {
            carried.extend(first..=last);
        }
    }
    for file in request.files.iter().filter(|f| f.codec == VideoCodec::H265) {
        leave_out_leading(file, &shown, &mut carried);
    }
    let all: Vec<&Picture> = request.files.iter().flat_map(|f| &f.pictures).collect();
    let expected: Vec<_> = all.iter().filter(|p| carried.contains(&p.number)).map(|p| &p.data).collect();
    prop_assert_eq!(track.samples.iter().map(|s| &s.data).collect::<Vec<_>>(), expected);
    prop_assert!(track.samples[0].sync);

    // Shown: what lies in an edit lies in it entirely.
    let mut seen = Vec::new();
    let mut edit_start = 0;
    for &(duration, media_time) in &track.edits {
        let inside =
            |s: &&progressive::Sample| s.shown < media_time + duration && s.shown + s.duration > media_time;
        for sample in track.samples.iter().filter(inside) {
            prop_assert!(
                sample.shown >= media_time && sample.shown + sample.duration <= media_time + duration
            );
            seen.push((edit_start + sample.shown - media_time, sample));
        }
        edit_start += duration;
    }
    seen.sort_by_key(|(at, _)| *at);
    prop_assert_eq!(
        seen.iter().map(|(_, s)| &s.data).collect::<Vec<_>>(),
        shown.iter().map(|p| &p.data).collect::<Vec<_>>()
    );

    let (mut at, mut expected_at) = (0, Micros::ZERO);
    // Each edge of a piece may be rounded by a tick, each very short picture stretched to one.
    let mut ticks_off = 2;
    for ((start, sample), picture) in seen.iter().zip(&shown) {
        prop_assert_eq!(*start, at);
        prop_assert!(near(at, expected_at, ticks_off), "{} {:?}", at, expected_at);
        at += sample.duration;
        let length = length(request, picture);
        expected_at += length;
        ticks_off += if length.0 < (picture.end - picture.start).0 || length.0 < 60 { 2 } else { 1 };
    }
    prop_assert_eq!(at, movie.duration);
    prop_assert_eq!(at as u64, file.media_ticks());
    Ok(())
}

/// Pictures that follow a sync sample at which decoding starts anew, and would be shown before it, are of no use.
fn leave_out_leading(file: &File, shown: &[&Picture], carried: &mut BTreeSet<usize>) {
    let before = carried.clone();
    for sync in file.pictures.iter().filter(|p| p.needs == p.number && before.contains(&p.number)) {
        let starts_anew = sync.number == file.pictures[0].number || !before.contains(&(sync.number - 1));
        let leading: Vec<_> =
            file.pictures.iter().filter(|p| p.number > sync.number && p.rank < sync.rank).collect();
        if starts_anew && !leading.iter().any(|p| shown.iter().any(|s| s.number == p.number)) {
            leading.iter().for_each(|p| _ = carried.remove(&p.number));
        }
    }
}

fn check_map(request: &Request, file: &VirtualFile) -> Result<(), TestCaseError> {
    let parts = file.parts();
    prop_assert_eq!(parts[0].media_start_ticks, 0);
    for (at, part) in parts.iter().enumerate() {
        let end = parts.get(at + 1).map_or(file.media_ticks(), |next| next.media_start_ticks);
        let ticks = end as i64 - part.media_start_ticks as i64;
        prop_assert!(ticks > 0 && near(ticks, part.wall.len(), 2), "{:?} {}", part, ticks);
        let window = request.windows[part.part % request.windows.len()];
        prop_assert!(part.wall.start >= window.start && part.wall.end <= window.end);
        let codec_string = match request.files[0].codec {
            VideoCodec::H264 => "avc1.42c00b",
            VideoCodec::H265 => "hvc1.1.6.L30.90",
        };
        prop_assert_eq!(part.codec_string.as_str(), codec_string);
    }
    // Unless pictures are shorter than a tick, what is shown is no longer than what was asked for.
    let covered: Micros = file.covered().iter().map(Interval::len).sum();
    prop_assert!(covered <= request.windows.iter().map(Interval::len).sum());
    Ok(())
}

fn check_audio(request: &Request, file: &VirtualFile, track: &Track) -> Result<(), TestCaseError> {
    prop_assert_eq!((track.handler, track.timescale), (*b"soun", 48_000));
    let (late, media_time) = match track.edits[..] {
        [(late, -1), (_, media_time)] => (late, media_time),
        [(_, media_time)] => (0, media_time),
        _ => return Err(TestCaseError::fail("more than one edit")),
    };
    let parts = file.parts();
    let frames: Vec<_> = request.files.iter().flat_map(|f| &f.frames).collect();
    let mut carried = BTreeSet::new();
    for sample in &track.samples {
        let Some(frame) = frames.iter().find(|f| f.data == sample.data) else {
            return Err(TestCaseError::fail("not a frame"));
        };
        carried.insert(frame.data.clone());
        // Where it sounds, and where the pictures of its time are shown.
        let heard = Micros::from_ticks(sample.shown - media_time, 48_000) + Micros::from_ticks(late, 90_000);
        let in_sync = parts.iter().any(|part| {
            let expected =
                Micros::from_ticks(part.media_start_ticks as i64, 90_000) + (frame.start - part.wall.start);
            (heard - expected).abs().0 <= 80
        });
        prop_assert!(in_sync, "{:?} at {:?}: {:?}", frame.start, heard, parts);
    }
    // Nothing is missing but what overlaps the end of the piece before.
    for part in parts {
        let safe = Interval::new(part.wall.start + Micros(45_000), part.wall.end - Micros(60));
        for frame in frames.iter().filter(|f| safe.contains(f.start)) {
            let here = request.files.iter().any(|f| {
                f.pictures.iter().any(|p| p.start < part.wall.end && p.end > part.wall.start)
                    && f.frames.iter().any(|x| x.data == frame.data)
            });
            prop_assert!(!here || carried.contains(&frame.data), "{:?} missing in {:?}", frame.start, parts);
        }
    }
    let end = track.samples.iter().map(|s| s.duration).sum::<i64>() - media_time + late * 48 / 90;
    prop_assert!(end <= file.media_ticks() as i64 * 48 / 90 + 1);
    Ok(())
}

proptest! {
    #[test]
    fn any_window(seed: u64, groups in 1..7u64) {
        let request = Request::new(seed, groups);
        let file = match request.plan() {
            Err(Error::NoPictures) => {
                prop_assert!(request.shown().is_empty());
                return Ok(());
            }
            planned => planned.unwrap(),
        };
        let bytes = assemble(&file, 0..u64::MAX, &request.files);
        prop_assert_eq!(bytes.len() as u64, file.total_len());
        prop_assert_eq!(&request.plan().unwrap(), &file);
        let movie = progressive::read(&bytes);
        check_video(&request, &file, &movie)?;
        check_map(&request, &file)?;
        if let Some(track) = movie.tracks.get(1) {
            check_audio(&request, &file, track)?;
        }
    }

    #[test]
    fn two_ranges_are_the_whole(seed: u64, a: prop::sample::Index, b: prop::sample::Index) {
        let request = Request::new(seed, 3);
        let Ok(file) = request.plan() else { return Ok(()) };
        let whole = assemble(&file, 0..file.total_len(), &request.files);
        let mut cuts = [a, b].map(|cut| cut.index(whole.len() + 1) as u64);
        cuts.sort_unstable();
        let [low, high] = cuts;
        let mut pieces = assemble(&file, 0..low, &request.files);
        pieces.extend(assemble(&file, low..high, &request.files));
        pieces.extend(assemble(&file, high..u64::MAX, &request.files));
        prop_assert!(pieces == whole);
        prop_assert_eq!(assemble(&file, low..high, &request.files), &whole[low as usize..high as usize]);
    }
}
