//! Names of segment files.
//!
//! `{camera}/{YYYY-MM-DD}/{YYYYMMDD_HHMMSS}[_N][_sub].mp4`, in UTC, of the first picture. `_N` (from 2) tells files that
//! start in the same second apart. Names sort by time and are never used twice.

use std::fmt;

use heldar_base::{CameraId, StreamId, StreamKind, WallTime};

/// The name of one segment file; everything in it can be read back from its path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentName {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// The second in which its first picture was captured.
    pub second: WallTime,
    /// 1 for the first file of that second, 2 for the next.
    pub number: u32,
}

/// A path that is not that of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a segment file")]
pub struct NameError;

impl SegmentName {
    /// The name for a segment that starts at `start`.
    pub fn new(stream: StreamId, start: WallTime, number: u32) -> Self {
        SegmentName { stream, second: start.floor_second(), number: number.max(1) }
    }

    /// The folder below the recordings root: `{camera}/{YYYY-MM-DD}`.
    pub fn folder(&self) -> String {
        format!("{}/{}", self.stream.camera, Self::day(self.second))
    }

    /// The day folder that holds files starting at `at`.
    pub fn day(at: WallTime) -> String {
        let (year, month, day, ..) = at.civil();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// The last part of the path.
    pub fn file_name(&self) -> String {
        let (year, month, day, hour, minute, second) = self.second.civil();
        let number = if self.number > 1 { format!("_{}", self.number) } else { String::new() };
        let sub = match self.stream.kind {
            StreamKind::Main => "",
            StreamKind::Sub => "_sub",
        };
        format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}{number}{sub}.mp4")
    }

    /// The path below the recordings root.
    pub fn relative_path(&self) -> String {
        format!("{}/{}", self.folder(), self.file_name())
    }

    /// Reads a name back from its last part.
    ///
    /// # Errors
    /// Anything that [`SegmentName::file_name`] does not produce, to the letter.
    pub fn parse(camera: &CameraId, file_name: &str) -> Result<Self, NameError> {
        let stem = file_name.strip_suffix(".mp4").ok_or(NameError)?;
        let (stem, kind) = match stem.strip_suffix("_sub") {
            Some(rest) => (rest, StreamKind::Sub),
            None => (stem, StreamKind::Main),
        };
        if !stem.is_ascii() || stem.len() < 15 {
            return Err(NameError);
        }
        let (stamp, number) = stem.split_at(15);
        let number = match number.strip_prefix('_') {
            Some(digits) => digits.parse::<u32>().map_err(|_| NameError)?,
            None => 1,
        };
        let field = |from: usize, to: usize| stamp[from..to].parse::<i16>().map_err(|_| NameError);
        let small =
            |from: usize, to: usize| field(from, to).and_then(|v| i8::try_from(v).map_err(|_| NameError));
        let second = WallTime::from_civil(
            field(0, 4)?,
            small(4, 6)?,
            small(6, 8)?,
            small(9, 11)?,
            small(11, 13)?,
            small(13, 15)?,
        )
        .ok_or(NameError)?;
        let name = SegmentName { stream: StreamId::new(camera.clone(), kind), second, number };
        // One spelling per name: signs, missing digits and leading zeros are refused here.
        if name.file_name() == file_name { Ok(name) } else { Err(NameError) }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.relative_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn camera() -> CameraId {
        CameraId::new("gate").unwrap()
    }

    fn check(file_name: &str, path: Option<&str>) {
        let parsed = SegmentName::parse(&camera(), file_name).ok().map(|n| n.relative_path());
        assert_eq!(parsed.as_deref(), path, "{file_name}");
    }

    #[test]
    fn file_names() {
        check("20260131_235959.mp4", Some("gate/2026-01-31/20260131_235959.mp4"));
        check("20260131_235959_sub.mp4", Some("gate/2026-01-31/20260131_235959_sub.mp4"));
        check("20260131_235959_2_sub.mp4", Some("gate/2026-01-31/20260131_235959_2_sub.mp4"));
        check("20260131_235959_1.mp4", None);
        check("20260131_235959_02.mp4", None);
        check("20260230_235959.mp4", None);
        check("20260131-235959.mp4", None);
        check("+0260131_235959.mp4", None);
        check("x.mp4", None);
        check("../20260131_235959.mp4", None);
        check("20260131_235959.mp4.tmp", None);
    }

    proptest! {
        #[test]
        fn names_round_trip(us in 0i64..4_000_000_000_000_000, number in 1u32..50, sub: bool) {
            let kind = if sub { StreamKind::Sub } else { StreamKind::Main };
            let name = SegmentName::new(StreamId::new(camera(), kind), WallTime(us), number);
            prop_assert_eq!(SegmentName::parse(&camera(), &name.file_name()), Ok(name));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _outcome = SegmentName::parse(&camera(), &text);
        }
    }
}
