//! Media playlists (RFC 8216) over recorded files.
//!
//! Owns: which byte ranges become which HLS segments, and the text. A segment is a sync sample and everything up to the
//! next one; a longer one is split every 10 s. Pure: an index of each file in, text out.

use std::fmt::Write as _;

use heldar_base::{Interval, Micros, WallTime};
use heldar_bmff::{FragmentIndex, VIDEO_TIMESCALE};

/// A group of pictures longer than this may be split.
const LONGEST: Micros = Micros::from_secs(10);
/// Time between files or fragments that is no gap: rounding and the jitter of capture times.
const SEAM: Micros = Micros::from_millis(200);

/// One recorded file as the playlist sees it.
#[derive(Clone, Debug)]
pub struct HlsItem {
    /// URL of the file, without query.
    pub url: String,
    /// Wall time of its media time 0.
    pub start: WallTime,
    /// End of what is on disk.
    pub end: WallTime,
    /// It is still being written.
    pub open: bool,
    /// Its fragments.
    pub index: FragmentIndex,
    /// Holes inside.
    pub holes: Vec<Interval>,
    /// What must not change without a discontinuity: codecs and size.
    pub codecs: String,
    /// The last HLS segment, when it is to be served cut.
    pub cut: Option<CutTail>,
}

/// The end of a session inside a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// First fragment of the HLS segment that is cut.
    pub first: usize,
    /// URL of the bytes.
    pub url: String,
    /// How many there are; `None` where they cannot be read. It is told as a range, because ffmpeg 5.1 asks for the range
    /// of the segment before where a segment has none.
    pub len: Option<u64>,
    /// Where it ends.
    pub end: WallTime,
}

/// What a playlist is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaylistWindow {
    /// Where the player begins.
    pub from: WallTime,
    /// Where the session ends.
    pub to: WallTime,
    /// Time zero of the session's decode times.
    pub origin: WallTime,
    /// All of it is there.
    pub complete: bool,
}

struct Line {
    wall: Interval,
    uri: String,
    range: Option<(u64, u64)>,
    sync: bool,
    file: usize,
    after_gap: bool,
}

/// The text of the playlist; `None` when nothing of the window is there.
pub fn playlist(window: PlaylistWindow, items: &[HlsItem]) -> Option<String> {
    let lines = lines(window, items);
    let first = lines.first()?;
    // RFC 8216 4.3.3.1 and 6.2.1: no segment, rounded to the nearest second, is longer, and the figure stays the same
    // while a playlist grows.
    let listed = lines.iter().map(|line| line.wall.len());
    let longest = if window.complete { listed.max().unwrap_or(LONGEST) } else { LONGEST };
    let mut text = String::with_capacity(256 + 160 * lines.len());
    let target = (longest.0 + 999_999) / 1_000_000;
    let kind = if window.complete { "VOD" } else { "EVENT" };
    let _infallible = write!(
        text,
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:{kind}\n",
        target.max(1)
    );
    if window.complete && lines.iter().all(|line| line.sync) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let offset = (window.from - first.wall.start).max(Micros::ZERO);
    let _infallible = writeln!(text, "#EXT-X-START:TIME-OFFSET={},PRECISE=YES", seconds(offset));
    let mut file = None;
    for line in &lines {
        let item = &items[line.file];
        if file != Some(line.file) {
            let changed = file.is_some_and(|f: usize| items[f].codecs != item.codecs);
            if file.is_some() && (changed || line.after_gap) {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let init = item.index.entries().first().map_or(0, |entry| entry.offset);
            let uri = based(item, window);
            let _infallible = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{init}@0\"");
            file = Some(line.file);
        } else if line.after_gap {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let _infallible = writeln!(
            text,
            "#EXT-X-PROGRAM-DATE-TIME:{}\n#EXTINF:{},",
            millisecond_time(line.wall.start),
            seconds(line.wall.len())
        );
        if let Some((offset, len)) = line.range {
            let _infallible = writeln!(text, "#EXT-X-BYTERANGE:{len}@{offset}");
        }
        text.push_str(&line.uri);
        text.push('\n');
    }
    if window.complete {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    Some(text)
}

fn lines(window: PlaylistWindow, items: &[HlsItem]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (file, item) in items.iter().enumerate() {
        let at = |ticks: u64| item.start + Micros::from_ticks(ticks.cast_signed(), VIDEO_TIMESCALE);
        for gop in item.index.gops() {
            let Some(entry) = item.index.entries().get(gop.start) else { continue };
            let gop_end = item.index.end_of(gop.end - 1).map_or(item.end, at);
            if gop_end <= window.from || at(entry.start_ticks) >= window.to {
                continue;
            }
            let mut parts = split(&item.index, gop.clone());
            if item.open && gop.end == item.index.entries().len() && !window.complete {
                // The newest part of an open file may still grow; what is listed never changes (RFC 8216 6.2.1).
                parts.pop();
            }
            for part in parts {
                let Some(bytes) = item.index.byte_range(part.clone()) else { continue };
                let Some(first) = item.index.entries().get(part.start) else { continue };
                let begin = at(first.start_ticks);
                let mut line = Line {
                    wall: Interval::new(begin, begin),
                    uri: String::new(),
                    range: None,
                    sync: first.sync,
                    file,
                    after_gap: false,
                };
                if let Some(cut) = item.cut.as_ref().filter(|cut| cut.first == part.start) {
                    line.wall.end = cut.end;
                    line.uri.clone_from(&cut.url);
                    line.range = cut.len.map(|len| (0, len));
                    push(&mut lines, line);
                    return lines;
                }
                let end = item.index.end_of(part.end - 1).map_or(item.end, at);
                let hole =
                    item.holes.iter().find(|hole| hole.end <= end && hole.start >= begin && hole.end == end);
                line.wall.end = hole.map_or(end, |hole| hole.start);
                line.uri = based(item, window);
                line.range = Some((bytes.start, bytes.end - bytes.start));
                push(&mut lines, line);
            }
        }
    }
    lines
}

/// The URL under which a file is part of the session.
fn based(item: &HlsItem, window: PlaylistWindow) -> String {
    let base = (item.start - window.origin).to_ticks(VIDEO_TIMESCALE).max(0);
    format!("{}?base={base}", item.url)
}

fn push(lines: &mut Vec<Line>, mut line: Line) {
    line.after_gap = lines.last().is_some_and(|last| line.wall.start - last.wall.end > SEAM);
    lines.push(line);
}

/// The HLS segments that a group of pictures is served as. Fragments that come later change none but the last.
pub fn split(index: &FragmentIndex, gop: std::ops::Range<usize>) -> Vec<std::ops::Range<usize>> {
    let entries = index.entries();
    let longest = LONGEST.to_ticks(VIDEO_TIMESCALE).cast_unsigned();
    let mut parts = Vec::new();
    let mut first = gop.start;
    for at in gop.start + 1..gop.end {
        let begin = entries.get(first).map_or(0, |e| e.start_ticks);
        let end = index.end_of(at).unwrap_or(u64::MAX);
        if end.saturating_sub(begin) > longest {
            parts.push(first..at);
            first = at;
        }
    }
    parts.push(first..gop.end);
    parts
}

fn seconds(length: Micros) -> String {
    format!("{}.{:06}", length.0 / 1_000_000, length.0 % 1_000_000)
}

/// ISO 8601 with milliseconds, as RFC 8216 4.3.2.6 recommends.
fn millisecond_time(at: WallTime) -> String {
    let (year, month, day, hour, minute, second) = at.civil();
    let millis = at.0.rem_euclid(1_000_000) / 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use heldar_bmff::IndexEntry;

    const T0: i64 = 1_700_000_000_000_000;

    fn item(start_s: i64, gops: &[(i64, usize)], codecs: &str) -> HlsItem {
        let mut index = FragmentIndex::new();
        let mut offset = 700;
        let mut at = 0;
        for (seconds, fragments) in gops {
            let step = seconds * 90_000 / *fragments as i64;
            for n in 0..*fragments {
                let entry = IndexEntry { offset, start_ticks: at as u64, sync: n == 0 };
                offset += 1000;
                at += step;
                index.push(entry, offset, at as u64).unwrap();
            }
        }
        let start = WallTime(T0 + start_s * 1_000_000);
        HlsItem {
            url: format!("/media/recordings/gate/{start_s}.mp4"),
            start,
            end: start + Micros::from_ticks(at, VIDEO_TIMESCALE),
            open: false,
            index,
            holes: Vec::new(),
            codecs: codecs.to_owned(),
            cut: None,
        }
    }

    fn window(from: i64, to: i64) -> PlaylistWindow {
        let origin = WallTime(T0);
        PlaylistWindow {
            from: WallTime(T0 + from * 1_000_000),
            to: WallTime(T0 + to * 1_000_000),
            origin,
            complete: true,
        }
    }

    fn tags(text: &str, tag: &str) -> Vec<String> {
        text.lines().filter_map(|l| l.strip_prefix(tag)).map(str::to_owned).collect()
    }

    #[test]
    fn a_window_inside_one_file() {
        let text = playlist(window(5, 9), &[item(0, &[(4, 4), (4, 4), (4, 4)], "a")]).unwrap();
        assert_eq!(tags(&text, "#EXTINF:"), ["4.000000,", "4.000000,"]);
        assert_eq!(tags(&text, "#EXT-X-BYTERANGE:"), ["4000@4700", "4000@8700"]);
        assert_eq!(tags(&text, "#EXT-X-START:TIME-OFFSET="), ["1.000000,PRECISE=YES"]);
        assert_eq!(
            tags(&text, "#EXT-X-MAP:"),
            ["URI=\"/media/recordings/gate/0.mp4?base=0\",BYTERANGE=\"700@0\""]
        );
        assert!(text.ends_with("#EXT-X-ENDLIST\n") && text.contains("0.mp4?base=0\n"));
    }

    #[test]
    fn files_of_a_run_join_and_gaps_and_codec_changes_are_discontinuities() {
        let files = [
            item(0, &[(4, 4)], "a"),
            item(4, &[(4, 4)], "a"),
            item(20, &[(4, 4)], "a"),
            item(24, &[(4, 4)], "b"),
        ];
        let text = playlist(window(0, 30), &files).unwrap();
        let marks: Vec<&str> = text
            .lines()
            .filter(|l| l.starts_with("#EXT-X-DISCONTINUITY") || l.starts_with("/media"))
            .collect();
        assert_eq!(
            marks,
            [
                "/media/recordings/gate/0.mp4?base=0",
                "/media/recordings/gate/4.mp4?base=360000",
                "#EXT-X-DISCONTINUITY",
                "/media/recordings/gate/20.mp4?base=1800000",
                "#EXT-X-DISCONTINUITY",
                "/media/recordings/gate/24.mp4?base=2160000",
            ]
        );
    }

    #[test]
    fn a_list_that_grows_keeps_what_it_has_said() {
        let growing = |seconds: i64, complete: bool| {
            let mut open = item(0, &[(3, 3), (seconds, seconds as usize)], "a");
            open.open = true;
            playlist(PlaylistWindow { complete, ..window(0, 27) }, &[open]).unwrap()
        };
        let early = growing(4, false);
        assert_eq!(tags(&early, "#EXTINF:"), ["3.000000,"]);
        let later = growing(23, false);
        assert_eq!(tags(&later, "#EXTINF:"), ["3.000000,", "10.000000,", "10.000000,"]);
        assert!(later.starts_with(&early), "{early}\n{later}");
        assert!(!later.contains("ENDLIST") && later.contains("TYPE:EVENT"));
        // Its end is that of what is there.
        let last = growing(24, true);
        assert_eq!(tags(&last, "#EXTINF:"), ["3.000000,", "10.000000,", "10.000000,", "4.000000,"]);
        assert!(last.ends_with("#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn a_session_ends_in_a_part_of_a_long_group() {
        let mut long = item(0, &[(3, 3), (24, 24)], "a");
        let first = split(&long.index, 3..27)[1].start;
        let end = WallTime(T0 + 15_500_000);
        long.cut =
            Some(CutTail { first, url: "/media/playback/x/seg_0_13.m4s".to_owned(), len: Some(9), end });
        let text = playlist(PlaylistWindow { to: end, ..window(0, 0) }, &[long]).unwrap();
        assert_eq!(tags(&text, "#EXTINF:"), ["3.000000,", "10.000000,", "2.500000,"]);
        assert!(text.contains("#EXT-X-BYTERANGE:9@0\n/media/playback/x/seg_0_13.m4s\n#EXT-X-ENDLIST"));
    }

    #[test]
    fn nothing_there_is_no_playlist() {
        assert_eq!(playlist(window(50, 60), &[item(0, &[(4, 4)], "a")]), None);
    }
}
