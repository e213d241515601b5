//! Segments.

use std::sync::Arc;

use heldar_base::{Cause, EndReason, SegmentId, StreamId, WallTime};

use super::stream::CodecParams;
use crate::error::{ErrorKind, StoreError};

/// Time inside a segment or clip without pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First instant without.
    pub start: WallTime,
    /// First instant with pictures again.
    pub end: WallTime,
    /// Why.
    pub cause: Cause,
}

impl Hole {
    /// JSON array of `[start_us, end_us, cause]`.
    pub(crate) fn encode(holes: &[Hole]) -> String {
        let rows: Vec<_> = holes.iter().map(|h| (h.start.0, h.end.0, h.cause.as_str())).collect();
        // Numbers and static words always have a JSON form.
        serde_json::to_string(&rows).unwrap_or_default()
    }

    /// Reads back [`Hole::encode`].
    pub(crate) fn decode(text: &str) -> Result<Vec<Hole>, StoreError> {
        let rows: Vec<(i64, i64, String)> = serde_json::from_str(text)
            .map_err(|e| StoreError::caused(ErrorKind::Corrupt, "stored holes cannot be read", e))?;
        rows.into_iter()
            .map(|(start, end, cause)| {
                let cause =
                    cause.parse().map_err(|()| StoreError::corrupt("a stored hole has no known cause"))?;
                Ok(Hole { start: WallTime(start), end: WallTime(end), cause })
            })
            .collect()
    }
}

/// Where a segment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Being written.
    Open,
    /// Complete.
    Sealed,
    /// Gone from every answer; its file is being removed.
    Deleting,
}

impl SegmentState {
    /// Its number in the store.
    pub(crate) const fn number(self) -> i64 {
        match self {
            SegmentState::Open => 0,
            SegmentState::Sealed => 1,
            SegmentState::Deleting => 2,
        }
    }

    pub(crate) fn from_number(number: i64) -> Result<Self, StoreError> {
        match number {
            0 => Ok(SegmentState::Open),
            1 => Ok(SegmentState::Sealed),
            2 => Ok(SegmentState::Deleting),
            _ => Err(StoreError::corrupt("a stored segment has no known state")),
        }
    }
}

/// The time of a segment and what is inside, as timeline and ledger need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// First instant.
    pub start: WallTime,
    /// End of its last picture.
    pub end: WallTime,
    /// Size of its file.
    pub size_bytes: i64,
    /// True while it is being written.
    pub open: bool,
    /// Why it ended; `None` while open.
    pub end_reason: Option<EndReason>,
    /// Cause of the hole that follows, where the reason alone does not tell it.
    pub end_cause: Option<Cause>,
    /// Holes inside, in order.
    pub holes: Vec<Hole>,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its id; holds its start and the number of its stream.
    pub id: SegmentId,
    /// Its stream. Of a deleted camera: what it was.
    pub stream: StreamId,
    /// End of its last picture.
    pub end: WallTime,
    /// Size of its file up to the last whole fragment.
    pub size_bytes: i64,
    /// Number at the end of its file name; 1 has none.
    pub name_no: i64,
    /// Where it is in its life.
    pub state: SegmentState,
    /// True when its pictures up to the next sync sample need the segment before it.
    pub dependent: bool,
    /// Why it ended; `None` while open.
    pub end_reason: Option<EndReason>,
    /// Cause of the hole that follows, where the reason alone does not tell it.
    pub end_cause: Option<Cause>,
    /// Codec parameters.
    pub params: Arc<CodecParams>,
    /// Holes inside, in order.
    pub holes: Vec<Hole>,
    /// When it was first indexed.
    pub created_at: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_round_trip() {
        let holes = vec![
            Hole { start: WallTime(5), end: WallTime(9), cause: Cause::Stalled },
            Hole { start: WallTime(20), end: WallTime(21), cause: Cause::Disk },
        ];
        assert_eq!(Hole::encode(&holes), r#"[[5,9,"stalled"],[20,21,"disk"]]"#);
        assert_eq!(Hole::decode(&Hole::encode(&holes)).unwrap(), holes);
    }

    #[test]
    fn unreadable_holes_are_corrupt() {
        for text in ["", "{}", "[[1,2]]", r#"[[1,2,"tea"]]"#] {
            assert_eq!(Hole::decode(text).unwrap_err().kind(), ErrorKind::Corrupt, "{text}");
        }
    }
}
