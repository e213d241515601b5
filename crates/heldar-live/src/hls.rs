//! The live playlist of a stream and what it lists (RFC 8216 and its second edition, "LL-HLS").
//!
//! Owns: which fragments make a part and which parts a segment, their numbers, what is listed and how long it can be
//! fetched. Contract: `push` in order; nothing that was listed once is changed, moved or renumbered. A segment begins with a
//! sync sample unless pictures come for longer than [`LONGEST`] without one; a part is as many pictures as the target
//! says. Never: a clock, a task, a URL but relative ones.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{Micros, WallTime};

use crate::mux::{Fragment, Init};

/// `EXT-X-TARGETDURATION`, fixed: a longer segment is cut, and players wait by it.
pub const TARGET_DURATION: Micros = Micros::from_secs(6);
/// A segment is cut here even without a sync sample.
const LONGEST: Micros = TARGET_DURATION;
/// Shorter segments are not ended at a sync sample: each costs a player a request.
const SHORTEST: Micros = Micros::from_millis(1500);
/// Parts last at least this long.
const PART_AT_LEAST: Micros = Micros::from_millis(200);
/// Parts are announced to last at most this long.
const PART_AT_MOST: Micros = Micros::from_millis(500);
/// What a playlist lists of the past: four target durations.
const LISTED: Micros = Micros::from_secs(24);
/// What can still be fetched after it was listed last (RFC 8216 6.2.2).
const KEPT: Micros = Micros::from_secs(36);
/// A camera that sends no picture for so long has paused.
const PAUSE: Micros = Micros::from_secs(2);
/// So many intervals are looked at before the length of parts is announced.
const INTERVALS: usize = 5;
/// Parts are listed for so long (second edition, 6.2.2).
const PARTS_LISTED: Micros = Micros::from_secs(18);

/// The newest of what there is: a segment that is being made, and how many of its parts are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Number of the segment that is being made.
    pub segment: u64,
    /// Its complete parts.
    pub parts: usize,
}

#[derive(Debug)]
struct Part {
    fragments: Vec<Bytes>,
    duration: Micros,
    independent: bool,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    init: u64,
    begins: WallTime,
    parts: Vec<Part>,
    /// It does not go on where the one before ends.
    discontinuity: bool,
}

impl Segment {
    fn duration(&self) -> Micros {
        self.parts.iter().fold(Micros::ZERO, |sum, part| sum + part.duration)
    }
}

/// A part in the making.
#[derive(Debug)]
struct Growing {
    fragments: Vec<Arc<Fragment>>,
    duration: Micros,
}

/// The live window of one stream.
#[derive(Debug)]
pub struct Window {
    inits: VecDeque<(u64, Arc<Init>)>,
    segments: VecDeque<Segment>,
    growing: Option<Growing>,
    /// Its duration is known only when the next one comes.
    last: Option<Arc<Fragment>>,
    next_segment: u64,
    next_init: u64,
    /// Intervals of the first pictures; the announced length of parts comes of them.
    intervals: Vec<Micros>,
    part_target: Option<Micros>,
    /// Segments with a discontinuity that are listed no more.
    discontinuities: u64,
    broken: bool,
}

/// Something can be fetched no more, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It never was, or is gone.
    Gone,
    /// It is what comes next.
    Expected,
}

impl Window {
    /// A window whose segments and init segments are numbered from `first` on. Players keep asking for what they know after
    /// the server was started anew, so that no number is to be used twice.
    pub fn new(first: u64) -> Self {
        Window {
            inits: VecDeque::new(),
            segments: VecDeque::new(),
            growing: None,
            last: None,
            next_segment: first,
            next_init: first,
            intervals: Vec::new(),
            part_target: None,
            discontinuities: 0,
            broken: false,
        }
    }

    /// Takes the next fragment.
    pub fn push(&mut self, fragment: Arc<Fragment>) {
        if let Some(last) = self.last.take() {
            let follows = Arc::ptr_eq(&last.init, &fragment.init);
            let measured = fragment.decode_time - last.decode_time;
            // A picture that stands for long was not meant to: the camera paused.
            let paused = measured > Micros(self.part_target().0 * 2).max(PAUSE).min(LONGEST);
            let goes_on = follows && measured > Micros::ZERO && !paused;
            let duration = if goes_on { measured } else { last.duration.min(LONGEST) };
            self.append(last, duration);
            if goes_on {
                self.end_before(&fragment);
            } else {
                self.break_off();
            }
        }
        self.last = Some(fragment);
    }

    /// What follows has nothing to do with what came before.
    pub fn interrupt(&mut self) {
        if let Some(last) = self.last.take() {
            let duration = last.duration.min(LONGEST);
            self.append(last, duration);
        }
        self.break_off();
    }

    /// Nobody asks any more: nothing is held, and what comes later continues the numbers.
    pub fn clear(&mut self) {
        self.interrupt();
        let left = self.segments.drain(..).filter(|segment| segment.discontinuity).count();
        self.discontinuities += left as u64;
        self.inits.clear();
    }

    fn break_off(&mut self) {
        self.end_part();
        self.end_segment();
        self.broken = true;
    }

    /// Puts a picture where it belongs, now that it is known how long it lasts: at the end of the part and the segment, or
    /// behind them where it would make them too long. A part that has no room for another ends at once.
    fn append(&mut self, fragment: Arc<Fragment>, duration: Micros) {
        self.make_room(duration);
        if self.segments.back().is_none_or(|segment| segment.number != self.next_segment) {
            self.begin_segment(&fragment);
        }
        let part =
            self.growing.get_or_insert_with(|| Growing { fragments: Vec::new(), duration: Micros::ZERO });
        part.duration += duration;
        part.fragments.push(fragment);
        let length = part.duration;
        let target = self.learn_target(duration, length);
        if target.is_some_and(|target| length + duration > with_slack(target)) {
            self.end_part();
        }
    }

    /// Ends the part, or the segment, that has no room for a picture of this length.
    fn make_room(&mut self, duration: Micros) {
        let Some(so_far) = self.open_length() else { return };
        if so_far + duration > LONGEST {
            self.end_part();
            self.end_segment();
        } else if let (Some(part), Some(target)) = (&self.growing, self.part_target)
            && part.duration + duration > with_slack(target)
        {
            self.end_part();
        }
    }

    /// Ends the segment before a picture where the next should begin with it.
    fn end_before(&mut self, next: &Fragment) {
        let Some(so_far) = self.open_length() else { return };
        let first =
            self.segments.back().and_then(|segment| segment.parts.first()).map(|part| part.independent);
        let first = first.or_else(|| Some(self.growing.as_ref()?.fragments.first()?.sync));
        let begins_well = first.unwrap_or(true);
        if next.sync && (so_far >= SHORTEST || !begins_well) {
            self.end_part();
            self.end_segment();
        }
    }

    /// Length of the open segment, if there is anything in it.
    fn open_length(&self) -> Option<Micros> {
        let segment = self.segments.back().filter(|segment| segment.number == self.next_segment)?;
        let growing = self.growing.as_ref().map(|part| part.duration);
        if growing.is_none() && segment.parts.is_empty() {
            return None;
        }
        Some(segment.duration() + growing.unwrap_or(Micros::ZERO))
    }

    /// The announced length of parts, from the interval of pictures as it was measured; what a stream says of itself may be
    /// wrong. It is never changed afterwards.
    fn learn_target(&mut self, interval: Micros, part: Micros) -> Option<Micros> {
        if self.part_target.is_none() {
            self.intervals.push(interval);
            if self.intervals.len() >= INTERVALS || part >= PART_AT_LEAST {
                self.intervals.sort_unstable();
                let usual = self.intervals.get(self.intervals.len() / 2).copied().unwrap_or(interval);
                self.part_target = Some(part_target(usual));
                self.intervals = Vec::new();
            }
        }
        self.part_target
    }

    fn begin_segment(&mut self, fragment: &Arc<Fragment>) {
        let known = self.inits.back().filter(|(_, init)| Arc::ptr_eq(init, &fragment.init));
        let init = known.map(|(number, _)| *number).unwrap_or_else(|| {
            let number = self.next_init;
            self.inits.push_back((number, fragment.init.clone()));
            self.next_init += 1;
            number
        });
        let discontinuity = std::mem::take(&mut self.broken) && !self.is_first();
        self.segments.push_back(Segment {
            number: self.next_segment,
            init,
            begins: fragment.captured_at,
            parts: Vec::new(),
            discontinuity,
        });
    }

    /// Whether nothing was ever listed.
    fn is_first(&self) -> bool {
        self.segments.is_empty() && self.part_target.is_none()
    }

    fn end_part(&mut self) {
        let (Some(part), Some(segment)) = (self.growing.take(), self.segments.back_mut()) else { return };
        segment.parts.push(Part {
            independent: part.fragments.first().is_some_and(|first| first.sync),
            duration: part.duration,
            fragments: part.fragments.iter().map(|fragment| fragment.bytes.clone()).collect(),
        });
    }

    fn end_segment(&mut self) {
        if self.segments.back().is_some_and(|segment| segment.number == self.next_segment) {
            self.next_segment += 1;
        }
        self.forget();
    }

    /// Lets go of what nobody is to fetch any more.
    fn forget(&mut self) {
        let mut kept = self.segments.iter().fold(Micros::ZERO, |sum, segment| sum + segment.duration());
        while kept > KEPT
            && let Some(first) = self.segments.front()
        {
            kept -= first.duration();
            self.discontinuities += u64::from(first.discontinuity);
            self.segments.pop_front();
        }
        if let Some(first) = self.segments.front() {
            let oldest = first.init;
            self.inits.retain(|(number, _)| *number >= oldest);
        }
    }

    /// How far it is.
    pub fn edge(&self) -> Edge {
        let open = self.segments.back().filter(|segment| segment.number == self.next_segment);
        Edge { segment: self.next_segment, parts: open.map_or(0, |segment| segment.parts.len()) }
    }

    /// Whether a segment is complete.
    pub fn has_segment(&self) -> bool {
        self.segments.front().is_some_and(|segment| segment.number < self.next_segment)
    }

    /// Announced length of parts.
    pub fn part_target(&self) -> Micros {
        self.part_target.unwrap_or(PART_AT_LEAST)
    }

    /// The playlist; `query` goes behind every address in it (with its question mark).
    pub fn playlist(&self, query: &str) -> String {
        let listed = self.listed();
        let mut text = String::with_capacity(4096);
        let target = seconds(self.part_target());
        // Writing to a string cannot fail.
        let _ok = write!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{}\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={}\n#EXT-X-PART-INF:PART-TARGET={target}\n\
             #EXT-X-MEDIA-SEQUENCE:{}\n",
            TARGET_DURATION.0 / 1_000_000,
            seconds(Micros(self.part_target().0 * 3)),
            listed.first().map_or(self.next_segment, |segment| segment.number),
        );
        let passed = self.discontinuities + self.unlisted_discontinuities(&listed);
        if passed > 0 {
            let _ok = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{passed}");
        }
        let total = listed.iter().fold(Micros::ZERO, |sum, segment| sum + segment.duration());
        let mut at = Micros::ZERO;
        let mut init = None;
        for (index, segment) in listed.iter().enumerate() {
            if segment.discontinuity && index > 0 {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if init != Some(segment.init) {
                let _ok = writeln!(text, "#EXT-X-MAP:URI=\"init{}.mp4{query}\"", segment.init);
                init = Some(segment.init);
            }
            let begins = segment.begins;
            let _ok = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{begins}");
            let is_open = segment.number == self.next_segment;
            at += segment.duration();
            if is_open || total - at < PARTS_LISTED {
                for (number, part) in segment.parts.iter().enumerate() {
                    let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
                    let _ok = writeln!(
                        text,
                        "#EXT-X-PART:DURATION={},URI=\"{}.{number}.m4s{query}\"{independent}",
                        seconds(part.duration.min(self.part_target())),
                        segment.number,
                    );
                }
            }
            if !is_open {
                let duration = seconds(segment.duration());
                let _ok = writeln!(text, "#EXTINF:{duration},\n{}.m4s{query}", segment.number);
            }
        }
        if self.segments.back().is_some() && !self.broken {
            let Edge { segment, parts } = self.edge();
            let _ok = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{segment}.{parts}.m4s{query}\"");
        }
        text
    }

    /// Segments that the playlist lists: the newest, as long as they are the last [`LISTED`], the open one with at least
    /// one part among them.
    fn listed(&self) -> Vec<&Segment> {
        let mut listed = Vec::new();
        let mut sum = Micros::ZERO;
        for segment in self.segments.iter().rev() {
            if sum > LISTED {
                break;
            }
            sum += segment.duration();
            if segment.number < self.next_segment || !segment.parts.is_empty() {
                listed.push(segment);
            }
        }
        listed.reverse();
        listed
    }

    /// Discontinuities before what is listed, the one at its begin included: its tag is not written.
    fn unlisted_discontinuities(&self, listed: &[&Segment]) -> u64 {
        let first = listed.first().map_or(0, |segment| segment.number);
        self.segments.iter().filter(|segment| segment.number <= first && segment.discontinuity).count() as u64
    }

    /// An init segment.
    pub fn init(&self, number: u64) -> Option<Bytes> {
        let init = self.inits.iter().find(|(known, _)| *known == number);
        init.map(|(_, init)| init.bytes.clone())
    }

    /// The newest init segment.
    pub fn newest_init(&self) -> Option<Arc<Init>> {
        self.inits.back().map(|(_, init)| init.clone())
    }

    /// The bytes of a segment.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn segment(&self, number: u64) -> Result<Vec<Bytes>, Missing> {
        let segment = self.find(number)?;
        if number == self.next_segment {
            return Err(Missing::Expected);
        }
        Ok(segment.parts.iter().flat_map(|part| part.fragments.iter().cloned()).collect())
    }

    /// The bytes of a part.
    ///
    /// # Errors
    /// [`Missing`]; a part that the segment ended without is gone.
    pub fn part(&self, number: u64, part: usize) -> Result<Vec<Bytes>, Missing> {
        // Of a segment that has not begun the first part alone can be waited for.
        let segment = self.find(number).map_err(|why| if part == 0 { why } else { Missing::Gone })?;
        match segment.parts.get(part) {
            Some(part) => Ok(part.fragments.clone()),
            None if number == self.next_segment && part == segment.parts.len() => Err(Missing::Expected),
            None => Err(Missing::Gone),
        }
    }

    fn find(&self, number: u64) -> Result<&Segment, Missing> {
        let found = self.segments.iter().find(|segment| segment.number == number);
        found.ok_or(if number == self.next_segment { Missing::Expected } else { Missing::Gone })
    }
}

/// How long a part may really be: pictures shake by some milliseconds around their interval, and a part of one picture less
/// would be too short (second edition, 4.4.4.9). What is announced never exceeds the target.
fn with_slack(target: Micros) -> Micros {
    target + Micros(target.0 / 10)
}

/// The smallest multiple of the picture interval that is long enough, but no more than a part may last; pictures that come
/// more slowly than that are parts of their own.
fn part_target(interval: Micros) -> Micros {
    let interval = interval.max(Micros::from_millis(1));
    let pictures = (PART_AT_LEAST.0 + interval.0 - 1) / interval.0;
    let target = Micros(pictures * interval.0);
    if target > PART_AT_MOST && interval <= PART_AT_MOST { PART_AT_MOST } else { target }
}

/// A duration as playlists write it, to the tenth of a millisecond.
fn seconds(duration: Micros) -> String {
    let tenths = (duration.0 + 50) / 100;
    let text = format!("{}.{:04}", tenths / 10_000, tenths % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init() -> Arc<Init> {
        Arc::new(Init {
            bytes: Bytes::from_static(b"init"),
            codec_string: "avc1.42c01f".to_owned(),
            width: 640,
            height: 360,
            origin: WallTime(0),
            audio: None,
        })
    }

    fn fragment(init: &Arc<Init>, ms: i64, sync: bool, every_ms: i64) -> Arc<Fragment> {
        Arc::new(Fragment {
            init: init.clone(),
            bytes: Bytes::from(format!("<{ms}>")),
            sync,
            captured_at: WallTime(ms * 1000),
            decode_time: Micros::from_millis(ms),
            duration: Micros::from_millis(every_ms),
        })
    }

    /// Pictures every so many milliseconds, every nth of them a sync sample.
    fn fill(window: &mut Window, init: &Arc<Init>, from: i64, to: i64, every: i64, gop: i64) {
        for ms in (from..to).step_by(usize::try_from(every).unwrap()) {
            window.push(fragment(init, ms, ms % (every * gop) == 0, every));
        }
    }

    #[test]
    fn part_targets() {
        let check = |interval_ms, expect_ms| {
            assert_eq!(
                part_target(Micros::from_millis(interval_ms)),
                Micros::from_millis(expect_ms),
                "{interval_ms}"
            );
        };
        check(40, 200);
        check(33, 231);
        check(100, 200);
        check(66, 264);
        check(150, 300);
        check(250, 250);
        check(400, 400);
        check(500, 500);
        check(1000, 1000);
        assert_eq!(seconds(Micros(233_333)), "0.2333");
        assert_eq!(seconds(Micros::from_secs(2)), "2");
    }

    #[test]
    fn a_playlist_of_segments_parts_and_a_hint() {
        let (mut window, init) = (Window::new(0), init());
        // The last picture waits for the next one.
        fill(&mut window, &init, 0, 2640, 40, 50);
        assert_eq!(window.edge(), Edge { segment: 1, parts: 3 });
        let text = window.playlist("?t=x");
        let expect = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:6\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n#EXT-X-PART-INF:PART-TARGET=0.2\n\
            #EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-MAP:URI=\"init0.mp4?t=x\"\n\
            #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00Z\n\
            #EXT-X-PART:DURATION=0.2,URI=\"0.0.m4s?t=x\",INDEPENDENT=YES\n";
        assert!(text.starts_with(expect), "{text}");
        let end = "#EXTINF:2,\n0.m4s?t=x\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:02Z\n\
            #EXT-X-PART:DURATION=0.2,URI=\"1.0.m4s?t=x\",INDEPENDENT=YES\n\
            #EXT-X-PART:DURATION=0.2,URI=\"1.1.m4s?t=x\"\n#EXT-X-PART:DURATION=0.2,URI=\"1.2.m4s?t=x\"\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"1.3.m4s?t=x\"\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!(window.init(0).unwrap(), "init");
        let bytes = |parts: Vec<Bytes>| parts.concat();
        assert_eq!(bytes(window.part(1, 0).unwrap()), b"<2000><2040><2080><2120><2160>");
        assert!(bytes(window.segment(0).unwrap()).starts_with(b"<0><40>"));
        assert_eq!(window.part(1, 3), Err(Missing::Expected));
        assert_eq!(window.part(1, 4), Err(Missing::Gone));
        assert_eq!((window.segment(1), window.segment(2)), (Err(Missing::Expected), Err(Missing::Gone)));
    }

    #[test]
    fn no_segment_is_longer_than_the_target_and_none_changes_once_listed() {
        let (mut window, init) = (Window::new(0), init());
        // Seven seconds between sync samples.
        fill(&mut window, &init, 0, 21_100, 100, 70);
        let text = window.playlist("");
        let durations: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(',')?.parse().ok())
            .collect();
        // One that has to begin without a sync sample ends at the next.
        assert_eq!(durations, [6.0, 1.0, 6.0, 1.0, 6.0, 1.0]);
    }

    /// Announced durations of parts, in milliseconds, but for the last of each segment.
    fn parts(text: &str) -> Vec<u64> {
        let mut found = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(rest) = line.strip_prefix("#EXT-X-PART:DURATION=") else { continue };
            let is_last = lines.peek().is_some_and(|next| !next.starts_with("#EXT-X-PART:"));
            let seconds: f64 = rest.split(',').next().unwrap().parse().unwrap();
            if !is_last {
                found.push((seconds * 1000.0).round() as u64);
            }
        }
        found
    }

    #[test]
    fn pictures_that_shake_make_parts_that_keep_the_target() {
        let (mut window, init) = (Window::new(0), init());
        for number in 0..300i64 {
            let shaken = number * 40 + (number * 7919 % 17) - 8;
            window.push(fragment(&init, shaken.max(0), number % 50 == 0, 40));
        }
        let text = window.playlist("");
        let (target, parts) = (window.part_target().0 as u64 / 1000, parts(&text));
        assert!(parts.len() > 30 && (200..=240).contains(&target), "{text}");
        assert!(
            parts.iter().all(|part| *part <= target && *part * 100 >= target * 85),
            "{target}: {parts:?}"
        );
    }

    #[test]
    fn the_measured_interval_counts_and_not_what_a_stream_says_of_itself() {
        let (mut window, init) = (Window::new(0), init());
        for number in 0..30 {
            // Two pictures a second from a camera that announces 25.
            window.push(fragment(&init, number * 500, number % 4 == 0, 40));
        }
        assert_eq!(window.part_target(), Micros::from_millis(500));
        assert!(parts(&window.playlist("")).iter().all(|part| *part == 500));
    }

    #[test]
    fn a_pause_makes_no_long_picture() {
        let (mut window, init) = (Window::new(0), init());
        fill(&mut window, &init, 0, 3000, 40, 50);
        fill(&mut window, &init, 12_000, 16_000, 40, 50);
        let text = window.playlist("");
        let longest =
            text.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(',')?.parse().ok());
        assert!(longest.fold(0.0, f64::max) <= 6.0, "{text}");
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    }

    #[test]
    fn what_nobody_asks_for_is_let_go_and_numbers_go_on() {
        let (mut window, init) = (Window::new(1000), init());
        fill(&mut window, &init, 0, 10_100, 40, 50);
        let edge = window.edge();
        assert!(edge.segment > 1000 && window.has_segment());
        window.clear();
        assert!(!window.has_segment() && window.init(1000).is_none());
        assert_eq!(window.segment(1001), Err(Missing::Gone));
        fill(&mut window, &init, 60_000, 63_000, 40, 50);
        let text = window.playlist("");
        assert!(text.contains(&format!("#EXT-X-MEDIA-SEQUENCE:{}\n", edge.segment + 1)), "{text}");
        assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{text}");
        assert!(window.init(1001).is_some());
    }

    #[test]
    fn only_what_comes_next_is_worth_waiting_for() {
        let (mut window, init) = (Window::new(0), init());
        fill(&mut window, &init, 0, 2000, 40, 50);
        window.interrupt();
        let next = window.edge().segment;
        assert_eq!(
            (window.part(next, 0), window.part(next, 7)),
            (Err(Missing::Expected), Err(Missing::Gone))
        );
        assert_eq!(window.part(next + 1, 0), Err(Missing::Gone));
    }

    #[test]
    fn lost_sessions_and_new_parameters_are_discontinuities() {
        let (mut window, first) = (Window::new(0), init());
        fill(&mut window, &first, 0, 4000, 40, 50);
        window.interrupt();
        assert!(!window.playlist("").contains("PRELOAD-HINT"));
        fill(&mut window, &first, 10_000, 12_000, 40, 50);
        let second = init();
        fill(&mut window, &second, 12_000, 14_100, 40, 50);
        let text = window.playlist("");
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 2, "{text}");
        assert_eq!(text.matches("#EXT-X-MAP").count(), 2, "{text}");
        assert!(text.contains("#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:10Z"), "{text}");
        // Numbers go on, and what is passed is counted.
        fill(&mut window, &second, 14_120, 80_000, 40, 50);
        let text = window.playlist("");
        assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:2\n"), "{text}");
        assert_eq!(window.segment(0), Err(Missing::Gone));
        assert_eq!((window.init(0), window.init(1).is_some()), (None, true));
        let listed = text.matches("#EXTINF").count();
        assert!((12..=14).contains(&listed), "{listed} segments of 2 s are listed");
    }
}
