//! What deletion leaves in the ledger: gap rows with the cause `retention`.
//!
//! A camera has one row for each unbroken stretch of removed footage, which grows as deletion goes on, so that rows do
//! not grow with the number of segments. Rows of removed footage yield to footage, to time that was not wanted and to every
//! other row (see `heldar_timeline`), so that a stretch may run over the short holes that had no row of their own: what was
//! known of these was derived from the segments that are gone.

use heldar_base::{CameraId, Cause, Interval, PublicId, Scope, StreamId, WallTime};
use heldar_store::op::{PutGap, RemoveGaps};
use heldar_store::{FillState, Gap, GapFilter, GapOrder, Store, StoreError, TimeRange, WriteOp};
use heldar_timeline::GAP_ROW_OVER;

use crate::engine::journal::random_bits;

/// Rows read at a time.
const PAGE: u32 = 500;

/// The writes that note the removal of footage of a camera's recorded stream.
pub(super) async fn note_removal(
    store: &Store,
    stream: &StreamId,
    removed: &[Interval],
    now: WallTime,
) -> Result<Vec<WriteOp>, StoreError> {
    let parts = removed.iter().map(|span| Stretch { span: *span, rows: Vec::new() });
    let mut stretches = Vec::new();
    for stretch in joined(parts.collect()) {
        let start = begin_of_wanting(store, &stream.camera, stretch.span.start).await?;
        let end = next_footage(store, stream, stretch.span.end).await?;
        stretches.push(Stretch { span: Interval::new(start, end), rows: Vec::new() });
    }
    let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else { return Ok(Vec::new()) };
    let rows = rows_near(store, &stream.camera, Interval::new(first.span.start, last.span.end)).await?;
    Ok(changes(&stream.camera, rows, stretches, now))
}

/// From where on a stretch counts: the wait for the first picture goes with the first picture.
async fn begin_of_wanting(store: &Store, camera: &CameraId, start: WallTime) -> Result<WallTime, StoreError> {
    let range = TimeRange { from: Some(start - GAP_ROW_OVER), to: Some(start) };
    let history = store.wanted_history(&Scope::All, camera, range, None, PAGE).await?;
    let begins = history.rows.iter().rfind(|change| change.reason.is_none()).map(|change| change.at);
    Ok(begins.filter(|at| start - *at <= GAP_ROW_OVER).unwrap_or(start))
}

/// To where a stretch counts: a short hole after it goes with the segment whose end explained it.
async fn next_footage(store: &Store, stream: &StreamId, end: WallTime) -> Result<WallTime, StoreError> {
    let range = TimeRange { from: Some(end), to: Some(end + GAP_ROW_OVER) };
    let next = store.segment_spans(&Scope::All, stream, range, None, 1).await?;
    Ok(next.rows.first().map_or(end, |next| next.start.max(end)))
}

/// Rows of removed footage that a stretch within `window` may have to join.
async fn rows_near(store: &Store, camera: &CameraId, window: Interval) -> Result<Vec<Gap>, StoreError> {
    let reach = GAP_ROW_OVER + heldar_base::Micros(1);
    let range = TimeRange { from: Some(window.start - reach), to: Some(window.end + reach) };
    let filter = GapFilter { cause: Some(Cause::Retention), range, ..GapFilter::default() };
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page =
            store.gaps(&Scope::All, camera, &filter, GapOrder::OldestFirst, after.as_ref(), PAGE).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return Ok(rows);
        }
    }
}

/// A stretch of removed footage while rows and new removals are joined.
struct Stretch {
    span: Interval,
    /// Rows that it is made of.
    rows: Vec<Gap>,
}

/// Joins what is no further apart than what needs a row of its own.
fn joined(mut parts: Vec<Stretch>) -> Vec<Stretch> {
    parts.sort_by_key(|part| part.span.start);
    let mut joined: Vec<Stretch> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.span.start - last.span.end <= GAP_ROW_OVER => {
                last.span = Interval::new(last.span.start, last.span.end.max(part.span.end));
                last.rows.extend(part.rows);
            }
            _ => joined.push(part),
        }
    }
    joined
}

/// The writes that turn existing rows into those with further stretches removed.
fn changes(camera: &CameraId, rows: Vec<Gap>, removed: Vec<Stretch>, now: WallTime) -> Vec<WriteOp> {
    let row = |row: Gap| Stretch { span: Interval::new(row.start, row.end), rows: vec![row] };
    let parts = removed.into_iter().chain(rows.into_iter().map(row)).collect();
    joined(parts).into_iter().flat_map(|stretch| write(camera, stretch, now)).collect()
}

fn write(camera: &CameraId, stretch: Stretch, now: WallTime) -> Vec<WriteOp> {
    let mut rows = stretch.rows.into_iter();
    let first = rows.next();
    let others: Vec<PublicId> = rows.map(|row| row.id).collect();
    let unchanged =
        first.as_ref().is_some_and(|row| (row.start, row.end) == (stretch.span.start, stretch.span.end));
    if unchanged && others.is_empty() {
        return Vec::new();
    }
    let mut gap = first.unwrap_or_else(|| new_row(camera, now));
    gap.start = stretch.span.start;
    gap.end = stretch.span.end;
    let mut ops = vec![WriteOp::from(PutGap { gap })];
    if !others.is_empty() {
        ops.push(RemoveGaps { ids: others }.into());
    }
    ops
}

fn new_row(camera: &CameraId, now: WallTime) -> Gap {
    Gap {
        id: PublicId::new(Gap::PREFIX, random_bits()),
        camera: camera.clone(),
        start: now,
        end: now,
        open: false,
        cause: Cause::Retention,
        detail: None,
        last_error: None,
        fill_state: FillState::Pending,
        fill_attempts: 0,
        last_attempt_at: None,
        filled_at: None,
        created_at: now,
    }
}

#[cfg(test)]
mod tests {
    use heldar_store::op::Ledger;

    use super::*;

    fn span(from: i64, to: i64) -> Interval {
        Interval::new(WallTime(from * 1_000_000), WallTime(to * 1_000_000))
    }

    /// Seconds of existing rows, of removed footage, of rows written, and how many rows go.
    fn check(rows: &[(i64, i64)], removed: &[(i64, i64)], written: &[(i64, i64)], gone: usize) {
        let camera = CameraId::new("gate").unwrap();
        let row = |(from, to): &(i64, i64)| {
            let span = span(*from, *to);
            Gap { start: span.start, end: span.end, ..new_row(&camera, WallTime(0)) }
        };
        let stretch = |(from, to): &(i64, i64)| Stretch { span: span(*from, *to), rows: Vec::new() };
        let removed: Vec<Stretch> = removed.iter().map(stretch).collect();
        let ops = changes(&camera, rows.iter().map(row).collect(), removed, WallTime(0));
        let mut put = Vec::new();
        let mut removed_rows = 0;
        for op in &ops {
            match op {
                WriteOp::Ledger(Ledger::PutGap(op)) => {
                    assert!(!op.gap.open && op.gap.cause == Cause::Retention);
                    put.push((op.gap.start.0 / 1_000_000, op.gap.end.0 / 1_000_000));
                }
                WriteOp::Ledger(Ledger::RemoveGaps(op)) => removed_rows += op.ids.len(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((put.as_slice(), removed_rows), (written, gone), "{rows:?}");
    }

    #[test]
    fn rows_grow_with_stretches_only() {
        check(&[], &[], &[], 0);
        check(&[], &[(0, 10), (10, 20), (22, 30)], &[(0, 30)], 0);
        check(&[], &[(0, 10), (14, 20)], &[(0, 10), (14, 20)], 0);
        check(&[(0, 10)], &[(10, 20)], &[(0, 20)], 0);
        check(&[(0, 10)], &[(14, 20)], &[(14, 20)], 0);
        // A segment that was kept for what it shows goes last, and joins both sides.
        check(&[(0, 10), (20, 30)], &[(10, 20)], &[(0, 30)], 1);
        check(&[(10, 20)], &[(0, 10), (20, 30)], &[(0, 30)], 0);
        check(&[(0, 40)], &[(10, 20)], &[], 0);
    }
}
