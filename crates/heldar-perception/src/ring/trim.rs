//! Which frames go when all rings together hold too many bytes (`HELDAR_AI_RING_MB`).

use heldar_base::WallTime;

use super::Ring;

/// A ring and how much its unit matters.
#[derive(Debug)]
pub struct PrioritizedRing<'a> {
    /// Priority of the camera; frames of lower ones go first.
    pub priority: i64,
    /// The ring.
    pub ring: &'a mut Ring,
}

/// Drops frames until all rings together hold at most `budget_bytes`: the oldest of the lowest priority first, those that
/// every task must keep never. Bytes held afterwards.
pub fn trim(rings: &mut [PrioritizedRing<'_>], budget_bytes: usize) -> usize {
    let mut held: usize = rings.iter().map(|ring| ring.ring.bytes()).sum();
    while held > budget_bytes {
        let spare = rings.iter().enumerate().filter_map(|(at, ring)| {
            let (frame, captured_at) = ring.ring.oldest_spare()?;
            Some(((ring.priority, captured_at), at, frame))
        });
        let Some((_, at, frame)) = spare.min() else { break };
        let freed = rings.get_mut(at).map_or(0, |ring| ring.ring.remove(frame));
        held = held.saturating_sub(freed);
    }
    held
}

impl Ring {
    /// The oldest frame that no task must keep: its position and capture time.
    fn oldest_spare(&self) -> Option<(usize, WallTime)> {
        let (at, frame) = self.frames.iter().enumerate().find(|(_, frame)| !self.is_pinned(frame))?;
        Some((at, frame.captured_at))
    }
}
