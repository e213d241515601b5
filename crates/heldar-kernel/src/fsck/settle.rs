//! The second look, beside a server that goes on recording and deleting.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use heldar_base::{Scope, SegmentId};
use heldar_disk::SegmentName;
use heldar_store::{Segment, TimeRange};

use super::check::{Check, of_kind};
use super::finding::{Finding, Kind, Report};
use super::{FsckError, listing};
use crate::engine::recovery::name_of;

impl Check {
    /// Waits until what the server had begun is done, looks again at everything that was found, and keeps what is still
    /// the same.
    ///
    /// # Errors
    /// As of the check.
    pub async fn settle(&self, report: Report, wait: Duration) -> Result<Report, FsckError> {
        if report.findings.is_empty() {
            return Ok(report);
        }
        tokio::time::sleep(wait).await;
        let mut looks: HashMap<SegmentId, Vec<Finding>> = HashMap::new();
        let mut findings = Vec::new();
        let mut totals = None;
        for finding in report.findings {
            let same = match (finding.segment, finding.kind) {
                // What is told by rows alone stands as long as the row does.
                (Some(id), Kind::Overlap | Kind::DuplicateRow | Kind::MisplacedFile) => {
                    self.row(id).await?.is_some()
                }
                (Some(id), _) => {
                    let now = match looks.entry(id) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(unknown) => unknown.insert(self.look_again(id).await?),
                    };
                    now.iter().any(|again| again.key() == finding.key())
                }
                (None, Kind::TotalsMismatch) => {
                    if totals.is_none() {
                        totals = Some(self.totals().await?);
                    }
                    let now = totals.as_deref().unwrap_or_default();
                    now.iter().any(|again| {
                        (&again.camera, again.stream, &again.found)
                            == (&finding.camera, finding.stream, &finding.found)
                    })
                }
                (None, _) => self.path_again(&finding).await?,
            };
            if same {
                findings.push(finding);
            }
        }
        Ok(Report { findings, ..report })
    }

    async fn row(&self, id: SegmentId) -> Result<Option<Segment>, FsckError> {
        let before = heldar_base::WallTime(id.start.0 - 1);
        let page = self.store.every_segment(&Scope::All, id.stream_no, Some(before), 1).await?;
        Ok(page.rows.into_iter().find(|segment| segment.id == id))
    }

    /// What is wrong with a row now.
    pub(super) async fn look_again(&self, id: SegmentId) -> Result<Vec<Finding>, FsckError> {
        let Some(segment) = self.row(id).await? else { return Ok(Vec::new()) };
        let index = self.indexes(id.stream_no, std::slice::from_ref(&segment)).await?.remove(&id);
        Ok(self.look(&segment, index).await?.findings)
    }

    async fn path_again(&self, finding: &Finding) -> Result<bool, FsckError> {
        let (Some(path), Some(camera)) = (&finding.path, &finding.camera) else { return Ok(true) };
        let file = path.rsplit('/').next().unwrap_or_default();
        match SegmentName::parse(camera, file) {
            Ok(name) if name.relative_path() == *path => {
                let again = self.unnamed(name).await?;
                Ok(again.is_some_and(|again| again.kind == finding.kind))
            }
            Ok(_) => Ok(true),
            Err(_) => {
                let (disk, camera) = (self.disk.clone(), camera.clone());
                let listing =
                    tokio::task::spawn_blocking(move || listing::of_camera(&*disk, &camera)).await??;
                Ok(listing.strays.iter().any(|again| again.key() == finding.key()))
            }
        }
    }

    /// What is wrong with a file if it has no row.
    pub(super) async fn unnamed(&self, name: SegmentName) -> Result<Option<Finding>, FsckError> {
        let streams = self.store.streams(&Scope::All).await?;
        let stream = of_kind(&streams, &name.stream.camera, name.stream.kind);
        if let Some(stream) = stream {
            let second = heldar_base::Micros::from_secs(1);
            let range = TimeRange { from: Some(name.second), to: Some(name.second + second) };
            let rows = self.store.segments(&Scope::All, &stream.id, range, None, 100).await?.rows;
            if rows.iter().any(|row| name_of(row) == name) {
                return Ok(None);
            }
        }
        self.orphan(stream, name).await
    }
}
