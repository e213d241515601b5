//! One row against its file.

use std::io;

use heldar_base::Interval;
use heldar_disk::fsck::{Claim, Difference, Verdict, compare};
use heldar_disk::{Disk, Effort, Examined, FileAccess, Footage, examine};
use heldar_store::{Segment, SegmentState};

use super::finding::{Finding, Kind, Mending, Remedy};
use super::{Others, UNKNOWN_FILE};
use crate::engine::recovery::path_of;

/// What a look at one row gave.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) findings: Vec<Finding>,
    /// Length of its file, if there is one.
    pub(super) file_len: Option<u64>,
}

/// Looks at a row and its file. Blocks.
pub(super) fn look(
    disk: &dyn Disk,
    segment: &Segment,
    index: Option<&[u8]>,
    effort: Effort,
    others: Others,
) -> Look {
    match (segment.state, others) {
        // Beside a server that runs both are work that it is doing.
        (SegmentState::Open | SegmentState::Deleting, Others::Server) => {
            Look { file_len: None, findings: Vec::new() }
        }
        (SegmentState::Deleting, Others::Nobody) => {
            let finding = Finding::of_row(Kind::UnfinishedDeletion, segment, Remedy::FinishDeletion);
            Look { file_len: None, findings: vec![finding.told("no row", "a row marked for deletion")] }
        }
        (SegmentState::Open, Others::Nobody) => {
            let finding = Finding::of_row(Kind::OpenRow, segment, Remedy::Seal(Box::new(segment.clone())));
            let file = disk.open(&path_of(segment), FileAccess::Read).and_then(|file| file.len());
            let told = finding.told("a sealed row", "an open row, and nobody records");
            Look { file_len: file.ok(), findings: vec![told] }
        }
        (SegmentState::Sealed, _) => sealed(disk, segment, index, effort),
    }
}

fn sealed(disk: &dyn Disk, segment: &Segment, index: Option<&[u8]>, effort: Effort) -> Look {
    let path = path_of(segment);
    let missing = |found: &str| {
        let remedy = Remedy::RemoveRow(Box::new(segment.clone()));
        let expected = format!("a file of {} bytes", segment.size_bytes);
        Finding::of_row(Kind::MissingFile, segment, remedy).told(expected, found)
    };
    let unreadable = |expected: &str, found: String| {
        Finding::of_row(Kind::UnreadableFile, segment, Remedy::LeaveAlone(UNKNOWN_FILE)).told(expected, found)
    };
    let examined = match disk.open(&path, FileAccess::Read) {
        Ok(file) => examine(&*file, effort),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Look { findings: vec![missing("no file")], file_len: None };
        }
        Err(error) => Err(error),
    };
    match examined {
        Err(error) => {
            let finding = unreadable("a file that can be read", error.to_string());
            Look { findings: vec![finding], file_len: Some(0) }
        }
        Ok(Examined::Empty) => {
            let empty = Finding::of_row(Kind::EmptyFile, segment, Remedy::RemoveEmptyFile(path))
                .told("footage", "a file without a byte");
            Look { findings: vec![missing("a file without a byte"), empty], file_len: Some(0) }
        }
        Ok(Examined::Unknown(why)) => Look { findings: vec![unreadable("footage", why)], file_len: Some(0) },
        Ok(Examined::NoFootage) => {
            let finding = unreadable("footage", "no whole fragment".to_owned());
            Look { findings: vec![finding], file_len: Some(0) }
        }
        Ok(Examined::Footage(footage)) => {
            let claim = Claim {
                start: segment.id.start,
                end: segment.end,
                size_bytes: segment.size_bytes.max(0).unsigned_abs(),
                index,
            };
            let verdict = compare(&claim, &footage);
            Look { findings: findings(segment, &footage, verdict), file_len: Some(footage.len) }
        }
    }
}

/// The findings of a comparison.
fn findings(segment: &Segment, footage: &Footage, verdict: Verdict) -> Vec<Finding> {
    let torn = verdict.differences.iter().any(|d| matches!(d, Difference::TornTail { .. }));
    let remedy = match verdict.truth {
        Some(truth) => {
            let lost = Interval::new(truth.end, segment.end.max(truth.end));
            let short = verdict.differences.iter().any(|d| matches!(d, Difference::Short { .. }));
            let lost = Some(lost).filter(|lost| short && lost.start < lost.end);
            Remedy::Mend(Box::new(Mending { segment: segment.clone(), truth, torn, lost }))
        }
        None if torn => Remedy::CutTail(path_of(segment)),
        None => Remedy::LeaveAlone("no byte of it is at risk"),
    };
    verdict.differences.iter().map(|difference| finding(segment, footage, difference, &remedy)).collect()
}

fn finding(segment: &Segment, footage: &Footage, difference: &Difference, remedy: &Remedy) -> Finding {
    let of = |kind| Finding::of_row(kind, segment, remedy.clone());
    let leave = |kind, why| Finding::of_row(kind, segment, Remedy::LeaveAlone(why));
    match difference {
        Difference::OtherStart { file } => leave(Kind::StartMismatch, "the file is another segment's")
            .told(format!("footage from {}", segment.id.start), format!("footage from {file}")),
        Difference::Short { indexed_end, readable_end } => of(Kind::ShortFile).told(
            format!("fragments up to byte {indexed_end}"),
            format!("fragments up to byte {readable_end}"),
        ),
        Difference::Unindexed { indexed, present } => {
            of(Kind::UnindexedFragments).told(format!("{indexed} fragments"), format!("{present} fragments"))
        }
        Difference::IndexMissing => of(Kind::IndexMissing).told("a fragment index", "none"),
        Difference::IndexUnreadable(why) => {
            of(Kind::IndexUnreadable).told("a fragment index", format!("bytes that are none: {why}"))
        }
        Difference::IndexDiffers { fragment } => of(Kind::IndexMismatch).told(
            format!("the file's {} fragments", footage.index.entries().len()),
            format!("another fragment {}", fragment + 1),
        ),
        Difference::Size { file } => {
            of(Kind::SizeMismatch).told(format!("{} bytes", segment.size_bytes), format!("{file} bytes"))
        }
        Difference::End { file } => {
            of(Kind::EndMismatch).told(format!("an end at {}", segment.end), format!("an end at {file}"))
        }
        Difference::TornTail { at, bytes } => of(Kind::TornTail)
            .told(format!("an end at byte {at}"), format!("{bytes} bytes that are no whole fragment")),
        Difference::DamagedFragment { at } => {
            leave(Kind::DamagedFragment, "it is read through the sample table, and keeps its bytes")
                .told("a fragment", format!("damage at byte {at}"))
        }
        Difference::DamagedMiddle { at, resumes } => {
            leave(Kind::DamagedMiddle, "what lies behind the damage is footage")
                .told("a fragment", format!("damage from byte {at} to byte {resumes}"))
        }
        Difference::DamagedTable { at } => {
            leave(Kind::DamagedTable, "the file is read fragment by fragment, and keeps its bytes")
                .told("a sample table", format!("damage behind byte {at}"))
        }
    }
}
