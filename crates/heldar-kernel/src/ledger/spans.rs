//! The times of segments on their way into a ledger.
//!
//! Owns: laying what is live over the rows of the store, page by page. A segment may be known to both; the version that
//! says more wins, since either side may be read first.

use heldar_base::{Cause, EndReason, Interval, Micros, Scope, StreamId, WallTime};
use heldar_store::{Hole, SegmentSpan, StoreError, TimeRange};
use heldar_timeline::{Ledger, LedgerSegment, SegmentEnd};

use super::{Depth, PAGE};
use crate::engine::live_index::LiveSegment;
use crate::kernel::Kernel;

/// What the ledger needs of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    interval: Interval,
    end: SegmentEnd,
    holes: Vec<(Interval, Cause)>,
}

impl Known {
    fn start(&self) -> WallTime {
        self.interval.start
    }

    fn overlaps(&self, range: TimeRange) -> bool {
        range.to.is_none_or(|to| self.interval.start < to)
            && range.from.is_none_or(|from| self.interval.end > from)
    }

    /// How it ended, as of `now`: the newest segment of a run that goes on in a file without a fragment on disk yet is
    /// taken to be growing, for as long as that fragment may be on its way.
    fn end_as_of(&self, now: WallTime, in_flight: Micros) -> SegmentEnd {
        let goes_on = matches!(
            self.end,
            SegmentEnd::Sealed { reason: EndReason::Rotated | EndReason::Parameters, cause: None }
        );
        if goes_on && now - self.interval.end <= in_flight { SegmentEnd::Open } else { self.end }
    }

    /// The newer version of a segment: complete before open, then the one that reaches further.
    fn newer(self, other: Known) -> Known {
        let rank = |known: &Known| (known.end != SegmentEnd::Open, known.interval.end);
        if rank(&other) > rank(&self) { other } else { self }
    }
}

impl From<SegmentSpan> for Known {
    fn from(span: SegmentSpan) -> Self {
        let hole = |hole: &Hole| (Interval::new(hole.start, hole.end), hole.cause);
        Known {
            interval: Interval::new(span.start, span.end),
            end: match span.end_reason {
                Some(reason) => SegmentEnd::Sealed { reason, cause: span.end_cause },
                None => SegmentEnd::Open,
            },
            holes: span.holes.iter().map(hole).collect(),
        }
    }
}

impl From<LiveSegment> for Known {
    fn from(segment: LiveSegment) -> Self {
        Known {
            interval: Interval::new(segment.start, segment.end),
            end: match segment.ended {
                Some((reason, cause)) => SegmentEnd::Sealed { reason, cause },
                None => SegmentEnd::Open,
            },
            holes: segment.holes,
        }
    }
}

/// Puts live segments among stored ones; both by start, which no two segments of a stream share.
fn overlay(mut stored: Vec<Known>, live: impl Iterator<Item = Known>) -> Vec<Known> {
    for segment in live {
        match stored.binary_search_by_key(&segment.start(), Known::start) {
            Ok(at) => {
                if let Some(known) = stored.get_mut(at) {
                    *known = known.clone().newer(segment);
                }
            }
            Err(at) => stored.insert(at, segment),
        }
    }
    stored
}

/// Hands segments to a ledger one behind.
struct Feed<'a> {
    ledger: &'a mut Ledger,
    in_flight: Micros,
    last: Option<Known>,
}

impl Feed<'_> {
    fn push(&mut self, next: Known) {
        let start = next.start();
        if let Some(mut last) = self.last.replace(next) {
            // An open segment that another follows was completed after it was read: the rest was on its way to the disk.
            if last.end == SegmentEnd::Open && start - last.interval.end <= self.in_flight {
                last.interval.end = start;
            }
            hand_over(self.ledger, &last);
        }
    }

    fn finish(self) {
        if let Some(mut last) = self.last {
            last.end = last.end_as_of(self.ledger.now(), self.in_flight);
            hand_over(self.ledger, &last);
        }
    }
}

fn hand_over(ledger: &mut Ledger, known: &Known) {
    ledger.segment(&LedgerSegment {
        interval: known.interval,
        holes: &known.holes,
        end: known.end,
        damaged: false,
    });
}

impl Kernel {
    fn live_known(&self, scope: &Scope, stream: &StreamId) -> Vec<Known> {
        if !scope.covers(&stream.camera) {
            return Vec::new();
        }
        self.live.of_stream(stream).into_iter().map(Known::from).collect()
    }

    /// Adds the segments of a stream that overlap a window, and how the one before them ended.
    pub(super) async fn add_spans(
        &self,
        ledger: &mut Ledger,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
        depth: Depth,
    ) -> Result<(), StoreError> {
        let mut feed = Feed { in_flight: self.in_flight(stream), last: None, ledger };
        let mut after: Option<WallTime> = None;
        loop {
            // Live first: a segment that leaves the live index in between is in the store by then.
            let live = self.live_known(scope, stream);
            let page = self.store.segment_spans(scope, stream, range, after, PAGE).await?;
            let within = |segment: &Known| {
                segment.overlaps(range)
                    && after.is_none_or(|after| segment.start() > after)
                    && page.next.is_none_or(|bound| segment.start() <= bound)
            };
            let stored = page.rows.into_iter().map(Known::from).collect();
            let known = overlay(stored, live.into_iter().filter(within));
            if let Some(from) = range.from.filter(|_| after.is_none() && depth == Depth::Causes)
                && known.first().is_none_or(|first| first.start() > from)
                && let Some(before) = self.known_before(scope, stream, from).await?
            {
                let how = before.end_as_of(feed.ledger.now(), feed.in_flight);
                feed.ledger.preceded_by(before.interval.end, how);
            }
            known.into_iter().for_each(|segment| feed.push(segment));
            after = page.next;
            if after.is_none() {
                feed.finish();
                return Ok(());
            }
        }
    }

    /// The last segment that begins before an instant.
    async fn known_before(
        &self,
        scope: &Scope,
        stream: &StreamId,
        before: WallTime,
    ) -> Result<Option<Known>, StoreError> {
        let live = self.live_known(scope, stream);
        let page = self.store.newest_segments(scope, stream, Some(before), 1).await?;
        let stored = page.rows.into_iter().map(|segment| {
            Known::from(SegmentSpan {
                start: segment.id.start,
                end: segment.end,
                size_bytes: segment.size_bytes,
                open: segment.end_reason.is_none(),
                end_reason: segment.end_reason,
                end_cause: segment.end_cause,
                holes: Vec::new(),
            })
        });
        let earlier = live.into_iter().filter(|segment| segment.start() < before);
        Ok(overlay(stored.collect(), earlier).pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: SegmentEnd = SegmentEnd::Sealed { reason: EndReason::Rotated, cause: None };

    fn known(start: i64, end: i64, how: SegmentEnd) -> Known {
        Known { interval: Interval::new(WallTime(start), WallTime(end)), end: how, holes: Vec::new() }
    }

    fn check(
        stored: &[(i64, i64, SegmentEnd)],
        live: &[(i64, i64, SegmentEnd)],
        expect: &[(i64, i64, bool)],
    ) {
        let all = |list: &[(i64, i64, SegmentEnd)]| -> Vec<Known> {
            list.iter().map(|(start, end, how)| known(*start, *end, *how)).collect()
        };
        let got: Vec<(i64, i64, bool)> = overlay(all(stored), all(live).into_iter())
            .iter()
            .map(|known| (known.interval.start.0, known.interval.end.0, known.end == SegmentEnd::Open))
            .collect();
        assert_eq!(got, expect, "{stored:?} {live:?}");
    }

    #[test]
    fn the_version_that_says_more_wins() {
        use SegmentEnd::Open;
        check(&[(0, 5, SEALED)], &[], &[(0, 5, false)]);
        check(&[], &[(0, 5, Open)], &[(0, 5, true)]);
        check(&[(0, 5, Open)], &[(0, 7, Open)], &[(0, 7, true)]);
        // The row was written after the live index was read.
        check(&[(0, 9, SEALED), (9, 10, Open)], &[(0, 7, Open)], &[(0, 9, false), (9, 10, true)]);
        check(&[(0, 8, Open)], &[(0, 7, Open)], &[(0, 8, true)]);
        check(&[(0, 5, Open)], &[(0, 5, SEALED), (5, 6, Open)], &[(0, 5, false), (5, 6, true)]);
        check(
            &[(9, 12, SEALED)],
            &[(0, 5, SEALED), (5, 9, SEALED)],
            &[(0, 5, false), (5, 9, false), (9, 12, false)],
        );
    }

    /// Footage of a ledger with `in_flight` of 3 that these segments are handed to.
    fn footage(segments: &[(i64, i64, SegmentEnd)]) -> Vec<(i64, i64)> {
        let mut ledger = Ledger::new(WallTime(100), Micros(3));
        let mut feed = Feed { ledger: &mut ledger, in_flight: Micros(3), last: None };
        segments.iter().for_each(|(start, end, how)| feed.push(known(*start, *end, *how)));
        feed.finish();
        assert_eq!(ledger.segment_count(), segments.len() as u64);
        ledger.footage().iter().map(|interval| (interval.start.0, interval.end.0)).collect()
    }

    #[test]
    fn an_open_segment_that_is_followed_was_completed_meanwhile() {
        use SegmentEnd::Open;
        assert_eq!(footage(&[(0, 5, Open), (8, 9, Open)]), [(0, 9)]);
        assert_eq!(footage(&[(0, 5, SEALED), (8, 9, Open)]), [(0, 5), (8, 9)]);
        assert_eq!(footage(&[(0, 5, Open), (9, 10, SEALED)]), [(0, 5), (9, 10)]);
        assert_eq!(footage(&[(0, 5, Open)]), [(0, 5)]);
    }

    #[test]
    fn a_run_that_goes_on_grows() {
        let check = |reason, cause, end, open| {
            let mut ledger = Ledger::new(WallTime(100), Micros(3));
            let mut feed = Feed { ledger: &mut ledger, in_flight: Micros(3), last: None };
            feed.push(known(0, end, SegmentEnd::Sealed { reason, cause }));
            feed.finish();
            assert_eq!(ledger.is_open(), open, "{reason} {cause:?} {end}");
        };
        check(EndReason::Rotated, None, 97, true);
        check(EndReason::Parameters, None, 99, true);
        check(EndReason::Rotated, None, 96, false);
        check(EndReason::Rotated, Some(Cause::Disk), 99, false);
        check(EndReason::SessionLost, None, 99, false);
        check(EndReason::NotWanted, None, 99, false);
    }
}
