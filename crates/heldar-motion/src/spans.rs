//! From pictures with motion to stretches of time with motion, and to events.
//!
//! Owns: where a span begins and ends, and when an event is due. Never: a picture, a clock.
//!
//! Invariants: spans are not empty, do not overlap and come in order, as long as time goes forward.

use heldar_base::{Interval, Micros, WallTime};

/// A span ends when nothing has moved for this long; it then ends at the last picture with motion.
pub const HOLD: Micros = Micros::from_secs(5);

#[derive(Debug)]
pub(crate) struct Spans {
    event_interval: Micros,
    open: Option<Interval>,
    /// No later span begins before.
    closed_at: WallTime,
    event_at: Option<WallTime>,
}

/// What a picture with motion means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) span: Interval,
    pub(crate) rising_edge: bool,
    pub(crate) event_due: bool,
}

impl Spans {
    pub(crate) fn new(event_interval: Micros) -> Self {
        Spans { event_interval, open: None, closed_at: WallTime(i64::MIN), event_at: None }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Something moves at `at`; it was first seen at `since`.
    pub(crate) fn moved(&mut self, at: WallTime, since: WallTime) -> Moved {
        let rising_edge = self.open.is_none();
        let before = self.open.get_or_insert_with(|| Interval::new(since.max(self.closed_at).min(at), at));
        *before = Interval::new(before.start, at.max(before.end));
        let span = *before;
        let passed = self.event_at.is_none_or(|last| at - last >= self.event_interval);
        let event_due = rising_edge || passed;
        if event_due {
            self.event_at = Some(at);
        }
        Moved { span, rising_edge, event_due }
    }

    /// When the open span ends if nothing moves until then.
    pub(crate) fn deadline(&self) -> Option<WallTime> {
        self.open.map(|span| span.end + HOLD)
    }

    /// The span that has ended by `now`.
    pub(crate) fn expire(&mut self, now: WallTime) -> Option<Interval> {
        if self.deadline().is_some_and(|deadline| now >= deadline) { self.close() } else { None }
    }

    /// Ends the open span.
    pub(crate) fn close(&mut self) -> Option<Interval> {
        let span = self.open.take()?;
        self.closed_at = span.end;
        Some(span)
    }

    /// Time begins anew: what was before binds nothing after.
    pub(crate) fn forget_times(&mut self) {
        self.closed_at = WallTime(i64::MIN);
        self.event_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn at(seconds: i64) -> WallTime {
        WallTime(seconds * S)
    }

    fn span(start: i64, end: i64) -> Interval {
        Interval::new(at(start), at(end))
    }

    /// Steps through seconds; motion in those of `moving`. Spans as closed, seconds with a rising edge, seconds with an event.
    fn run(moving: &[i64], until: i64) -> (Vec<Interval>, Vec<i64>, Vec<i64>) {
        let mut spans = Spans::new(Micros::from_secs(10));
        let (mut closed, mut rising, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for second in 0..until {
            closed.extend(spans.expire(at(second)));
            if moving.contains(&second) {
                let moved = spans.moved(at(second), at(second - 1));
                rising.extend(moved.rising_edge.then_some(second));
                events.extend(moved.event_due.then_some(second));
            }
        }
        closed.extend(spans.close());
        (closed, rising, events)
    }

    #[test]
    fn short_pauses_are_bridged() {
        let (closed, rising, events) = run(&[10, 11, 15, 19, 30], 60);
        assert_eq!(closed, [span(9, 19), span(29, 30)]);
        assert_eq!(rising, [10, 30]);
        assert_eq!(events, [10, 30]);
    }

    #[test]
    fn long_motion_has_events_at_intervals() {
        let moving: Vec<i64> = (10..45).collect();
        let (closed, rising, events) = run(&moving, 100);
        assert_eq!((closed, rising, events), (vec![span(9, 44)], vec![10], vec![10, 20, 30, 40]));
    }

    #[test]
    fn spans_do_not_overlap() {
        let mut spans = Spans::new(Micros::ZERO);
        spans.moved(at(10), at(8));
        assert_eq!(spans.expire(at(15)), Some(span(8, 10)));
        assert_eq!(spans.moved(at(16), at(7)).span, span(10, 16));
        assert_eq!(spans.deadline(), Some(at(21)));
        assert_eq!(spans.expire(at(20)), None);
    }
}
