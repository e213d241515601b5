//! Windows over footage that is written down sample by sample.

use heldar_base::{Interval, Micros, WallTime};
use heldar_bmff::*;

use crate::{
    progressive,
    world::{BASE, audio_params, video_params},
};

const VIDEO: u8 = b'v';
const AUDIO: u8 = b'a';

/// A file of one fragment: pictures of 40 ms each (sync flag) from media time `video_start` on, in ticks, and sound from
/// `audio_start` on, in ticks, with so many frames. Payload is `tag` and the number in the file.
struct Scripted {
    tag: u8,
    video_start: u64,
    sync: &'static [bool],
    audio_start: u64,
    frames: usize,
}

fn written(file: &Scripted) -> (Vec<u8>, SampleTable) {
    let init = InitSegment::new(&video_params(), Some(&audio_params())).unwrap();
    let sample = |duration, sync| SampleMeta { size: 3, duration, composition_offset: 0, sync };
    let video: Vec<_> = file.sync.iter().map(|&sync| sample(3_600, sync)).collect();
    let audio = vec![sample(1_024, true); file.frames];
    let mut runs = vec![TrackRun { track_id: 1, base_decode_time: file.video_start, samples: &video }];
    if !audio.is_empty() {
        runs.push(TrackRun { track_id: 2, base_decode_time: file.audio_start, samples: &audio });
    }
    let header = FragmentHeader::new(1, &runs).unwrap();
    let mut builder = TableBuilder::new(init.tracks());
    let mut bytes = init.bytes().to_vec();
    builder.push(bytes.len() as u64, &header, &runs).unwrap();
    bytes.extend_from_slice(&header.bytes);
    for (kind, count) in [(VIDEO, video.len()), (AUDIO, audio.len())] {
        (0..count).for_each(|number| bytes.extend([kind, file.tag, number as u8]));
    }
    (bytes, builder.table().unwrap())
}

/// Milliseconds after `BASE`, for the start of a file, and its window; how it follows the one before.
type Asked = (i64, (i64, i64), Join);

fn ms(at: i64) -> WallTime {
    BASE + Micros::from_millis(at)
}

fn planned(files: &[Scripted], asked: &[Asked]) -> Result<(VirtualFile, progressive::Movie), Error> {
    let exact = |(start, (from, to), join): &Asked| (ms(*start), Interval::new(ms(*from), ms(*to)), *join);
    planned_in(files, &asked.iter().map(exact).collect::<Vec<_>>())
}

/// The same with exact times.
fn planned_in(
    files: &[Scripted],
    asked: &[(WallTime, Interval, Join)],
) -> Result<(VirtualFile, progressive::Movie), Error> {
    let written: Vec<_> = files.iter().map(written).collect();
    let parts: Vec<_> = written
        .iter()
        .zip(asked)
        .zip(0..)
        .map(|(((_, table), &(wall_start, window, join)), file)| Part {
            file,
            table,
            wall_start,
            window,
            join,
        })
        .collect();
    let file = VirtualFile::plan(&parts)?;
    let mut bytes = Vec::new();
    for source in file.sources(0..u64::MAX) {
        match source {
            Source::Header(header) => bytes.extend_from_slice(&header),
            Source::File(r) => {
                bytes.extend_from_slice(
                    &written[r.file as usize].0[r.offset as usize..(r.offset + r.len) as usize],
                );
            }
        }
    }
    let movie = progressive::read(&bytes);
    Ok((file, movie))
}

/// Payload without its kind, of the samples of a track.
fn carried(movie: &progressive::Movie, kind: u8) -> Vec<(u8, u8)> {
    let samples = movie.tracks.iter().flat_map(|t| &t.samples);
    samples.filter(|s| s.data[0] == kind).map(|s| (s.data[1], s.data[2])).collect()
}

/// Sound that reaches past the pictures of its file, or starts before them, is part of the run.
#[test]
fn sound_runs_on_across_files() {
    let pictures: &[bool] = &[true, false, false, false, false];
    // The first file has 200 ms of pictures. Its sound ends at 192, 213 or 256 ms; the sound of the second continues it,
    // before or after its first picture, which is shown at 60 ms of its media time.
    for (first, second_start) in [(9, 2_496), (10, 3_520), (12, 5_568)] {
        let files = [
            Scripted { tag: 0, video_start: 0, sync: pictures, audio_start: 0, frames: first },
            Scripted { tag: 1, video_start: 5_400, sync: pictures, audio_start: second_start, frames: 11 },
        ];
        let asked = [(0, (0, 400), Join::Fresh), (140, (0, 400), Join::Continues)];
        let (_, movie) = planned(&files, &asked).unwrap();
        let frames = carried(&movie, AUDIO);
        let second = frames.iter().filter(|(tag, _)| *tag == 1).count();
        assert_eq!(frames.len() - second, first);
        let sound = &movie.tracks[1].samples;
        assert!(sound[..sound.len() - 1].iter().all(|s| s.duration == 1_024), "{sound:?}");
        assert_eq!(sound.iter().map(|s| s.duration).sum::<i64>(), 400 * 48);

        // Behind a hole it is cut with the pictures: nothing of the other side is heard.
        let asked = [(0, (0, 400), Join::Fresh), (5_140, (5_000, 5_400), Join::Continues)];
        let (_, movie) = planned(&files, &asked).unwrap();
        let frames = carried(&movie, AUDIO);
        let start = |tag: u64, number: u8| tag * second_start + u64::from(number) * 1_024;
        assert!(frames.iter().all(|&(tag, number)| if tag == 0 {
            start(0, number) < 9_600
        } else {
            start(1, number) >= 2_880
        }));
    }
}

/// A picture that comes within the tick in which the window ends is shown, and the end holds all the same.
#[test]
fn last_tick() {
    let files = [Scripted { tag: 0, video_start: 0, sync: &[true, false, false], audio_start: 0, frames: 0 }];
    let check = |from_us: i64, to_us: i64, ticks: u64, pictures: usize| {
        let window = Interval::new(BASE + Micros(from_us), BASE + Micros(to_us));
        let (file, movie) = planned_in(&files, &[(BASE, window, Join::Fresh)]).unwrap();
        assert_eq!(
            (file.media_ticks(), carried(&movie, VIDEO).len()),
            (ticks, pictures),
            "{from_us} {to_us}"
        );
        let covered = file.covered();
        assert!(covered[0].start >= window.start && covered[covered.len() - 1].end <= window.end);
    };
    // 3,600 ticks are 40 ms; a tick is 11.1 us.
    check(0, 40_000, 3_600, 1);
    check(0, 40_001, 3_600, 2);
    check(39_999, 40_001, 2, 2);
    check(40_000, 40_001, 1, 2);
}

/// Files without a sync sample are decoded from that of a file before them, which need not show anything.
#[test]
fn files_that_depend_on_others() {
    let with: &[bool] = &[false, true, false];
    let without: &[bool] = &[false, false, false];
    let file = |tag, sync| Scripted { tag, video_start: 0, sync, audio_start: 0, frames: 0 };
    let files = [file(0, with), file(1, without), file(2, without)];
    let asked = |joins: [Join; 3]| {
        let windows = [(0, 0), (0, 0), (290, 400)];
        std::array::from_fn::<Asked, 3, _>(|i| (120 * i as i64, windows[i], joins[i]))
    };
    use Join::{Continues, Fresh};
    let (file, movie) = planned(&files, &asked([Fresh, Continues, Continues])).unwrap();
    let from_the_sync_sample = [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)];
    assert_eq!(carried(&movie, VIDEO), from_the_sync_sample);
    // 290 to 360 ms, after six pictures of 40 ms.
    assert_eq!((file.media_ticks(), file.lead_in_ticks()), (6_300, 6 * 3_600));

    for joins in [[Fresh, Fresh, Continues], [Fresh, Continues, Fresh]] {
        assert!(matches!(planned(&files, &asked(joins)), Err(Error::NoPictures)));
    }
}

/// Whether the file before is needed can be asked before it is read.
#[test]
fn need_of_a_predecessor() {
    let (_, table) =
        written(&Scripted { tag: 0, video_start: 0, sync: &[false, false, true], audio_start: 0, frames: 0 });
    for (from, decodable) in [(-10, false), (0, false), (79, false), (80, true), (119, true), (120, true)] {
        assert_eq!(starts_decodable(&table, BASE, ms(from)), decodable, "{from}");
    }
}

/// Windows of one file must be in order.
#[test]
fn order_of_parts() {
    let (_, table) =
        written(&Scripted { tag: 0, video_start: 0, sync: &[true, false], audio_start: 0, frames: 0 });
    let part = |from, to| {
        let window = Interval::new(ms(from), ms(to));
        Part { file: 0, table: &table, wall_start: BASE, window, join: Join::Fresh }
    };
    assert!(VirtualFile::plan(&[part(0, 30), part(30, 60)]).is_ok());
    assert!(matches!(VirtualFile::plan(&[part(0, 31), part(30, 60)]), Err(Error::Order)));
    assert!(matches!(VirtualFile::plan(&[part(40, 50), part(0, 30)]), Err(Error::Order)));
    assert!(matches!(VirtualFile::plan(&[]), Err(Error::NoPictures)));
}
