//! Plans of virtual files, and a bounded cache of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use heldar_base::{Interval, Micros, Scope, StreamId};
use heldar_bmff::{Join, Part, SampleTable, VirtualFile};
use sha2::{Digest as _, Sha256};

use super::{VirtualSource, Window};
use crate::footage::{FootageError, SegmentInfo};
use crate::kernel::Kernel;

/// Header bytes that the cache holds at most.
const CACHE_BYTES: usize = 16 << 20;
/// Segments in front of a window that a dependent one may need.
const MAX_LEAD: usize = 8;

/// A virtual file over a window, ready to be read.
#[derive(Clone)]
pub struct Plan {
    /// Its layout.
    pub file: Arc<VirtualFile>,
    /// Paths of the recorded files, by number.
    pub paths: Arc<Vec<String>>,
    /// What tells two plans apart: equal bytes have equal tags, also while more is being recorded behind the window.
    pub tag: String,
    /// Segments that it shows.
    pub segment_count: usize,
    /// Ids of every segment that its bytes come from.
    pub segments: Vec<heldar_base::SegmentId>,
    /// Every file is complete.
    pub complete: bool,
}

/// A window cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing of it is recorded.
    #[error("no recorded footage in the window")]
    NoFootage,
    /// Footage cannot be read.
    #[error(transparent)]
    Footage(#[from] FootageError),
}

impl Plan {
    /// The bytes.
    pub fn source(&self, kernel: &Kernel) -> VirtualSource {
        VirtualSource::new(self.file.clone(), self.paths.clone(), kernel.disk.clone())
    }
}

/// Plans that were asked for lately.
#[derive(Default)]
pub struct PlanCache {
    plans: Mutex<VecDeque<(String, Plan)>>,
}

impl PlanCache {
    fn get(&self, key: &str) -> Option<Plan> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plans.iter().position(|(k, _)| k == key)?;
        let entry = plans.remove(at)?;
        let plan = entry.1.clone();
        plans.push_front(entry);
        Some(plan)
    }

    fn put(&self, key: String, plan: Plan) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.push_front((key, plan));
        let mut bytes = 0;
        plans.retain(|(_, plan)| {
            bytes += plan.file.header().len() + 64 * plan.file.ranges().len();
            bytes <= CACHE_BYTES
        });
    }
}

impl Kernel {
    /// Plans the file that shows a window of a stream.
    ///
    /// # Errors
    /// [`PlanError`].
    pub async fn plan(&self, scope: &Scope, stream: &StreamId, window: Window) -> Result<Plan, PlanError> {
        let mut segments =
            self.segments_in(scope, stream, window.interval()).await.map_err(FootageError::Store)?;
        if segments.is_empty() {
            return Err(PlanError::NoFootage);
        }
        self.add_lead(scope, stream, &mut segments).await?;
        let complete = segments.iter().all(|segment| !segment.open);
        let key = key(stream, window, &segments);
        if let Some(plan) = self.plans.get(&key) {
            return Ok(plan);
        }
        let mut usable = Vec::with_capacity(segments.len());
        for segment in segments {
            match self.sample_table(&segment).await {
                Ok(table) => usable.push((segment, table)),
                // Unreadable bytes are a hole, not a failure.
                Err(error) => tracing::warn!(segment = %segment.id, %error, "left out of playback"),
            }
        }
        let built = tokio::task::spawn_blocking(move || build(window, usable, complete)).await;
        let plan = built.unwrap_or(Err(PlanError::NoFootage))?;
        self.plans.put(key, plan.clone());
        Ok(plan)
    }

    /// Puts the segments that a dependent one needs in front of it.
    async fn add_lead(
        &self,
        scope: &Scope,
        stream: &StreamId,
        segments: &mut Vec<SegmentInfo>,
    ) -> Result<(), FootageError> {
        for _ in 0..MAX_LEAD {
            let Some(first) = segments.first().filter(|first| first.dependent) else { return Ok(()) };
            let just_before = Interval::new(first.start() - Micros::from_millis(1), first.start());
            let before = self.segments_in(scope, stream, just_before).await?;
            let Some(lead) = before.into_iter().next().filter(|lead| lead.start() < first.start()) else {
                return Ok(());
            };
            segments.insert(0, lead);
        }
        Ok(())
    }
}

fn build(window: Window, usable: Vec<(SegmentInfo, SampleTable)>, complete: bool) -> Result<Plan, PlanError> {
    let mut parts = Vec::with_capacity(usable.len());
    let mut end = None;
    for (number, (segment, table)) in usable.iter().enumerate() {
        let shown = segment.interval().intersect(&window.interval());
        parts.push(Part {
            file: u32::try_from(number).unwrap_or(u32::MAX),
            table,
            wall_start: segment.start(),
            window: shown.unwrap_or(Interval::new(segment.end, segment.end)),
            join: if end == Some(segment.start()) { Join::Continues } else { Join::Fresh },
        });
        end = Some(segment.end);
    }
    let file = match VirtualFile::plan(&parts) {
        Ok(file) => file,
        Err(heldar_bmff::Error::NoPictures) => return Err(PlanError::NoFootage),
        Err(error) => return Err(PlanError::Footage(FootageError::Damaged(error))),
    };
    let mut shown: Vec<usize> = file.parts().iter().map(|part| part.part).collect();
    shown.dedup();
    let paths: Vec<String> = usable.iter().map(|(segment, _)| segment.name.relative_path()).collect();
    let tag = tag(&file, &paths);
    Ok(Plan {
        paths: Arc::new(paths),
        segments: usable.iter().map(|(segment, _)| segment.id).collect(),
        segment_count: shown.len(),
        file: Arc::new(file),
        tag,
        complete,
    })
}

fn key(stream: &StreamId, window: Window, segments: &[SegmentInfo]) -> String {
    use std::fmt::Write as _;
    let mut key = format!("{stream} {} {}", window.from.0, window.to.0);
    for segment in segments {
        let _infallible = write!(key, " {}:{}:{}", segment.start().0, segment.end.0, segment.name.number);
    }
    key
}

/// A hash of all that decides on the bytes: recorded files are never changed, only added to.
fn tag(file: &VirtualFile, paths: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(file.header());
    for range in file.ranges() {
        let path = usize::try_from(range.file).ok().and_then(|number| paths.get(number));
        hash.update(path.map_or("", String::as_str));
        hash.update(range.offset.to_be_bytes());
        hash.update(range.len.to_be_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
