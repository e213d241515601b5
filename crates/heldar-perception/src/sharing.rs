//! Which worker gets which task (perception.md 4.4).
//!
//! Owns: the choice, a pure function of tasks and workers. Never: leases, what is held now, time.
//!
//! Rule: tasks in descending weight, then id. Each goes to the candidate of the highest score (rendezvous hashing,
//! weighted by capacity), unless that one would pass [`BOUND`] times its fair share or its `max_tasks`; then to the
//! next. When all would, the least loaded of those with room below `max_tasks` takes it.
//!
//! - A worker's fair share is the sum, over the tasks that it is a candidate for, of the task's weight divided by
//!   capacity among that task's candidates. Where every worker is a candidate for every task this is the whole weight
//!   divided by capacity; where types are disjoint, each group of workers has its own.
//! - `max_tasks` is a promise to the worker and holds always: a task whose candidates are all full has no worker.
//!
//! Invariants: every task of which a candidate has room is given to exactly one of its candidates; the order of the
//! inputs does not matter.

use heldar_base::CameraId;
use sha2::{Digest, Sha256};

use crate::TaskId;

/// How far above its fair share a worker may be loaded while another has room.
pub const BOUND: f64 = 1.25;

/// What the sharing knows of a task.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Its name; each once.
    pub task: TaskId,
    /// Its type.
    pub task_type: &'a str,
    /// Its camera.
    pub camera: &'a CameraId,
    /// What it weighs, in whatever unit the others do; above 0.
    pub weight: f64,
}

/// What the sharing knows of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What it calls with.
    pub credential: &'a str,
    /// What it calls itself; each pair of credential and worker once.
    pub worker: &'a str,
    /// The types it takes; `None`: any.
    pub types: Option<&'a [String]>,
    /// The cameras it may see.
    pub scope: &'a heldar_base::Scope,
    /// Its strength beside the others; above 0.
    pub capacity: f64,
    /// Most tasks it takes.
    pub max_tasks: usize,
}

impl Candidate<'_> {
    /// Whether the task could be its own.
    pub fn covers(&self, task_type: &str, camera: &CameraId) -> bool {
        self.types.is_none_or(|types| types.iter().any(|t| t == task_type)) && self.scope.covers(camera)
    }
}

/// One worker while tasks are given out.
struct Seat<'a> {
    /// Position in the input.
    input: usize,
    worker: &'a Candidate<'a>,
    hash: u64,
    fair: f64,
    load: f64,
    tasks: usize,
}

impl Seat<'_> {
    fn has_room(&self) -> bool {
        self.tasks < self.worker.max_tasks
    }

    fn bears(&self, weight: f64) -> bool {
        // The slack keeps sums of equal weights from failing by a rounding error.
        self.has_room() && self.load + weight <= self.fair * BOUND * (1.0 + 1e-9)
    }

    fn relative_load(&self) -> f64 {
        self.load / self.worker.capacity
    }
}

/// For each task, in the order of `tasks`, the position in `workers` of who gets it; `None` where nobody can.
pub fn share(tasks: &[Load<'_>], workers: &[Candidate<'_>]) -> Vec<Option<usize>> {
    let mut seats: Vec<Seat<'_>> =
        workers.iter().enumerate().map(|(input, worker)| seat(input, worker)).collect();
    // Sums of fractions depend on their order, so the inputs are brought into one that is theirs alone.
    seats.sort_by_key(|seat| (seat.worker.credential, seat.worker.worker));
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&tasks[*a], &tasks[*b]);
        b.weight.total_cmp(&a.weight).then(a.task.cmp(&b.task))
    });
    let candidates: Vec<Vec<usize>> = order
        .iter()
        .map(|at| {
            let task = &tasks[*at];
            (0..seats.len()).filter(|s| seats[*s].worker.covers(task.task_type, task.camera)).collect()
        })
        .collect();
    for (at, of_task) in order.iter().zip(&candidates) {
        let capacity: f64 = of_task.iter().map(|s| seats[*s].worker.capacity).sum();
        for s in of_task {
            let seat = &mut seats[*s];
            seat.fair += tasks[*at].weight * seat.worker.capacity / capacity;
        }
    }
    let mut given = vec![None; tasks.len()];
    for (at, of_task) in order.iter().zip(candidates) {
        let task = &tasks[*at];
        if let Some(s) = choose(task, of_task, &seats) {
            let seat = &mut seats[s];
            seat.load += task.weight;
            seat.tasks += 1;
            given[*at] = Some(seat.input);
        }
    }
    given
}

fn choose(task: &Load<'_>, candidates: Vec<usize>, seats: &[Seat<'_>]) -> Option<usize> {
    let hash = task_hash(task.task);
    let mut scored: Vec<(f64, usize)> = candidates.into_iter().map(|s| (score(hash, &seats[s]), s)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let chosen = scored.iter().find(|(_, s)| seats[*s].bears(task.weight));
    // `min_by` takes the first of equals: the one with the highest score.
    let least = || {
        let with_room = scored.iter().filter(|(_, s)| seats[*s].has_room());
        with_room.min_by(|a, b| seats[a.1].relative_load().total_cmp(&seats[b.1].relative_load()))
    };
    chosen.or_else(least).map(|(_, s)| *s)
}

/// Weighted rendezvous hashing: with `u` even in (0, 1), the largest `-capacity / ln(u)` falls to each worker as often as
/// its capacity says, and does not depend on who else is there.
fn score(task: u64, seat: &Seat<'_>) -> f64 {
    let bits = mix(task ^ seat.hash.rotate_left(32));
    // 53 bits and a half: never 0 and never 1.
    let u = ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -seat.worker.capacity / u.ln()
}

fn seat<'a>(input: usize, worker: &'a Candidate<'a>) -> Seat<'a> {
    let mut hash = Sha256::new();
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    hash.update((worker.credential.len() as u64).to_be_bytes());
    hash.update(worker.credential.as_bytes());
    hash.update(worker.worker.as_bytes());
    Seat { input, worker, hash: first_eight(&hash.finalize()), fair: 0.0, load: 0.0, tasks: 0 }
}

fn task_hash(task: TaskId) -> u64 {
    first_eight(&Sha256::digest(task.bits().to_be_bytes()))
}

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
}

/// Spreads each bit over all (finalizer of the SplitMix64 generator). Two digests are joined by it, because one digest
/// for each pair would cost a thousand times as much.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
