//! The throttled scrub: days older than those that a start looks at, file by file, for as long as the server runs.
//!
//! Owns: the pace, the place where it goes on after a restart, and how findings are told: an event and a metric for each,
//! after a second look. Costs two small reads per file: the init segment and the sample table; only a file that disagrees
//! with its row is read fragment by fragment. Repairs what start-up recovery would repair and nothing else: a file without
//! a row is taken in. Never: reads while footage waits to be written, cuts or removes anything that is indexed.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use heldar_base::{Clock as _, Scope, StreamId, WallTime};
use heldar_disk::{Disk, Effort, Entry, Outage, SegmentName};
use heldar_http::metrics::{Counter, Family, Gauge, Registry};
use heldar_store::op::{DeleteSetting, PutSetting};
use heldar_store::{Segment, SegmentState, Severity, Stream, TimeRange};
use serde_json::json;

use super::check::Check;
use super::finding::{Finding, Kind, Remedy};
use super::{FsckError, Others};
use crate::engine::recovery::{Recovery, TakenIn, name_of};
use crate::kernel::Kernel;

/// Rows per page.
const PAGE: u32 = 100;
/// Bytes that wait for the disk above which the scrub waits as well.
const BUSY_BYTES: u64 = 4 << 20;
/// Time between looks at a busy disk.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// Events of one pass; what is found beyond is counted in one last event.
const EVENTS: u64 = 100;
/// Setting that keeps how far the pass has come.
const PLACE_KEY: &str = "scrub_place";
/// Files between notes of the place.
const NOTE_EVERY: u64 = 500;

/// How fast the scrub goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Least time from one file to the next.
    pub gap: Duration,
    /// Of the time of reading: so many times as long it then rests, so that a slow disk is asked more rarely.
    pub rest_factor: u32,
    /// Time from the start to the first pass.
    pub first: Duration,
    /// Time from the begin of a pass to the begin of the next, unless it takes longer.
    pub between: Duration,
}

impl Pace {
    /// Four files a second at most, a twentieth of the disk's time, every day.
    pub const SLOW: Pace = Pace {
        gap: Duration::from_millis(250),
        rest_factor: 20,
        first: Duration::from_secs(600),
        between: Duration::from_secs(86_400),
    };
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Rows whose file was looked at.
    pub files: u64,
    /// What was wrong.
    pub findings: u64,
    /// How much of that was repaired.
    pub repaired: u64,
}

/// The scrub of one server.
pub struct Scrub {
    files: Arc<Counter>,
    findings: Arc<Family<Counter, 1>>,
    last: Arc<Gauge>,
}

impl Scrub {
    /// Registers its metrics.
    pub fn new(registry: &Registry) -> Self {
        let findings = registry.counters(
            "heldar_scrub_findings_total",
            "Differences between index and recordings found by the scrub.",
            ["kind"],
        );
        Scrub {
            files: registry.counter("heldar_scrub_files_total", "Recorded files checked by the scrub."),
            findings,
            last: registry
                .gauge("heldar_scrub_last_pass_timestamp_seconds", "When the scrub last came to its end."),
        }
    }

    /// Goes through all older days once, or through what an interrupted pass left of them.
    ///
    /// # Errors
    /// The store or the recordings folder does not answer; the next pass goes on from there.
    pub async fn pass(&self, kernel: &Kernel, pace: Pace) -> Result<Passed, FsckError> {
        let mut pass = Pass {
            scrub: self,
            kernel,
            pace,
            quick: Check::new(kernel.store.clone(), kernel.disk.clone(), Others::Server, Effort::TableAlone),
            full: Check::new(
                kernel.store.clone(),
                kernel.disk.clone(),
                Others::Server,
                Effort::EveryFragment,
            ),
            passed: Passed::default(),
        };
        let place = pass.place().await?;
        for stream in kernel.store.streams(&Scope::All).await? {
            let after = match place {
                Some((stream_no, _)) if stream.stream_no < stream_no => continue,
                Some((stream_no, start)) if stream.stream_no == stream_no => Some(start),
                _ => None,
            };
            pass.stream(&stream, after).await?;
        }
        kernel.store.write(DeleteSetting { key: PLACE_KEY.to_owned() }).await?;
        let passed = pass.passed;
        if passed.findings > EVENTS {
            let payload = json!({ "kind": "more", "count": passed.findings - EVENTS });
            kernel.journal.raise(None, "footage_mismatch", Severity::Warning, payload);
        }
        self.last.set(kernel.clock.wall().0 as f64 / 1e6);
        Ok(passed)
    }
}

/// Scrubs for good.
pub async fn run(kernel: Arc<Kernel>, pace: Pace) {
    tokio::time::sleep(pace.first).await;
    loop {
        let begun = tokio::time::Instant::now();
        match kernel.scrub.pass(&kernel, pace).await {
            Ok(passed) if passed.findings > 0 => {
                tracing::warn!(
                    files = passed.files,
                    findings = passed.findings,
                    repaired = passed.repaired,
                    "the scrub found differences between index and recordings"
                );
            }
            Ok(passed) => tracing::debug!(files = passed.files, "the scrub found nothing"),
            Err(error) => tracing::warn!(%error, "the scrub ended early"),
        }
        tokio::time::sleep_until(begun + pace.between.max(pace.first)).await;
    }
}

/// A pass under way.
struct Pass<'a> {
    scrub: &'a Scrub,
    kernel: &'a Kernel,
    pace: Pace,
    quick: Check,
    full: Check,
    passed: Passed,
}

impl Pass<'_> {
    async fn stream(&mut self, stream: &Stream, mut after: Option<WallTime>) -> Result<(), FsckError> {
        // A start has looked at the newest day; what is recorded meanwhile belongs to it or to later ones.
        let Some(newest) = self.kernel.store.last_segment(&Scope::All, &stream.id).await? else {
            return Ok(());
        };
        let bound = SegmentName::day(newest.id.start);
        self.orphans(stream, &bound).await?;
        loop {
            let page = self.kernel.store.every_segment(&Scope::All, stream.stream_no, after, PAGE).await?;
            let mut indexes = self.quick.indexes(stream.stream_no, &page.rows).await?;
            for segment in &page.rows {
                if SegmentName::day(segment.id.start) >= bound {
                    return Ok(());
                }
                if segment.state == SegmentState::Sealed {
                    let index = indexes.remove(&segment.id);
                    self.row(segment, index).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn row(&mut self, segment: &Segment, index: Option<Vec<u8>>) -> Result<(), FsckError> {
        let quick = &self.quick;
        let look = paced(self.kernel, self.pace, quick.look(segment, index)).await?;
        self.passed.files += 1;
        self.scrub.files.inc();
        if !look.findings.is_empty() {
            // Deleted or changed meanwhile, or only described otherwise by a second, closer look.
            for finding in paced(self.kernel, self.pace, self.full.look_again(segment.id)).await? {
                self.tell(&finding, false);
            }
        }
        if self.passed.files.is_multiple_of(NOTE_EVERY) {
            let value = format!("{}:{}", segment.id.stream_no, segment.id.start.0);
            let note = PutSetting { key: PLACE_KEY.to_owned(), value, now: self.kernel.clock.wall() };
            self.kernel.store.write(note).await?;
        }
        Ok(())
    }

    /// Files without a row in day folders before `bound`.
    async fn orphans(&mut self, stream: &Stream, bound: &str) -> Result<(), FsckError> {
        let (disk, camera) = (self.kernel.disk.clone(), stream.id.camera.clone());
        let days = tokio::task::spawn_blocking(move || disk.list(camera.as_str())).await??;
        for day in days {
            let Entry::Folder(day) = day else { continue };
            if day.as_str() >= bound {
                continue;
            }
            let (disk, id) = (self.kernel.disk.clone(), stream.id.clone());
            let list = async move { tokio::task::spawn_blocking(move || names_of(&*disk, &id, &day)).await };
            let names = paced(self.kernel, self.pace, list).await??;
            let known = self.known(&stream.id, &names).await?;
            for name in names.into_iter().filter(|name| !known.contains(name)) {
                self.orphan(stream, name).await?;
            }
        }
        Ok(())
    }

    async fn known(
        &self,
        stream: &StreamId,
        names: &[SegmentName],
    ) -> Result<HashSet<SegmentName>, FsckError> {
        let (Some(first), Some(last)) = (names.first(), names.last()) else { return Ok(HashSet::new()) };
        let to = last.second + heldar_base::Micros::from_secs(1);
        let range = TimeRange { from: Some(first.second), to: Some(to) };
        let mut known = HashSet::new();
        let mut after = None;
        loop {
            let page = self.kernel.store.segments(&Scope::All, stream, range, after, 500).await?;
            known.extend(page.rows.iter().map(name_of));
            after = page.next;
            if after.is_none() {
                return Ok(known);
            }
        }
    }

    async fn orphan(&mut self, stream: &Stream, name: SegmentName) -> Result<(), FsckError> {
        let live = self.kernel.live.of_stream(&stream.id);
        if live.iter().any(|segment| segment.name == name) {
            return Ok(());
        }
        let look = self.full.unnamed(name.clone());
        let Some(finding) = paced(self.kernel, self.pace, look).await? else { return Ok(()) };
        let adopted = match &finding.remedy {
            Remedy::Adopt { .. } => {
                let now = self.kernel.clock.wall();
                let recovery = Recovery::new(self.kernel.store.clone(), self.kernel.disk.clone(), now);
                let recovery = recovery.after(Outage::Process);
                recovery.adopt(stream.stream_no, &name).await?? == TakenIn::Yes
            }
            _ => false,
        };
        self.tell(&finding, adopted);
        Ok(())
    }

    fn tell(&mut self, finding: &Finding, repaired: bool) {
        self.passed.findings += 1;
        self.passed.repaired += u64::from(repaired);
        self.scrub.findings.with([finding.kind.as_str()]).inc();
        tracing::warn!(
            kind = finding.kind.as_str(),
            path = finding.path,
            expected = finding.expected,
            found = finding.found,
            repaired,
            "index and recordings differ"
        );
        if self.passed.findings > EVENTS {
            return;
        }
        let severity = match finding.kind {
            Kind::OrphanFile if repaired => Severity::Info,
            _ => Severity::Warning,
        };
        let payload = json!({
            "kind": finding.kind.as_str(),
            "stream": finding.stream.map(|kind| kind.as_str()),
            "file": finding.path.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path)),
            "segment_id": finding.segment,
            "expected": finding.expected,
            "found": finding.found,
            "repaired": repaired,
        });
        self.kernel.journal.raise(finding.camera.clone(), "footage_mismatch", severity, payload);
    }

    /// Where an interrupted pass goes on.
    async fn place(&self) -> Result<Option<(i64, WallTime)>, FsckError> {
        let settings = self.kernel.store.settings(&Scope::All).await?;
        let noted = settings.iter().find(|setting| setting.key == PLACE_KEY);
        Ok(noted.and_then(|noted| {
            let (stream_no, start) = noted.value.split_once(':')?;
            Some((stream_no.parse().ok()?, WallTime(start.parse().ok()?)))
        }))
    }
}

/// Does one read when the disk has time for it, and rests afterwards.
async fn paced<T>(kernel: &Kernel, pace: Pace, read: impl Future<Output = T>) -> T {
    let waiting = || kernel.writer.stats().queued_bytes.load(Ordering::Relaxed);
    while waiting() > BUSY_BYTES || !kernel.health.disk_is_well(kernel) {
        tokio::time::sleep(BUSY_WAIT).await;
    }
    let begun = Instant::now();
    let answer = read.await;
    tokio::time::sleep(pace.gap.max(begun.elapsed() * pace.rest_factor)).await;
    answer
}

/// Names of a stream's files in a day folder, oldest first.
fn names_of(disk: &dyn Disk, stream: &StreamId, day: &str) -> std::io::Result<Vec<SegmentName>> {
    let mut names = Vec::new();
    for entry in disk.list(&format!("{}/{day}", stream.camera))? {
        let Entry::File(file) = entry else { continue };
        if let Ok(name) = SegmentName::parse(&stream.camera, &file)
            && name.stream == *stream
            && SegmentName::day(name.second) == day
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
