//! From decoding order to presentation order, so that pictures are picked as they are shown.
//!
//! Contract: units come in decoding order, none is earlier in presentation than `depth` others that came before it. Each
//! leaves, in decoding order, once its place in presentation order is known; the decision is asked for in presentation
//! order.

use std::collections::VecDeque;
use std::sync::Arc;

use heldar_base::WallTime;
use heldar_media::{AccessUnit, SyncKind};

/// A unit and what was decided about it.
struct Held<D> {
    unit: Arc<AccessUnit>,
    decision: Option<D>,
}

/// Units that wait for their decision.
pub(super) struct Order<D> {
    held: VecDeque<Held<D>>,
    depth: usize,
}

impl<D> Order<D> {
    pub(super) fn new(depth: u8) -> Self {
        Order { held: VecDeque::new(), depth: usize::from(depth) }
    }

    /// Takes a unit in and gives out what can be sent on. `decide` is asked in presentation order.
    pub(super) fn push(
        &mut self,
        unit: Arc<AccessUnit>,
        mut decide: impl FnMut(&AccessUnit) -> D,
    ) -> Vec<(Arc<AccessUnit>, D)> {
        if unit.sync == SyncKind::Closed {
            // Nothing before it is shown after it.
            self.decide(0, &mut decide);
        }
        self.held.push_back(Held { unit, decision: None });
        self.decide(self.depth, &mut decide);
        let mut out = Vec::new();
        while self.held.front().is_some_and(|held| held.decision.is_some()) {
            if let Some(Held { unit, decision: Some(decision) }) = self.held.pop_front() {
                out.push((unit, decision));
            }
        }
        out
    }

    /// Decides about all that are undecided but for the last `keep` in presentation order.
    fn decide(&mut self, keep: usize, decide: &mut impl FnMut(&AccessUnit) -> D) {
        let mut open: Vec<(WallTime, usize)> = self
            .held
            .iter()
            .enumerate()
            .filter(|(_, held)| held.decision.is_none())
            .map(|(at, held)| (held.unit.captured_at, at))
            .collect();
        open.sort_unstable();
        let count = open.len().saturating_sub(keep);
        for (_, at) in open.into_iter().take(count) {
            if let Some(held) = self.held.get_mut(at) {
                held.decision = Some(decide(&held.unit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use heldar_base::MonoTime;
    use heldar_media::{TrackKind, TrackParams, VideoCodec, VideoParams};
    use proptest::prelude::*;

    fn unit(params: &Arc<TrackParams>, shown: i64, sync: SyncKind) -> Arc<AccessUnit> {
        Arc::new(AccessUnit {
            track: TrackKind::Video,
            captured_at: WallTime(shown),
            received_at: MonoTime(0),
            rtp_time: 0,
            sync,
            params: params.clone(),
            payload: Bytes::new(),
            original: None,
        })
    }

    fn params() -> Arc<TrackParams> {
        Arc::new(TrackParams::Video(VideoParams {
            codec: VideoCodec::H264,
            codec_string: String::new(),
            width: 1,
            height: 1,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::new(),
        }))
    }

    /// Groups of pictures whose numbers say when they are shown, each out of order by at most `depth`.
    fn groups(depth: usize) -> impl Strategy<Value = Vec<Vec<i64>>> {
        let swaps = proptest::collection::vec(0..=depth, 1..12);
        proptest::collection::vec(swaps, 1..5).prop_map(move |groups| {
            let mut next = 0;
            let group = |swaps: Vec<usize>| {
                // The first one of a group is shown first; each later one may be sent up to `depth` places early.
                let first = next;
                let mut rest: Vec<i64> = (1..swaps.len() as i64).map(|n| first + n).collect();
                next += swaps.len() as i64;
                let mut sent = vec![first];
                for early in swaps.into_iter().skip(1) {
                    let overtaken = |at: usize| {
                        sent.iter().filter(|shown| rest.get(at).is_some_and(|r| r < shown)).count()
                    };
                    let most = (0..rest.len().min(early + 1))
                        .rev()
                        .find(|at| (0..*at).all(|b| overtaken(b) < depth));
                    sent.push(rest.remove(most.unwrap_or(0)));
                }
                sent
            };
            groups.into_iter().map(group).collect()
        })
    }

    proptest! {
        #[test]
        fn decisions_are_asked_in_the_order_of_the_screen((depth, groups) in (0usize..4).prop_flat_map(|d| (Just(d), groups(d)))) {
            let params = params();
            let mut order = Order::new(u8::try_from(depth).unwrap_or(0));
            let (mut asked, mut sent) = (Vec::new(), Vec::new());
            let all: Vec<i64> = groups.concat();
            for group in &groups {
                for (at, shown) in group.iter().enumerate() {
                    let sync = if at == 0 { SyncKind::Closed } else { SyncKind::None };
                    let ready = order.push(unit(&params, *shown, sync), |unit| asked.push(unit.captured_at.0));
                    sent.extend(ready.into_iter().map(|(unit, ())| unit.captured_at.0));
                }
            }
            prop_assert!(asked.is_sorted(), "{asked:?} of {all:?}");
            prop_assert!(asked.len() + depth >= all.len());
            prop_assert_eq!(&sent[..], &all[..sent.len()]);
            // Nothing is held back longer than it must be.
            prop_assert!(sent.len() + 2 * depth >= all.len(), "{} of {}", sent.len(), all.len());
        }
    }
}
