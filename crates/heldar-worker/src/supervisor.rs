//! Which tasks a worker holds, and one loop for each.
//!
//! Owns: leases and discovery, the end, and the line about the last minute. Invariants: leases come first and discovery only
//! after a 404, then for good; a loop is restarted only when what it depends on changed; nothing runs on a lease that has run
//! out; the lease is given back at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::api::{self, Asked, Held, LeaseRequest};
use crate::handler::Registration;
use crate::plan::{Wanted, Why, steps};
use crate::retry::random;
use crate::task::Task;
use crate::task_loop::{Shared, TaskLoop};

const SUMMARY: Duration = Duration::from_secs(60);
/// A server that wants to be asked more often is not.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
/// What frames at hand may take after a signal, and then the return of the lease. Together they stay below the ten seconds
/// after which containers are killed.
const FAREWELL: Duration = Duration::from_secs(7);
const RELEASE: Duration = Duration::from_millis(2500);

/// What a worker asks for beside its settings.
pub(crate) struct Offer {
    pub(crate) handlers: BTreeMap<String, Registration>,
    pub(crate) max_tasks: Option<u32>,
    pub(crate) capacity: Option<f64>,
}

pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    offer: Offer,
    stop: Arc<AtomicBool>,
    loops: BTreeMap<String, TaskLoop>,
    /// Told to end, and finishing a frame.
    ending: Vec<TaskLoop>,
    /// Until the server has said that it has none.
    leases: bool,
    lease_id: Option<String>,
    lease_ends: Option<Instant>,
    failures: u32,
    refused: BTreeMap<String, String>,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, offer: Offer, stop: Arc<AtomicBool>) -> Self {
        Self {
            shared,
            offer,
            stop,
            loops: BTreeMap::new(),
            ending: Vec::new(),
            leases: true,
            lease_id: None,
            lease_ends: None,
            failures: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Until `stop` is set and `wake` with it.
    pub(crate) fn run(mut self) {
        let settings = &self.shared.settings;
        let types: Vec<&str> = self.offer.handlers.keys().map(String::as_str).collect();
        tracing::info!("worker {} serves {} from {}", settings.worker_id, types.join(", "), settings.api);
        let mut next_ask = Instant::now();
        let mut next_summary = next_ask + SUMMARY;
        while !self.stop.load(Ordering::Acquire) {
            if self.shared.ask.swap(false, Ordering::AcqRel) || Instant::now() >= next_ask {
                let pause = self.ask();
                next_ask = Instant::now() + pause;
            }
            let now = Instant::now();
            if self.lease_ends.is_some_and(|end| now >= end) {
                self.lease_ran_out();
            }
            if now >= next_summary {
                next_summary = now + SUMMARY;
                tracing::info!("last minute: tasks={} {}", self.loops.len(), self.shared.counters.summary());
            }
            self.ending.retain(|ending| !ending.has_ended());
            let until = next_ask.min(next_summary);
            self.shared.wake.take_by(self.lease_ends.map_or(until, |end| end.min(until)));
        }
        self.finish();
    }

    /// One look at the tasks; how long until the next.
    fn ask(&mut self) -> Duration {
        let asked = Instant::now();
        let held = match self.call() {
            Ok(Asked::Held(held)) => held,
            Ok(Asked::NoLeases) => {
                tracing::info!("this server has no leases; tasks are discovered instead");
                (self.leases, self.lease_id, self.lease_ends) = (false, None, None);
                return Duration::ZERO;
            }
            Ok(Asked::Other(answer)) if answer.status >= 500 || answer.status == 429 => {
                return self.not_told(&answer.told(), answer.retry_after());
            }
            Ok(Asked::Other(answer)) => {
                // Key, rights or name: a person must act, so it keeps asking at leisure.
                if self.shared.throttle.passes("refused", asked) {
                    tracing::error!("the server refuses this worker: {}", answer.told());
                }
                return self.shared.settings.poll_interval;
            }
            Err(error) => return self.not_told(&error.to_string(), None),
        };
        self.failures = 0;
        self.apply(&held.tasks);
        let ttl = Duration::from_secs(self.shared.settings.ttl_secs().into());
        if self.leases {
            // From the moment of asking: the server cannot have counted from earlier.
            self.lease_ends = Some(asked + ttl);
        }
        let pause =
            next_ask(self.shared.settings.poll_interval, self.leases.then_some(ttl), held.renew_after);
        self.note_lease(held);
        pause
    }

    fn call(&self) -> Result<Asked, crate::http::Unreached> {
        let settings = &self.shared.settings;
        if !self.leases {
            return api::discover(&self.shared.client, &settings.worker_id);
        }
        let request = LeaseRequest {
            worker_id: &settings.worker_id,
            ttl_secs: settings.ttl_secs(),
            task_types: self.offer.handlers.keys().map(String::as_str).collect(),
            max_tasks: self.offer.max_tasks,
            capacity: self.offer.capacity,
        };
        api::lease(&self.shared.client, &request)
    }

    fn note_lease(&mut self, held: Held) {
        if held.lease_id.is_some() && held.lease_id != self.lease_id {
            tracing::info!(lease = held.lease_id, "a lease is held");
        }
        self.lease_id = held.lease_id;
    }

    fn not_told(&mut self, told: &str, retry_after: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if self.shared.throttle.passes("unreachable", Instant::now()) {
            tracing::warn!("tasks cannot be asked for: {told}");
        }
        self.shared.backoff().delay(self.failures, random(), retry_after)
    }

    fn apply(&mut self, raw: &[serde_json::Value]) {
        let handlers = &self.offer.handlers;
        let wanted = Wanted::of(raw, |kind| handlers.contains_key(kind), self.offer.max_tasks);
        for (id, why) in &wanted.refused {
            if self.refused.get(id) != Some(why) {
                tracing::error!(task = id, "the task is not served: {why}");
            }
        }
        let steps = steps(self.loops.values().map(|running| &*running.task), &wanted.tasks);
        self.refused = wanted.refused;
        for (id, why) in steps.end {
            self.end(
                &id,
                match why {
                    Why::Gone => "the task is gone",
                    Why::Changed => "the task has changed",
                },
            );
        }
        for task in steps.begin {
            self.begin(task);
        }
    }

    fn begin(&mut self, task: Task) {
        let Some(handlers) = self.offer.handlers.get(&task.task_type) else { return };
        let id = task.id.clone();
        tracing::info!(
            task = id,
            camera = task.camera_id,
            profile = task.stream_profile,
            fps = task.fps,
            width = task.width,
            "a task of type {} begins",
            task.task_type
        );
        match TaskLoop::start(task, handlers.clone(), &self.shared) {
            Ok(running) => {
                self.loops.insert(id, running);
            }
            // The next look at the tasks tries again.
            Err(error) => tracing::error!(task = id, %error, "the task cannot be served now"),
        }
    }

    fn end(&mut self, id: &str, why: &str) {
        if let Some(running) = self.loops.remove(id) {
            tracing::info!(task = id, "{why}");
            running.stop();
            self.ending.push(running);
        }
    }

    fn lease_ran_out(&mut self) {
        self.lease_ends = None;
        if !self.loops.is_empty() {
            tracing::warn!("the lease ran out without renewal; its tasks stop");
        }
        for id in self.loops.keys().cloned().collect::<Vec<_>>() {
            self.end(&id, "the task has no lease");
        }
    }

    fn finish(mut self) {
        let mut ending = std::mem::take(&mut self.ending);
        ending.extend(std::mem::take(&mut self.loops).into_values());
        ending.iter().for_each(TaskLoop::stop);
        let until = Instant::now() + FAREWELL;
        loop {
            ending.retain(|ending| !ending.has_ended());
            if ending.is_empty() || Instant::now() >= until {
                break;
            }
            self.shared.wake.take_by(until);
        }
        if !ending.is_empty() {
            tracing::warn!(tasks = ending.len(), "frames were not finished in time");
        }
        if let Some(lease_id) = &self.lease_id {
            // A fresh connection: the kept ones may hang.
            let client = self.shared.server.client(self.shared.settings.http_timeout.min(RELEASE));
            match api::release(&client, lease_id) {
                Ok(answer) => tracing::debug!(status = answer.status, "the lease is given back"),
                Err(error) => {
                    tracing::info!(%error, "the lease could not be given back and runs out by itself")
                }
            }
        }
        tracing::info!("ended: {}", self.shared.counters.summary());
    }
}

/// When tasks are looked at next; a lease is renewed with a third of its time left at the latest.
fn next_ask(poll: Duration, ttl: Option<Duration>, renew_after: Option<Duration>) -> Duration {
    let renewal = ttl.map_or(poll, |ttl| ttl * 2 / 3);
    poll.min(renewal).min(renew_after.unwrap_or(poll)).max(LEAST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_in_time() {
        let secs = Duration::from_secs;
        assert_eq!(next_ask(secs(10), Some(secs(60)), None), secs(10));
        assert_eq!(next_ask(secs(200), Some(secs(300)), None), secs(200));
        assert_eq!(next_ask(secs(250), Some(secs(300)), None), secs(200));
        assert_eq!(next_ask(secs(10), Some(secs(60)), Some(secs(4))), secs(4));
        assert_eq!(next_ask(secs(10), None, None), secs(10));
        assert_eq!(next_ask(secs(10), Some(secs(60)), Some(Duration::from_millis(1))), LEAST_PAUSE);
    }
}
