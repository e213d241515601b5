//! Decode times: RTP tells when pictures are presented, files also want to know when they are decoded.
//!
//! Decode times are the presentation times in ascending order, each moved by the reorder depth: the picture at place n in
//! decoding order gets the (n - depth)-th smallest presentation time, which is final by then, plus a shift of as much time
//! as `depth` pictures take. With a steady interval both orders then have the same times. Composition offsets have either
//! sign (`trun` version 1, ISO/IEC 14496-12 8.8.8). The shift is measured anew at every sync sample, and followed by at
//! most half of the step between two pictures.
//!
//! Invariants: the first decode time is the first presentation time; decode times rise by at least
//! [`DecodeTimes::MIN_STEP`], whatever comes in; with depth 0 and rising input they are the presentation times.

use std::collections::VecDeque;

use heldar_base::{Micros, WallTime};

use crate::SyncKind;

/// Derives decode times of one run's pictures, in decoding order.
#[derive(Clone, Debug)]
pub struct DecodeTimes {
    depth: usize,
    interval: Micros,
    /// The largest presentation times so far, ascending: `2 * depth + 1` of them once a picture has come.
    largest: VecDeque<WallTime>,
    shift: Micros,
    wanted_shift: Micros,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    decoded_at: WallTime,
    /// Its presentation time in ascending order, before the shift.
    ascending: WallTime,
}

impl DecodeTimes {
    /// Smallest step between decode times: one tick of 90 kHz, rounded up.
    pub const MIN_STEP: Micros = Micros(12);

    /// Starts a run with a reorder depth, and the interval of pictures as far as it is known.
    pub fn new(depth: u8, interval: Option<Micros>) -> Self {
        DecodeTimes {
            depth: usize::from(depth),
            interval: interval.unwrap_or(Micros::from_millis(40)).max(Self::MIN_STEP),
            largest: VecDeque::new(),
            shift: Micros::ZERO,
            wanted_shift: Micros::ZERO,
            last: None,
        }
    }

    /// Follows a change of the reorder depth.
    pub fn set_depth(&mut self, depth: u8) {
        self.depth = usize::from(depth);
        let Some(last) = &mut self.last else { return };
        fill(&mut self.largest, self.depth, self.interval);
        // The same decode time from another place of the order.
        if let Some(ascending) = place(&self.largest, self.depth) {
            self.shift += last.ascending - ascending;
            last.ascending = ascending;
            self.wanted_shift = self.measure();
        }
    }

    /// Decode time of the next picture in decoding order.
    pub fn next(&mut self, presented_at: WallTime, sync: SyncKind) -> WallTime {
        let at = self.largest.partition_point(|t| *t <= presented_at);
        self.largest.insert(at, presented_at);
        fill(&mut self.largest, self.depth, self.interval);
        let ascending = place(&self.largest, self.depth).unwrap_or(presented_at);
        let decoded_at = match self.last {
            None => {
                self.shift = presented_at - ascending;
                self.wanted_shift = self.shift;
                presented_at
            }
            Some(last) => {
                if sync.is_sync() {
                    self.wanted_shift = self.measure();
                }
                let half_step = Micros((ascending - last.ascending).0.max(0) / 2);
                self.shift += (self.wanted_shift - self.shift).clamp(-half_step, half_step);
                (ascending + self.shift).max(last.decoded_at + Self::MIN_STEP)
            }
        };
        self.last = Some(Last { decoded_at, ascending });
        decoded_at
    }

    /// Time that `depth` pictures took lately.
    fn measure(&self) -> Micros {
        match (place(&self.largest, self.depth), place(&self.largest, 2 * self.depth)) {
            (Some(newer), Some(older)) => newer - older,
            _ => self.shift,
        }
    }
}

/// The time that stands `from_top` places below the largest.
fn place(largest: &VecDeque<WallTime>, from_top: usize) -> Option<WallTime> {
    largest.get(largest.len().checked_sub(1 + from_top)?).copied()
}

/// Brings the list to its length: drops the smallest, or puts pictures before the first as if they had come an interval
/// apart.
fn fill(largest: &mut VecDeque<WallTime>, depth: usize, interval: Micros) {
    let len = 2 * depth + 1;
    while largest.len() > len {
        largest.pop_front();
    }
    while largest.len() < len
        && let Some(first) = largest.front().copied()
    {
        largest.push_front(first - interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SyncKind::{Closed, None, Open};
    use proptest::prelude::*;

    fn check(depth: u8, pictures: &[(i64, SyncKind)], expect: &[i64]) {
        let mut times = DecodeTimes::new(depth, Some(Micros(100)));
        let got: Vec<i64> = pictures.iter().map(|(at, sync)| times.next(WallTime(*at), *sync).0).collect();
        assert_eq!(got, expect, "depth {depth}, {pictures:?}");
    }

    #[test]
    fn tables() {
        check(0, &[(0, Closed), (100, None), (250, None), (300, Closed)], &[0, 100, 250, 300]);
        // I P B P B, then an IDR
        check(
            1,
            &[(0, Closed), (200, None), (100, None), (400, None), (300, None), (500, Closed)],
            &[0, 100, 200, 300, 400, 500],
        );
        // I P B b b, then a CRA with two leading pictures
        check(
            2,
            &[
                (0, Closed),
                (400, None),
                (200, None),
                (100, None),
                (300, None),
                (700, Open),
                (500, None),
                (600, None),
                (800, Closed),
            ],
            &[0, 100, 200, 300, 400, 500, 600, 700, 800],
        );
        // Depth told too low: still rising.
        check(0, &[(0, Closed), (200, None), (100, None), (300, Closed)], &[0, 200, 212, 300]);
        // The interval was guessed too long by half: in step soon after the next sync sample.
        let mut steady: Vec<(i64, SyncKind)> = (0..12).map(|n| (n * 50, None)).collect();
        steady[6].1 = Closed;
        check(1, &steady, &[0, 100, 150, 200, 250, 300, 325, 350, 400, 450, 500, 550]);
        check(0, &[(0, Closed), (0, None), (5, None)], &[0, 12, 24]);
    }

    #[test]
    fn depth_changes() {
        let mut times = DecodeTimes::new(0, Some(Micros(100)));
        let mut got = vec![times.next(WallTime(0), Closed), times.next(WallTime(200), None)];
        times.set_depth(1);
        got.extend(
            [(100, None), (400, None), (300, None), (500, Closed), (700, None), (600, None)]
                .map(|(t, s)| times.next(WallTime(t), s)),
        );
        assert_eq!(got, [0, 200, 212, 300, 400, 500, 600, 700].map(WallTime));
    }

    proptest! {
        #[test]
        fn always_rise(depth in 0u8..5, change in 0u8..5, pictures in proptest::collection::vec((-1000i64..1000, 0u8..3), 1..60)) {
            let mut times = DecodeTimes::new(depth, Option::None);
            let mut last = Option::None;
            for (n, (at, sync)) in pictures.iter().enumerate() {
                if n == 20 { times.set_depth(change); }
                let sync = [None, Closed, Open][usize::from(*sync)];
                let next = times.next(WallTime(*at), sync);
                prop_assert!(last.is_none_or(|l| next - l >= DecodeTimes::MIN_STEP));
                last = Some(next);
            }
        }

        /// With a steady interval, both orders have the same times, whatever the pattern of B pictures.
        #[test]
        fn steady_streams_keep_their_times(gops in proptest::collection::vec(proptest::collection::vec(1usize..4, 1..6), 1..6)) {
            const STEP: i64 = 40_000;
            // Mini-GOPs of a P and n - 1 B pictures: depth 1.
            let mut pictures = Vec::new();
            let mut base = 0i64;
            for gop in gops {
                pictures.push((base, Closed));
                base += 1;
                for n in gop {
                    let n = n as i64;
                    pictures.push((base + n - 1, None));
                    pictures.extend((0..n - 1).map(|b| (base + b, None)));
                    base += n;
                }
            }
            let mut times = DecodeTimes::new(1, Some(Micros(STEP)));
            for (n, (place, sync)) in pictures.into_iter().enumerate() {
                prop_assert_eq!(times.next(WallTime(place * STEP), sync), WallTime(n as i64 * STEP));
            }
        }
    }
}
