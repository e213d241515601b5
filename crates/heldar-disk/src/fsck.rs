//! What a row claims of a file, held against what the file holds.
//!
//! Owns: which differences there are, and what the row should say instead. Pure: a claim and an examined file go in, a
//! verdict comes out. Invariant: a row is never made to say less than what of its file can still be read.

use heldar_base::{Micros, WallTime};
use heldar_bmff::FragmentIndex;

use crate::{Ending, Footage};

/// Rows count in microseconds, files in ticks of 1/90000 s, and the last picture of a fragment takes a correction of at
/// most 1 ms: differences up to this much say nothing.
const TOLERANCE: Micros = Micros(2_000);
/// The same in ticks.
const TOLERANCE_TICKS: u64 = 180;

/// What the row of a sealed segment claims.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// First instant.
    pub start: WallTime,
    /// End of the last picture.
    pub end: WallTime,
    /// Size of the file.
    pub size_bytes: u64,
    /// The stored fragment index in its coded form.
    pub index: Option<&'a [u8]>,
}

/// A difference between a row and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The file begins at another instant than the row.
    OtherStart {
        /// What the file says.
        file: WallTime,
    },
    /// The file ends before the last fragment of the index.
    Short {
        /// Where the index says that the fragments end.
        indexed_end: u64,
        /// Where they end.
        readable_end: u64,
    },
    /// Whole fragments follow the last one of the index.
    Unindexed {
        /// Fragments of the index.
        indexed: usize,
        /// Fragments of the file.
        present: usize,
    },
    /// There is no index.
    IndexMissing,
    /// The index cannot be decoded.
    IndexUnreadable(String),
    /// A fragment of the index is elsewhere, at another time or of another kind in the file.
    IndexDiffers {
        /// Its number, from 0.
        fragment: usize,
    },
    /// The size of the file is another.
    Size {
        /// The file's, without a torn tail.
        file: u64,
    },
    /// The footage ends at another instant.
    End {
        /// What the file says.
        file: WallTime,
    },
    /// The file ends in something that is no whole fragment.
    TornTail {
        /// Where that begins.
        at: u64,
        /// How long it is.
        bytes: u64,
    },
    /// A fragment inside cannot be read by itself; the sample table knows what it holds.
    DamagedFragment {
        /// Where it starts.
        at: u64,
    },
    /// A fragment inside cannot be read, and no sample table tells what it holds.
    DamagedMiddle {
        /// Where it starts.
        at: u64,
        /// Where whole ones go on.
        resumes: u64,
    },
    /// The sample table cannot be read; the fragments can.
    DamagedTable {
        /// Where it starts.
        at: u64,
    },
}

/// What a row should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// End of the last picture.
    pub end: WallTime,
    /// Size of the file.
    pub size_bytes: u64,
    /// The fragment index.
    pub index: FragmentIndex,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// All differences.
    pub differences: Vec<Difference>,
    /// What the row should say; `None` when it is right, or when the file cannot tell.
    pub truth: Option<Truth>,
}

/// Holds a claim against a file.
pub fn compare(claim: &Claim<'_>, footage: &Footage) -> Verdict {
    let mut differences = Vec::new();
    if let Some(start) = footage.wall_start.filter(|start| *start != claim.start) {
        // Another file's footage says nothing about this row.
        differences.push(Difference::OtherStart { file: start });
        return Verdict { differences, truth: None };
    }
    let stored = claim.index.map(FragmentIndex::decode);
    let indexed_end =
        stored.as_ref().and_then(|stored| stored.as_ref().ok()).map_or(0, FragmentIndex::end_offset);
    match footage.ending {
        Ending::Open | Ending::Sealed => {}
        Ending::SealedOverDamage { at } => differences.push(Difference::DamagedFragment { at }),
        Ending::TableUnreadable { at } => differences.push(Difference::DamagedTable { at }),
        // What was indexed and is all there was not torn off: it is damaged, and the index alone knows where it lies.
        Ending::Torn { at } if indexed_end > at && indexed_end <= footage.len => {
            differences.push(Difference::DamagedMiddle { at, resumes: indexed_end });
            return Verdict { differences, truth: None };
        }
        Ending::Torn { at } => differences.push(Difference::TornTail { at, bytes: footage.len - at }),
        Ending::Broken { at, resumes } => {
            differences.push(Difference::DamagedMiddle { at, resumes });
            return Verdict { differences, truth: None };
        }
    }
    let notes = differences.len();
    differences.extend(compare_index(stored, footage));
    let moved =
        differences.iter().any(|d| matches!(d, Difference::Short { .. } | Difference::Unindexed { .. }));
    let mut end = footage.end_of(claim.start);
    if (end - claim.end).0.abs() <= TOLERANCE.0 {
        // The row is the more exact one.
        end = claim.end;
    } else if !moved {
        differences.push(Difference::End { file: end });
    }
    if !moved && footage.kept_len() != claim.size_bytes {
        differences.push(Difference::Size { file: footage.kept_len() });
    }
    let wrong = differences.len() > notes;
    let truth = || Truth { end, size_bytes: footage.kept_len(), index: footage.index.clone() };
    Verdict { truth: wrong.then(truth), differences }
}

fn compare_index(
    stored: Option<Result<FragmentIndex, heldar_bmff::Error>>,
    footage: &Footage,
) -> Option<Difference> {
    let stored = match stored {
        None => return Some(Difference::IndexMissing),
        Some(Ok(stored)) => stored,
        Some(Err(error)) => return Some(Difference::IndexUnreadable(error.to_string())),
    };
    let (ours, theirs) = (stored.entries(), footage.index.entries());
    let near = |a: u64, b: u64| a.abs_diff(b) <= TOLERANCE_TICKS;
    let common = ours.iter().zip(theirs).zip(&footage.decode_times).enumerate();
    for (fragment, ((our, their), decode_time)) in common {
        // Presentation of a fragment begins with its decoding; where a file shifts the one against the other, either is
        // its start.
        let starts = near(our.start_ticks, their.start_ticks)
            || decode_time.is_some_and(|decoded| near(our.start_ticks, decoded));
        if our.offset != their.offset || our.sync != their.sync || !starts {
            return Some(Difference::IndexDiffers { fragment });
        }
    }
    let (indexed_end, readable_end) = (stored.end_offset(), footage.index.end_offset());
    if theirs.len() < ours.len() || readable_end < indexed_end {
        return Some(Difference::Short { indexed_end, readable_end });
    }
    if theirs.len() > ours.len() || readable_end > indexed_end {
        return Some(Difference::Unindexed { indexed: ours.len(), present: theirs.len() });
    }
    if !near(stored.end_ticks(), footage.index.end_ticks()) {
        return Some(Difference::IndexDiffers { fragment: ours.len().saturating_sub(1) });
    }
    None
}
