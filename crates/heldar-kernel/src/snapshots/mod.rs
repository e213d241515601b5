//! Scheduled snapshots (media.md 16): pictures of cameras, taken at an interval and kept as files.
//!
//! Owns: when a picture is due, the folder of snapshots, and that a file and its row come and go together. Never: what a
//! picture is, which `stills` makes; removal by age, which retention does.
//!
//! Each schedule has its grid of instants and runs by itself: a picture that is late for one is not late for another. One
//! that is due while the one before is still being taken is passed over.

mod folder;
mod grid;
mod orphans;
mod take;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use heldar_base::{Clock as _, Micros, PublicId, Scope, WallTime};
use heldar_config::Settings;
use heldar_store::{PAGE_LIMIT, SnapshotSchedule, StoreError};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

pub use folder::{SnapshotFolder, file_name, parse_name};

use crate::kernel::Kernel;
use folder::Claims;
use grid::Grid;
use take::{Outcome, fire};

/// Longest time between two looks at the schedules and the clock.
const LOOK: Duration = Duration::from_secs(30);
/// Rest before the store is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What schedules share.
#[derive(Debug)]
pub struct Snapshots {
    /// The files.
    pub folder: SnapshotFolder,
    claims: Claims,
    /// Pictures of schedules that ask for a slot at the same time.
    turns: Semaphore,
    wake: Notify,
}

impl Snapshots {
    /// Nothing runs yet.
    pub fn new(settings: &Settings) -> Self {
        Snapshots {
            folder: SnapshotFolder::new(&settings.storage.snapshots_dir),
            claims: Claims::default(),
            turns: Semaphore::new((settings.clips.job_concurrency / 2).max(1)),
            wake: Notify::new(),
        }
    }

    /// A schedule was made, changed or deleted.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// First instant of the millisecond of an instant.
    pub fn millisecond(at: WallTime) -> WallTime {
        WallTime(at.0.div_euclid(1000) * 1000)
    }
}

/// A schedule that runs.
#[derive(Debug)]
struct Planned {
    grid: Grid,
    revision: i64,
    due: WallTime,
    fired: Option<WallTime>,
    is_running: bool,
}

/// Every schedule that runs, by id.
#[derive(Debug, Default)]
struct Plan {
    schedules: BTreeMap<PublicId, Planned>,
}

impl Plan {
    /// Takes over what is stored; one that is unchanged goes on.
    fn take_over(&mut self, stored: Vec<SnapshotSchedule>, now: WallTime) {
        let mut before = std::mem::take(&mut self.schedules);
        for row in stored {
            let known = before.remove(&row.id);
            let interval = Micros::from_secs(i64::from(row.fields.interval_seconds));
            let grid = Grid { from: row.created_at, interval };
            let fired = known.as_ref().and_then(|known| known.fired).max(row.last_fired_at);
            let planned = match known {
                Some(known) if known.revision == row.revision => known,
                known => Planned {
                    grid,
                    revision: row.revision,
                    due: grid.due(fired, now),
                    fired,
                    is_running: known.is_some_and(|known| known.is_running),
                },
            };
            self.schedules.insert(row.id, planned);
        }
    }

    /// Which are to take a picture now.
    fn due(&mut self, now: WallTime) -> Vec<PublicId> {
        let mut due = Vec::new();
        for (id, planned) in &mut self.schedules {
            planned.due = planned.grid.within_reach(planned.due, now);
            if planned.due > now {
                continue;
            }
            planned.due = planned.grid.after(now);
            if !std::mem::replace(&mut planned.is_running, true) {
                planned.fired = Some(now);
                due.push(*id);
            }
        }
        due
    }

    /// When the next is due.
    fn next(&self) -> Option<WallTime> {
        self.schedules.values().map(|planned| planned.due).min()
    }

    fn ended(&mut self, id: PublicId, outcome: Outcome) {
        if outcome == Outcome::Gone {
            self.schedules.remove(&id);
        } else if let Some(planned) = self.schedules.get_mut(&id) {
            planned.is_running = false;
        }
    }
}

/// Removes what a crash left, and takes pictures when they are due.
pub async fn run(kernel: Arc<Kernel>) {
    let (_removed, ()) = tokio::join!(orphans::remove(&kernel), schedule(&kernel));
}

async fn schedule(kernel: &Arc<Kernel>) {
    if !kernel.settings.snapshots.enabled {
        return std::future::pending().await;
    }
    let mut plan = Plan::default();
    let mut running: JoinSet<Outcome> = JoinSet::new();
    let mut ids: HashMap<tokio::task::Id, PublicId> = HashMap::new();
    let mut look = tokio::time::Instant::now();
    loop {
        if look <= tokio::time::Instant::now() {
            let wait = match stored(kernel).await {
                Ok(stored) => {
                    plan.take_over(stored, kernel.clock.wall());
                    LOOK
                }
                Err(error) => {
                    tracing::warn!(%error, "the snapshot schedules cannot be read");
                    RETRY
                }
            };
            look = tokio::time::Instant::now() + wait;
        }
        let now = kernel.clock.wall();
        for id in plan.due(now) {
            let task = running.spawn(fire(kernel.clone(), id, now));
            ids.insert(task.id(), id);
        }
        let rest = plan.next().map_or(LOOK, |due| (due - now).to_std());
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = tokio::time::sleep_until(look) => {}
            () = kernel.snapshots.wake.notified() => look = tokio::time::Instant::now(),
            Some(ended) = running.join_next_with_id() => {
                let (task, outcome) = match ended {
                    Ok(ended) => ended,
                    Err(error) => (error.id(), Outcome::Tried),
                };
                if let Some(id) = ids.remove(&task) {
                    plan.ended(id, outcome);
                }
            }
        }
    }
}

/// Every schedule that is to run.
async fn stored(kernel: &Kernel) -> Result<Vec<SnapshotSchedule>, StoreError> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = kernel.store.running_snapshot_schedules(&Scope::All, after, PAGE_LIMIT).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return Ok(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::CameraId;
    use heldar_store::SnapshotScheduleFields;

    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime(seconds * 1_000_000)
    }

    fn row(number: u128, interval_seconds: u32, last_fired_at: Option<i64>) -> SnapshotSchedule {
        SnapshotSchedule {
            id: PublicId::new(SnapshotSchedule::PREFIX, number),
            camera: CameraId::new("gate").unwrap(),
            fields: SnapshotScheduleFields { interval_seconds, enabled: true },
            last_fired_at: last_fired_at.map(at),
            last_error: None,
            created_at: at(0),
            updated_at: at(0),
            revision: 1,
        }
    }

    #[test]
    fn each_runs_on_its_grid_and_by_itself() {
        let mut plan = Plan::default();
        let rows = || vec![row(1, 5, None), row(2, 10, Some(0))];
        let [one, two] = [rows()[0].id, rows()[1].id];
        plan.take_over(rows(), at(1));
        assert_eq!(plan.due(at(1)), [one]);
        assert_eq!(plan.next(), Some(at(5)));
        // Still being taken: passed over, and the other is not held up.
        assert_eq!(plan.due(at(10)), [two]);
        plan.ended(one, Outcome::Tried);
        assert_eq!((plan.due(at(12)), plan.next()), (vec![], Some(at(15))));
        assert_eq!(plan.due(at(15)), [one]);
        // What is stored may be older than what is known; another look changes nothing.
        plan.take_over(rows(), at(16));
        assert_eq!((plan.due(at(16)), plan.next()), (vec![], Some(at(20))));
        // One that was changed has another grid and is not taken twice at a time.
        let mut changed = rows();
        changed[0].fields.interval_seconds = 7;
        changed[0].revision = 2;
        plan.ended(two, Outcome::Off);
        plan.take_over(changed, at(16));
        assert_eq!(plan.next(), Some(at(20)), "the other comes first");
        assert_eq!(plan.due(at(21)), [two]);
        plan.ended(one, Outcome::Tried);
        plan.ended(two, Outcome::Gone);
        assert_eq!((plan.due(at(27)), plan.next()), (vec![], Some(at(28))));
        assert_eq!(plan.due(at(28)), [one]);
        plan.take_over(Vec::new(), at(28));
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn what_passed_while_the_server_was_down_is_taken_once() {
        let mut plan = Plan::default();
        plan.take_over(vec![row(1, 60, Some(0))], at(3601));
        assert_eq!(plan.due(at(3601)).len(), 1);
        plan.ended(row(1, 60, None).id, Outcome::Tried);
        assert_eq!((plan.due(at(3659)), plan.next()), (vec![], Some(at(3660))));
        // The clock is set back: an interval later at most it goes on.
        assert!(plan.due(at(100)).is_empty());
        assert_eq!(plan.next(), Some(at(120)));
    }
}
