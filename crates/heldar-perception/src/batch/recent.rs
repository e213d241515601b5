//! What is remembered of recent batches of each (camera, task): the newest capture time, and the last row that said
//! "nothing seen" (perception.md 8.5).
//!
//! Both memories are bounded; what was forgotten counts as never seen, which stores a row too many or marks a batch too
//! few as late, and loses nothing.

use std::collections::HashMap;

use heldar_base::{CameraId, Micros, WallTime};

use super::TaskKey;

/// Pairs of camera and task remembered at most.
const REMEMBERED: usize = 8192;
/// A batch older than the newest by more than this is late.
const LATE: Micros = Micros::from_secs(2);

type Key = (CameraId, TaskKey);

/// A map that forgets the keys longest unused.
#[derive(Debug)]
struct Recent<V> {
    map: HashMap<Key, (V, u64)>,
    uses: u64,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Recent { map: HashMap::new(), uses: 0 }
    }
}

impl<V: Copy> Recent<V> {
    fn get(&self, key: &Key) -> Option<V> {
        self.map.get(key).map(|(value, _)| *value)
    }

    fn put(&mut self, key: Key, value: V) {
        self.uses += 1;
        self.map.insert(key, (value, self.uses));
        if self.map.len() > REMEMBERED {
            let mut uses: Vec<u64> = self.map.values().map(|(_, used)| *used).collect();
            let (_, quarter, _) = uses.select_nth_unstable(REMEMBERED / 4);
            let quarter = *quarter;
            self.map.retain(|_, (_, used)| *used > quarter);
        }
    }
}

/// Which batches come late.
#[derive(Debug, Default)]
pub struct Lateness {
    newest: Recent<WallTime>,
}

impl Lateness {
    /// Takes in a batch captured at `captured_at`, and tells whether it is late: more than 2 s older than the newest
    /// before it. A time ahead of `now` counts as `now`, so that one wrong clock does not make all that follows late.
    pub fn observe(
        &mut self,
        camera: &CameraId,
        task: &TaskKey,
        captured_at: WallTime,
        now: WallTime,
    ) -> bool {
        let key = (camera.clone(), task.clone());
        let newest = self.newest.get(&key);
        let at = captured_at.min(now);
        self.newest.put(key, newest.map_or(at, |newest| newest.max(at)));
        newest.is_some_and(|newest| newest - captured_at > LATE)
    }
}

/// What becomes of a batch that says "nothing seen".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyBatch {
    /// It is stored.
    Store,
    /// It is merged with the row before it: not stored, given to consumers at most once.
    Merge,
}

/// When "nothing seen" is worth a row.
#[derive(Debug)]
pub struct EmptyRows {
    every: Micros,
    /// When the last row was stored, of those that have been empty since.
    last: Recent<WallTime>,
}

impl EmptyRows {
    /// At most one row in `every_secs` (`HELDAR_AI_EMPTY_ROW_SECS`); 0: every one is stored.
    pub fn new(every_secs: u32) -> Self {
        EmptyRows { every: Micros::from_secs(i64::from(every_secs)), last: Recent::default() }
    }

    /// What becomes of an empty batch at `now`.
    pub fn decide(&self, camera: &CameraId, task: &TaskKey, now: WallTime) -> EmptyBatch {
        match self.last.get(&(camera.clone(), task.clone())) {
            // A clock that was set back must not silence the task until it has caught up.
            Some(at) if now >= at && now - at < self.every => EmptyBatch::Merge,
            _ => EmptyBatch::Store,
        }
    }

    /// An empty batch of this task was stored at `now`.
    pub fn stored_empty(&mut self, camera: &CameraId, task: &TaskKey, now: WallTime) {
        self.last.put((camera.clone(), task.clone()), now);
    }

    /// A batch that is not empty was stored: the next empty one is a row again.
    pub fn stored_other(&mut self, camera: &CameraId, task: &TaskKey) {
        self.last.map.remove(&(camera.clone(), task.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskId;

    const NOW: WallTime = WallTime(1_780_000_000_000_000);

    fn at(ms: i64) -> WallTime {
        NOW + Micros::from_millis(ms)
    }

    fn camera() -> CameraId {
        CameraId::new("gate").unwrap()
    }

    #[test]
    fn late_is_two_seconds_behind_the_newest() {
        let mut lateness = Lateness::default();
        let one = TaskKey::Task(TaskId::new(1));
        for (task, captured, now, late) in [
            (&one, 0, 0, false),
            (&one, -2_000, 1, false),
            (&one, -2_001, 2, true),
            // A time from the future is no measure.
            (&one, 3_600_000, 5_000, false),
            (&one, 3_000, 6_000, false),
            (&one, 2_999, 6_000, true),
            (&TaskKey::Type("x".into()), -60_000, 6_000, false),
        ] {
            assert_eq!(lateness.observe(&camera(), task, at(captured), at(now)), late, "{captured}");
        }
    }

    #[test]
    fn nothing_seen_is_a_row_in_ten_seconds() {
        let (mut rows, task) = (EmptyRows::new(10), TaskKey::Task(TaskId::new(1)));
        let mut step = |ms: i64, empty: bool| {
            if !empty {
                rows.stored_other(&camera(), &task);
                return None;
            }
            let decision = rows.decide(&camera(), &task, at(ms));
            if decision == EmptyBatch::Store {
                rows.stored_empty(&camera(), &task, at(ms));
            }
            Some(decision)
        };
        let (store, merge) = (Some(EmptyBatch::Store), Some(EmptyBatch::Merge));
        for (ms, empty, expect) in [
            (0, true, store),
            (200, true, merge),
            (9_999, true, merge),
            (10_000, true, store),
            (10_200, true, merge),
            (10_400, false, None),
            (10_600, true, store),
            (10_800, true, merge),
            (-50_000, true, store),
            (-49_000, true, merge),
        ] {
            assert_eq!(step(ms, empty), expect, "{ms}");
        }
        let mut every = EmptyRows::new(0);
        every.stored_empty(&camera(), &task, NOW);
        assert_eq!(every.decide(&camera(), &task, NOW), EmptyBatch::Store);
    }

    #[test]
    fn names_that_are_made_up_take_no_memory() {
        let mut lateness = Lateness::default();
        for n in 0..3 * REMEMBERED {
            lateness.observe(&camera(), &TaskKey::Type(format!("t{n}").into()), NOW, NOW);
        }
        assert!(lateness.newest.map.len() <= REMEMBERED);
        let newest = TaskKey::Type(format!("t{}", 3 * REMEMBERED - 1).into());
        assert!(lateness.observe(&camera(), &newest, at(-3_000), NOW), "the latest are still known");
    }
}
