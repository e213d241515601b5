//! Decoding order against presentation order.
//!
//! Owns: how far both may differ ([`ReorderLimit`], [`ReorderObserver`]), where a recording may be cut
//! ([`PresentationFront`]), which pictures at the start can be decoded ([`StartGate`]). Never: times of files, which
//! [`crate::DecodeTimes`] derives.

use std::collections::VecDeque;

use heldar_base::WallTime;

use crate::{Leading, SyncKind};

/// What parameter sets say of the reorder depth: how many pictures may come before another in decoding order and after it
/// in presentation order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReorderLimit {
    /// Exactly told, or impossible by profile.
    Known(u8),
    /// Not told; the standard allows up to this many, real cameras mostly none.
    AtMost(u8),
}

impl ReorderLimit {
    /// The depth, where it is told.
    pub fn told(self) -> Option<u8> {
        match self {
            ReorderLimit::Known(depth) => Some(depth),
            ReorderLimit::AtMost(_) => None,
        }
    }

    /// Most pictures that a conforming stream may reorder.
    pub fn max(self) -> u8 {
        match self {
            ReorderLimit::Known(depth) | ReorderLimit::AtMost(depth) => depth,
        }
    }
}

/// No picture is reordered further: `max_num_reorder_frames` and `sps_max_num_reorder_pics` are at most 16.
const MAX_DEPTH: usize = 16;

/// Pictures without reordering after which a stream is taken for one that does not reorder.
const SETTLED: u32 = 64;

/// Watches presentation times in decoding order and tells the reorder depth really seen.
#[derive(Clone, Debug)]
pub struct ReorderObserver {
    /// Newest presentation times since the last closed sync sample, in decoding order.
    recent: VecDeque<i64>,
    limit: ReorderLimit,
    depth: u8,
    seen: u32,
}

impl ReorderObserver {
    /// Starts with what the parameter sets say.
    pub fn new(limit: ReorderLimit) -> Self {
        ReorderObserver { recent: VecDeque::with_capacity(MAX_DEPTH + 1), limit, depth: 0, seen: 0 }
    }

    /// Takes the next picture in decoding order, with its presentation time in any unit.
    pub fn push(&mut self, presented_at: i64, sync: SyncKind) {
        // After an IDR or BLA nothing is presented before what was decoded before it.
        if sync == SyncKind::Closed {
            self.recent.clear();
        }
        let later = self.recent.iter().filter(|t| **t > presented_at).count();
        if later > usize::from(self.limit.max()) {
            // Further back than any stream of these parameters may go: the camera's clock jumped.
            self.recent.clear();
        } else {
            self.depth = self.depth.max(later as u8);
        }
        if self.recent.len() > MAX_DEPTH {
            self.recent.pop_front();
        }
        self.recent.push_back(presented_at);
        self.seen = self.seen.saturating_add(1);
    }

    /// The depth to work with: as told by the parameter sets, else what has been seen so far.
    pub fn depth(&self) -> u8 {
        match self.limit {
            ReorderLimit::Known(depth) => depth,
            ReorderLimit::AtMost(_) => self.depth,
        }
    }

    /// How far a picture may go back in presentation before it must be a jump of the camera's clock: as told; else what the
    /// standard allows while little has been seen, and later what has been seen.
    pub fn tolerance(&self) -> u8 {
        match self.limit {
            ReorderLimit::Known(depth) => depth,
            ReorderLimit::AtMost(limit) if self.seen < SETTLED => limit,
            ReorderLimit::AtMost(_) => self.depth,
        }
    }
}

/// Tells where a fragment or segment may be cut: only before a picture that is presented after all before it.
#[derive(Clone, Debug, Default)]
pub struct PresentationFront {
    newest: Option<WallTime>,
}

impl PresentationFront {
    /// Takes the next picture in decoding order; true when it is presented after all before it.
    pub fn rises(&mut self, captured_at: WallTime) -> bool {
        let rises = self.newest.is_none_or(|newest| captured_at > newest);
        if rises {
            self.newest = Some(captured_at);
        }
        rises
    }
}

/// Lets pictures through from the first sync sample on, without the leading pictures that need what came before it.
#[derive(Clone, Debug, Default)]
pub struct StartGate {
    state: GateState,
}

#[derive(Clone, Debug, Default)]
enum GateState {
    /// No sync sample yet.
    #[default]
    Closed,
    /// Behind the sync sample that opened the gate; `presented_at` is its time.
    Leading { presented_at: i64, sync: SyncKind },
    /// Past its leading pictures.
    Open,
}

impl StartGate {
    /// Takes the next picture in decoding order, with its presentation time in any unit; true when it is to be kept.
    ///
    /// Behind a sync sample that starts a run, leading pictures are dropped when it is open (CRA, recovery point: H.264 has
    /// no mark for them, so their time tells), and those marked undecodable when it is closed (BLA).
    pub fn admits(&mut self, sync: SyncKind, leading: Leading, presented_at: i64) -> bool {
        match &self.state {
            GateState::Open => true,
            // Leading pictures belong to the sync sample before them in decoding order (H.265 7.4.2.2).
            GateState::Leading { .. } if sync.is_sync() => {
                self.state = GateState::Open;
                true
            }
            GateState::Closed => {
                if sync.is_sync() {
                    self.state = GateState::Leading { presented_at, sync };
                }
                sync.is_sync()
            }
            GateState::Leading { presented_at: start, sync: SyncKind::Open } => {
                let drop = leading != Leading::No || presented_at < *start;
                if !drop {
                    // All leading pictures precede trailing ones in decoding order (H.265 7.4.2.2).
                    self.state = GateState::Open;
                }
                !drop
            }
            GateState::Leading { .. } => {
                if leading == Leading::No {
                    self.state = GateState::Open;
                }
                leading != Leading::Undecodable
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SyncKind::{Closed, None, Open};

    fn check_depth(limit: ReorderLimit, times: &[i64], depth: u8) {
        let mut observer = ReorderObserver::new(limit);
        for (at, time) in times.iter().enumerate() {
            observer.push(*time, if at == 0 { Closed } else { None });
        }
        assert_eq!(observer.depth(), depth, "{times:?}");
    }

    #[test]
    fn depth_seen() {
        let any = ReorderLimit::AtMost(4);
        check_depth(any, &[0, 1, 2, 3, 4], 0);
        check_depth(any, &[0, 2, 1, 4, 3], 1);
        check_depth(any, &[0, 4, 2, 1, 3, 8, 6, 5, 7], 2);
        check_depth(any, &[0, 1, 1, 2, 2], 0);
        // A jump back by far more than four pictures is no reordering.
        check_depth(any, &[100, 101, 102, 103, 104, 105, 0, 1, 2], 0);
        check_depth(ReorderLimit::Known(2), &[0, 1, 2], 2);
    }

    #[test]
    fn tolerance_settles() {
        let mut observer = ReorderObserver::new(ReorderLimit::AtMost(4));
        for time in 0..i64::from(SETTLED) {
            assert_eq!(observer.tolerance(), 4);
            observer.push(time, None);
        }
        assert_eq!(observer.tolerance(), 0);
        // Clocks that go back at an IDR are no reordering either, by little or much.
        observer.push(i64::from(SETTLED) - 3, Closed);
        observer.push(0, Closed);
        assert_eq!((observer.tolerance(), observer.depth()), (0, 0));
    }

    #[test]
    fn cuts() {
        let mut front = PresentationFront::default();
        let got: Vec<bool> = [0, 4, 2, 1, 3, 8, 8, 9].map(|t| front.rises(WallTime(t))).into();
        assert_eq!(got, [true, true, false, false, false, true, false, true]);
    }

    fn check_gate(pictures: &[(SyncKind, Leading, i64)], kept: &[usize]) {
        let mut gate = StartGate::default();
        let got: Vec<usize> = pictures
            .iter()
            .enumerate()
            .filter(|(_, (sync, leading, time))| gate.admits(*sync, *leading, *time))
            .map(|(at, _)| at)
            .collect();
        assert_eq!(got, kept, "{pictures:?}");
    }

    #[test]
    fn starts() {
        use Leading::{Decodable, No, Undecodable};
        check_gate(&[(None, No, 0), (Closed, No, 1), (None, No, 2)], &[1, 2]);
        check_gate(
            &[(Open, No, 9), (None, Undecodable, 7), (None, Decodable, 8), (None, No, 10), (None, No, 9)],
            &[0, 3, 4],
        );
        check_gate(&[(Open, No, 9), (None, No, 7), (None, No, 8), (None, No, 10), (None, No, 8)], &[0, 3, 4]);
        check_gate(
            &[(Closed, No, 9), (None, Undecodable, 7), (None, Decodable, 8), (None, No, 10)],
            &[0, 2, 3],
        );
        check_gate(&[(Open, No, 9), (Open, No, 19), (None, Undecodable, 17), (None, No, 20)], &[0, 1, 2, 3]);
    }
}
