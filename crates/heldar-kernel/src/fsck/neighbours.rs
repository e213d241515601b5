//! Rows of one stream against each other: overlaps, and two rows of one file.

use std::collections::HashMap;

use heldar_base::{SegmentId, WallTime};
use heldar_store::{Segment, SegmentState};

use super::finding::{Finding, Kind, Remedy};
use crate::engine::recovery::path_of;

/// Rows before the one that is looked at.
#[derive(Default)]
pub(super) struct Neighbours {
    /// End and id of the row that reaches furthest.
    furthest: Option<(WallTime, SegmentId)>,
    /// Rows of the same second, by their path.
    second: Option<WallTime>,
    paths: HashMap<String, SegmentId>,
}

impl Neighbours {
    /// Takes the next row by start; findings about it and about earlier rows are there already.
    pub(super) fn add(&mut self, segment: &Segment, findings: &mut Vec<Finding>) {
        if segment.state == SegmentState::Deleting {
            return;
        }
        let second = segment.id.start.floor_second();
        if self.second.replace(second) != Some(second) {
            self.paths.clear();
        }
        let path = path_of(segment);
        if let Some(other) = self.paths.get(&path).copied() {
            duplicate(segment, other, findings);
        } else {
            self.paths.insert(path, segment.id);
            if let Some((end, other)) = self.furthest
                && end > segment.id.start
            {
                let why = "both files keep their bytes; an end that its file does not bear out is corrected";
                let finding = Finding::of_row(Kind::Overlap, segment, Remedy::LeaveAlone(why));
                let found = format!("{other} reaches to {end}");
                findings.push(finding.told(format!("nothing before {}", segment.id.start), found));
            }
        }
        if self.furthest.is_none_or(|(end, _)| segment.end > end) {
            self.furthest = Some((segment.end, segment.id));
        }
    }
}

/// Two rows of one file: the one with another start than the file goes. A file that does not tell keeps both.
fn duplicate(segment: &Segment, other: SegmentId, findings: &mut Vec<Finding>) {
    let ids = [segment.id, other];
    let wrong: Vec<usize> = findings
        .iter()
        .enumerate()
        .filter(|(_, f)| f.kind == Kind::StartMismatch && f.segment.is_some_and(|id| ids.contains(&id)))
        .map(|(at, _)| at)
        .collect();
    if let [at] = wrong.as_slice()
        && let Some(finding) = findings.get_mut(*at)
        && let Some(id) = finding.segment
    {
        let keeper = if id == other { segment.id } else { other };
        finding.kind = Kind::DuplicateRow;
        finding.expected = format!("one row, {keeper}");
        finding.found = "another row of the same file".to_owned();
        finding.remedy = Remedy::RemoveDuplicate(id);
        return;
    }
    let why = "the file does not tell which of both rows is its own";
    let finding = Finding::of_row(Kind::DuplicateRow, segment, Remedy::LeaveAlone(why));
    findings.push(finding.told("one row", format!("{other} names the same file")));
}
