//! Carries out what findings ask for.
//!
//! Every step looks once more at what it is about to change, and is harmless when it is done twice. Rows go in one commit
//! with what the ledger says of them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use heldar_base::{CameraId, Cause, Interval, PublicId, Scope, SegmentId, StreamId, WallTime};
use heldar_disk::{Disk, FileAccess, Outage, mend};
use heldar_store::op::{
    EnsureStream, MarkDeleting, Markable, MendSegment, PutGap, RemoveMarked, RestateTotals,
};
use heldar_store::{ErrorKind, FillState, Gap, Hole, Store, StoreError, WriteOp};
use heldar_timeline::GAP_ROW_OVER;

use super::FsckError;
use super::finding::{Finding, Mending, Remedy, Report};
use crate::engine::journal::random_bits;
use crate::engine::recovery::{Recovery, TakenIn, path_of};

/// What became of one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Repaired.
    Done,
    /// It could not be, and why.
    Failed(String),
}

/// A finding that a repair took up.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The finding.
    pub finding: Finding,
    /// What became of it.
    pub outcome: Outcome,
}

/// One round of repair. Needs the data folder for itself.
pub struct Repair {
    store: Store,
    disk: Arc<dyn Disk>,
    now: WallTime,
    recovery: Recovery,
    /// The newest gap row of each camera that this round wrote: the next stretch may go on in it.
    gaps: HashMap<CameraId, Gap>,
    /// What was done with segments that have several findings.
    mended: HashMap<SegmentId, Outcome>,
    deletions: Option<Outcome>,
    cut: HashSet<String>,
}

impl Repair {
    /// A round over a store that is ours and its folder.
    pub fn new(store: Store, disk: Arc<dyn Disk>, now: WallTime) -> Self {
        // Nothing is cut but torn tails: pages that a power cut took do not take with them what follows.
        let recovery = Recovery::new(store.clone(), disk.clone(), now).after(Outage::Process);
        Repair {
            store,
            disk,
            now,
            recovery,
            gaps: HashMap::new(),
            mended: HashMap::new(),
            deletions: None,
            cut: HashSet::new(),
        }
    }

    /// Repairs what has a remedy.
    ///
    /// # Errors
    /// The store failed, other than by refusing a single change.
    pub async fn run(&mut self, report: &Report) -> Result<Vec<Repaired>, FsckError> {
        let mut work: Vec<&Finding> =
            report.findings.iter().filter(|finding| finding.remedy.acts()).collect();
        work.sort_by_key(|finding| rank(&finding.remedy));
        let mut done = Vec::with_capacity(work.len());
        for finding in work {
            let outcome = match self.one(&finding.remedy).await {
                Ok(outcome) => outcome,
                Err(
                    FsckError::Store(error)
                    | FsckError::Recovery(crate::engine::recovery::RecoveryError::Store(error)),
                ) if is_refusal(&error) => Outcome::Failed(error.to_string()),
                Err(FsckError::Disk(error)) => Outcome::Failed(error.to_string()),
                Err(error) => return Err(error),
            };
            done.push(Repaired { finding: finding.clone(), outcome });
        }
        Ok(done)
    }

    async fn one(&mut self, remedy: &Remedy) -> Result<Outcome, FsckError> {
        match remedy {
            Remedy::LeaveAlone(why) => Ok(Outcome::Failed((*why).to_owned())),
            Remedy::RestateTotals(stream_no) => {
                self.store.write(RestateTotals { stream_no: *stream_no }).await?;
                Ok(Outcome::Done)
            }
            Remedy::FinishDeletion => self.finish_deletions().await,
            Remedy::RemoveEmptyFile(path) => self.remove_empty_file(path).await,
            Remedy::Move { from, to } => self.move_file(from, to).await,
            Remedy::RemoveRow(segment) => {
                if self.exists(&path_of(segment)).await? {
                    return Ok(Outcome::Failed("its file is there".to_owned()));
                }
                let lost = Interval::new(segment.id.start, segment.end);
                let mut ops = self.gap(&segment.stream, lost, "segment file missing").await?;
                ops.extend(removal(segment.id));
                self.store.write_all(ops).await?;
                Ok(Outcome::Done)
            }
            Remedy::RemoveDuplicate(id) => {
                self.store.write_all(removal(*id).into()).await?;
                Ok(Outcome::Done)
            }
            Remedy::Mend(mending) => {
                let id = mending.segment.id;
                if let Some(outcome) = self.mended.get(&id) {
                    return Ok(outcome.clone());
                }
                let outcome = match self.mend(mending).await {
                    Ok(outcome) => outcome,
                    Err(FsckError::Store(error)) if is_refusal(&error) => Outcome::Failed(error.to_string()),
                    Err(error) => return Err(error),
                };
                self.mended.insert(id, outcome.clone());
                Ok(outcome)
            }
            Remedy::CutTail(path) => self.cut(path.clone()).await,
            Remedy::Seal(segment) => {
                self.recovery.seal_one((**segment).clone()).await?;
                Ok(Outcome::Done)
            }
            Remedy::Adopt { stream, name } => {
                let stream_no = self.store.write(EnsureStream { stream: stream.clone() }).await?;
                Ok(match self.recovery.adopt(stream_no, name).await?? {
                    TakenIn::Yes => Outcome::Done,
                    TakenIn::Overlaps => Outcome::Failed("its time has a segment already".to_owned()),
                    TakenIn::NoFootage => Outcome::Failed("it holds nothing that can be read".to_owned()),
                })
            }
            Remedy::RemoveEmptyFolder(path) => {
                let (disk, path) = (self.disk.clone(), path.clone());
                let gone = tokio::task::spawn_blocking(move || disk.remove_empty_folder(&path)).await??;
                Ok(if gone { Outcome::Done } else { Outcome::Failed("it is not empty".to_owned()) })
            }
        }
    }

    /// All of them at once, by start-up recovery.
    async fn finish_deletions(&mut self) -> Result<Outcome, FsckError> {
        if let Some(outcome) = &self.deletions {
            return Ok(outcome.clone());
        }
        self.recovery.finish_deletions().await?;
        let left = self.store.deleting_segments(&Scope::All, None, 1).await?;
        let outcome = match left.rows.first() {
            None => Outcome::Done,
            Some(segment) => Outcome::Failed(format!("{} cannot be removed", path_of(segment))),
        };
        self.deletions = Some(outcome.clone());
        Ok(outcome)
    }

    async fn mend(&mut self, mending: &Mending) -> Result<Outcome, FsckError> {
        let (segment, truth) = (&mending.segment, &mending.truth);
        if mending.torn
            && let failed @ Outcome::Failed(_) = self.cut(path_of(segment)).await?
        {
            return Ok(failed);
        }
        let mut ops = match mending.lost {
            Some(lost) => self.gap(&segment.stream, lost, "segment file cut short").await?,
            None => Vec::new(),
        };
        let holes = segment.holes.iter().filter(|hole| hole.start < truth.end);
        let holes = holes.map(|hole| Hole { end: hole.end.min(truth.end), ..*hole });
        ops.push(
            MendSegment {
                id: segment.id,
                end: truth.end,
                size_bytes: i64::try_from(truth.size_bytes).unwrap_or(i64::MAX),
                holes: holes.collect(),
                index: truth.index.encode(),
            }
            .into(),
        );
        self.store.write_all(ops).await?;
        Ok(Outcome::Done)
    }

    /// Cuts a torn tail, if there still is one.
    async fn cut(&mut self, path: String) -> Result<Outcome, FsckError> {
        if self.cut.contains(&path) {
            return Ok(Outcome::Done);
        }
        let (disk, at) = (self.disk.clone(), path.clone());
        Ok(match tokio::task::spawn_blocking(move || mend(&*disk, &at, Outage::Process)).await?? {
            Some(_) => {
                self.cut.insert(path);
                Outcome::Done
            }
            None => Outcome::Failed("the file is gone".to_owned()),
        })
    }

    async fn exists(&self, path: &str) -> Result<bool, FsckError> {
        let (disk, path) = (self.disk.clone(), path.to_owned());
        let opened = tokio::task::spawn_blocking(move || disk.open(&path, FileAccess::Read)).await?;
        match opened {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove_empty_file(&self, path: &str) -> Result<Outcome, FsckError> {
        let (disk, path) = (self.disk.clone(), path.to_owned());
        let removed = tokio::task::spawn_blocking(move || {
            let empty = match disk.open(&path, FileAccess::Read) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                opened => opened?.is_empty()?,
            };
            if empty {
                disk.remove_file(&path)?;
            }
            io::Result::Ok(empty)
        });
        Ok(if removed.await?? { Outcome::Done } else { Outcome::Failed("it is not empty".to_owned()) })
    }

    async fn move_file(&self, from: &str, to: &str) -> Result<Outcome, FsckError> {
        if self.exists(to).await? {
            return Ok(Outcome::Failed("its place is taken".to_owned()));
        }
        let (disk, from, to) = (self.disk.clone(), from.to_owned(), to.to_owned());
        tokio::task::spawn_blocking(move || {
            disk.rename(&from, &to)?;
            let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            for folder in [folder(&to), folder(&from)].into_iter().flatten() {
                disk.sync_folder(&folder)?;
            }
            io::Result::Ok(())
        })
        .await??;
        Ok(Outcome::Done)
    }

    /// The gap row for footage that the index promised and that is not there; none for a stream that the ledger of its
    /// camera does not speak of.
    async fn gap(
        &mut self,
        stream: &StreamId,
        lost: Interval,
        detail: &str,
    ) -> Result<Vec<WriteOp>, StoreError> {
        let camera = self.store.camera(&Scope::All, &stream.camera).await?;
        if lost.is_empty() || camera.is_none_or(|camera| camera.fields.record_stream != stream.kind) {
            return Ok(Vec::new());
        }
        let near = |gap: &&mut Gap| gap.start <= lost.start && lost.start - gap.end <= GAP_ROW_OVER;
        let gap = match self.gaps.get_mut(&stream.camera).filter(near) {
            Some(gap) => {
                gap.end = gap.end.max(lost.end);
                gap.clone()
            }
            None => Gap {
                id: PublicId::new(Gap::PREFIX, random_bits()),
                camera: stream.camera.clone(),
                start: lost.start,
                end: lost.end,
                open: false,
                cause: Cause::Damaged,
                detail: Some(detail.to_owned()),
                last_error: None,
                fill_state: FillState::Pending,
                fill_attempts: 0,
                last_attempt_at: None,
                filled_at: None,
                created_at: self.now,
            },
        };
        self.gaps.insert(stream.camera.clone(), gap.clone());
        Ok(vec![PutGap { gap }.into()])
    }
}

/// Both steps in one commit: a mark alone would have the start of the server unlink the file.
fn removal(id: SegmentId) -> [WriteOp; 2] {
    let ids = vec![id];
    let mark = MarkDeleting { ids: ids.clone(), which: Markable::OpenToo };
    [mark.into(), RemoveMarked { ids }.into()]
}

fn is_refusal(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
}

/// Totals come first, since changes of rows move them; what makes room for others before these.
fn rank(remedy: &Remedy) -> u8 {
    match remedy {
        Remedy::RestateTotals(_) => 0,
        Remedy::FinishDeletion => 1,
        Remedy::RemoveEmptyFile(_) => 2,
        Remedy::Move { .. } => 3,
        Remedy::RemoveRow(_) | Remedy::RemoveDuplicate(_) => 4,
        Remedy::Mend(_) | Remedy::CutTail(_) | Remedy::Seal(_) => 5,
        Remedy::Adopt { .. } => 6,
        Remedy::RemoveEmptyFolder(_) => 7,
        Remedy::LeaveAlone(_) => 8,
    }
}
