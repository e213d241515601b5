//! The life of one task: pull the newest frame, analyse it, post the result, again.
//!
//! Owns: which frames are skipped, the repetition of posts, and what a handler's error or panic costs: its frame.
//! Invariants: one frame at a time, always the newest; after `stop` the frame at hand is still finished and posted.
//! Never: asks for tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::api::{self, Posted, Pulled};
use crate::counters::{Count, Counters};
use crate::detection::{Findings, MAX_DETECTIONS};
use crate::event::Event;
use crate::frame::{BrokenFrame, Frame};
use crate::handler::{BoxError, HandlerResult, Registration, Serving};
use crate::http::{Client, Server};
use crate::log::Throttle;
use crate::retry::{Backoff, random};
use crate::settings::Settings;
use crate::task::Task;

/// Longest wait that a server grants in one request.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// To skip the cycle of a task at 0.02 fps would be 50 s, while its first frame may be a second away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the loops of a worker have in common.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) server: Server,
    /// For everything but pulls.
    pub(crate) client: Client,
    pub(crate) counters: Counters,
    pub(crate) throttle: Throttle,
    /// Set to have the supervisor look around.
    pub(crate) wake: Arc<Event>,
    /// A lease was lost: tasks are to be asked for at once.
    pub(crate) ask: AtomicBool,
}

impl Shared {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { base: self.settings.backoff_base, cap: self.settings.backoff_cap }
    }
}

/// One thread, one task.
pub(crate) struct TaskLoop {
    pub(crate) task: Arc<Task>,
    stop: Arc<Event>,
    pulls: Client,
    ended: Arc<AtomicBool>,
}

impl TaskLoop {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(task: Task, handlers: Registration, shared: &Arc<Shared>) -> std::io::Result<Self> {
        let task = Arc::new(task);
        let stop = Arc::new(Event::default());
        let ended = Arc::new(AtomicBool::new(false));
        let wait = task.period().min(LONGEST_WAIT);
        let pulls = shared.server.client(shared.settings.http_timeout.saturating_add(wait));
        let end = End { ended: Arc::clone(&ended), wake: Arc::clone(&shared.wake) };
        let mut cycle = Cycle {
            trouble: Trouble { task_id: task.id.clone(), shared: Arc::clone(shared) },
            task: Arc::clone(&task),
            handlers,
            shared: Arc::clone(shared),
            pulls: pulls.clone(),
            stop: Arc::clone(&stop),
            wait,
            after: None,
            last_captured: None,
            numbered: true,
            pull_failures: 0,
            leases_lost: 0,
        };
        let body = move || {
            let _end = end;
            cycle.run();
        };
        std::thread::Builder::new().name(format!("task {}", task.id)).spawn(body)?;
        Ok(Self { task, stop, pulls, ended })
    }

    /// Takes no further frame; the one at hand is finished.
    pub(crate) fn stop(&self) {
        self.stop.set();
        self.pulls.shutdown();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Tells of the end of a loop, however it came.
struct End {
    ended: Arc<AtomicBool>,
    wake: Arc<Event>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.wake.set();
    }
}

/// Counts what goes wrong with a task and tells of it, not too often.
struct Trouble {
    task_id: String,
    shared: Arc<Shared>,
}

impl Trouble {
    fn note(&self, count: Count, told: &str) {
        self.shared.counters.add(count, 1);
        if self.shared.throttle.passes(&format!("{count:?} {}", self.task_id), Instant::now()) {
            tracing::warn!(task = self.task_id, "{told}");
        }
    }
}

/// Why there is no result of a frame.
#[derive(Debug, PartialEq)]
enum Failed {
    /// It grew too old while it waited for its turn.
    Stale,
    Broken(String),
    Error(String),
    Panicked,
}

struct Cycle {
    task: Arc<Task>,
    handlers: Registration,
    shared: Arc<Shared>,
    trouble: Trouble,
    pulls: Client,
    stop: Arc<Event>,
    /// How long a server may wait for a frame.
    wait: Duration,
    after: Option<u64>,
    last_captured: Option<String>,
    /// Old servers number no frames; then a timer of one period takes the place of waiting at the server.
    numbered: bool,
    pull_failures: u32,
    /// In a row.
    leases_lost: u32,
}

impl Cycle {
    fn run(&mut self) {
        while !self.stop.is_set() {
            let made = catch_unwind(AssertUnwindSafe(|| self.handlers.of_task(&self.task)));
            let why = match made {
                Ok(Ok(mut serving)) => {
                    self.serve_with(&mut serving);
                    continue;
                }
                Ok(Err(error)) => chain(&*error),
                Err(_) => "its factory panicked".to_owned(),
            };
            self.shared.counters.add(Count::HandlerErrors, 1);
            tracing::error!(task = self.task.id, "the task has no handler until its settings change: {why}");
            return;
        }
    }

    /// Until `stop`, or until a handler panicked and a new one is needed.
    fn serve_with(&mut self, serving: &mut Serving) {
        while !self.stop.is_set() {
            let began = Instant::now();
            if let Some(frame) = self.next_frame(began)
                && self.serve(serving, &frame) == Some(Failed::Panicked)
            {
                self.stop.wait(self.shared.backoff().delay(1, random(), None));
                return;
            }
            if !self.numbered {
                self.pause(began, self.task.period());
            }
        }
    }

    /// The next frame that is worth analysing, or none after an attempt and the pause that is due.
    fn next_frame(&mut self, began: Instant) -> Option<Frame> {
        // Until it is known whether frames are numbered, the server may wait: it costs nothing if it cannot.
        let wait = if self.numbered { self.wait } else { Duration::ZERO };
        let frame = match api::pull(&self.pulls, &self.task, self.after, wait) {
            Ok(Pulled::Frame(frame)) => *frame,
            Ok(Pulled::Empty) => {
                self.pull_failures = 0;
                self.shared.counters.add(Count::PullsEmpty, 1);
                // A server that answers at once instead of waiting must not be asked in a spin.
                self.pause(began, self.task.period());
                return None;
            }
            Ok(Pulled::Other(answer)) if answer.status >= 500 || answer.status == 429 => {
                self.pull_failed(&answer.told(), answer.retry_after());
                return None;
            }
            Ok(Pulled::Other(answer)) => {
                // 401 and 403: perhaps the lease went; the next look at the tasks will tell.
                self.trouble.note(Count::PullErrors, &format!("no frame: {}", answer.told()));
                self.pause(began, self.task.period().max(Duration::from_secs(1)));
                return None;
            }
            Err(_) if self.stop.is_set() => return None,
            Err(error) => {
                self.pull_failed(&error.to_string(), None);
                return None;
            }
        };
        self.pull_failures = 0;
        self.numbered = frame.seq.is_some();
        if self.is_news(&frame) && !self.stop.is_set() { Some(frame) } else { None }
    }

    fn is_news(&mut self, frame: &Frame) -> bool {
        // The number may have grown although the picture did not; what comes after it is asked for next.
        self.after = frame.seq;
        let skipped = if self.last_captured.as_ref() == Some(&frame.captured_at_text) {
            Count::SkippedUnchanged
        } else if frame.is_stale() {
            Count::SkippedStale
        } else {
            self.last_captured = Some(frame.captured_at_text.clone());
            self.shared.counters.add(Count::SkippedByServer, frame.skipped);
            return true;
        };
        self.last_captured = Some(frame.captured_at_text.clone());
        self.shared.counters.add(skipped, 1);
        self.stop.wait(self.task.period().min(LONGEST_PAUSE));
        false
    }

    fn serve(&mut self, serving: &mut Serving, frame: &Frame) -> Option<Failed> {
        let failed = match analyze(serving, frame) {
            Ok((found, took)) => {
                self.shared.counters.add(Count::Frames, 1);
                self.shared.counters.inference(took);
                match found.checked() {
                    Ok((found, cut)) => {
                        self.tell_cut(cut);
                        self.post(&api::batch(frame, &found), found.detections.len());
                        return None;
                    }
                    Err(why) => Failed::Error(format!("its result cannot be sent: {why}")),
                }
            }
            Err(failed) => failed,
        };
        match &failed {
            Failed::Stale => self.shared.counters.add(Count::SkippedStale, 1),
            Failed::Broken(why) => self.trouble.note(Count::Broken, why),
            Failed::Error(why) => self.trouble.note(Count::HandlerErrors, &format!("handler failed: {why}")),
            Failed::Panicked => {
                self.trouble.note(Count::HandlerErrors, "handler panicked; its frame is given up")
            }
        }
        Some(failed)
    }

    fn tell_cut(&self, cut: usize) {
        if cut > 0 && self.shared.throttle.passes(&format!("cut {}", self.task.id), Instant::now()) {
            let all = MAX_DETECTIONS + cut;
            tracing::warn!(
                task = self.task.id,
                "{all} detections in one frame; the most confident {MAX_DETECTIONS} are sent"
            );
        }
    }

    fn post(&mut self, batch: &[u8], detections: usize) {
        let mut attempt = 0;
        loop {
            let (posted, told, retry_after) = match api::post(&self.shared.client, batch) {
                Ok(answer) => (api::judge(&answer), answer.told(), answer.retry_after()),
                Err(error) => (Posted::Again, error.to_string(), None),
            };
            match posted {
                Posted::Stored => {
                    self.leases_lost = 0;
                    self.shared.counters.add(Count::Posts, 1);
                    self.shared.counters.add(Count::Detections, detections as u64);
                    return;
                }
                Posted::LeaseLost => return self.lease_lost(&told),
                Posted::Refused => {
                    return self.trouble.note(Count::PostErrors, &format!("a result is refused: {told}"));
                }
                Posted::Again => {}
            }
            attempt += 1;
            if self.stop.is_set() || attempt > self.shared.settings.max_retries {
                return self.trouble.note(Count::PostErrors, &format!("a result is lost: {told}"));
            }
            self.trouble.note(Count::PostRetries, &format!("a post failed and is repeated: {told}"));
            // `stop` cuts the pause short; one last try follows.
            self.stop.wait(self.shared.backoff().delay(attempt, random(), retry_after));
        }
    }

    /// The batch is dropped and the frame forgotten; tasks are asked for at once.
    fn lease_lost(&mut self, told: &str) {
        self.trouble
            .note(Count::LeaseLost, &format!("a result is dropped, tasks are asked for anew: {told}"));
        self.after = None;
        self.last_captured = None;
        self.shared.ask.store(true, Ordering::Release);
        self.shared.wake.set();
        // Where this lasts, frames and questions must not follow each other as fast as they are refused.
        self.leases_lost = self.leases_lost.saturating_add(1);
        self.stop.wait(self.shared.backoff().delay(self.leases_lost, random(), None));
    }

    fn pull_failed(&mut self, told: &str, retry_after: Option<Duration>) {
        self.pull_failures = self.pull_failures.saturating_add(1);
        self.trouble.note(Count::PullErrors, &format!("no frame: {told}"));
        self.stop.wait(self.shared.backoff().delay(self.pull_failures, random(), retry_after));
    }

    fn pause(&self, began: Instant, whole: Duration) {
        self.stop.wait(whole.min(LONGEST_PAUSE).saturating_sub(began.elapsed()));
    }
}

/// Calls the handler; the result, and the time the user's code took.
fn analyze(serving: &mut Serving, frame: &Frame) -> Result<(Findings, Duration), Failed> {
    let call = || -> Result<(HandlerResult<Findings>, Duration), Failed> {
        match serving {
            Serving::Own(handler) => {
                let began = Instant::now();
                Ok((handler.analyze(frame), began.elapsed()))
            }
            Serving::Shared(handler) => {
                // A panic of another task's frame leaves the lock poisoned; the function is called again all the same.
                let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
                if frame.is_stale() {
                    return Err(Failed::Stale);
                }
                let began = Instant::now();
                Ok((handler.analyze(frame), began.elapsed()))
            }
        }
    };
    // A handler that panicked is not called again: the task gets a new one, and a shared function has no other.
    let (result, took) = catch_unwind(AssertUnwindSafe(call)).map_err(|_| Failed::Panicked)??;
    result.map(|found| (found, took)).map_err(|error| failed(&error))
}

fn failed(error: &BoxError) -> Failed {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(broken) = error.downcast_ref::<BrokenFrame>() {
            return Failed::Broken(broken.to_string());
        }
        cause = error.source();
    }
    Failed::Error(chain(&**error))
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::tests::task;
    use serde_json::json;
    use std::time::SystemTime;

    fn frame() -> Frame {
        Frame::from_jpeg(task(json!({})).unwrap(), b"no picture".to_vec(), SystemTime::UNIX_EPOCH)
    }

    fn own(handler: impl FnMut(&Frame) -> HandlerResult<()> + Send + 'static) -> Serving {
        Serving::Own(Box::new(handler))
    }

    #[test]
    fn a_broken_picture_is_no_error_of_the_handler() {
        let told = analyze(&mut own(|frame| Ok(frame.size().map(|_| ())?)), &frame()).unwrap_err();
        assert!(matches!(&told, Failed::Broken(_)), "{told:?}");
        let told = analyze(&mut own(|_| Err("the model is gone".into())), &frame()).unwrap_err();
        assert_eq!(told, Failed::Error("the model is gone".to_owned()));
    }

    #[test]
    fn a_panic_ends_nothing_else() {
        let shared = Registration::shared(|frame: &Frame| {
            assert!(frame.age() > Duration::from_secs(1), "too young");
            Ok(())
        });
        let mut serving = shared.of_task(&task(json!({})).unwrap()).unwrap();
        assert_eq!(analyze(&mut serving, &frame()).unwrap_err(), Failed::Panicked);
        let mut older = frame();
        older.age_at_receipt = Duration::from_millis(1500);
        assert!(analyze(&mut serving, &older).is_ok());
    }

    #[test]
    fn a_frame_that_grew_old_in_the_queue_is_passed_over() {
        let shared = Registration::shared(|_: &Frame| -> HandlerResult<()> { panic!("called") });
        let mut serving = shared.of_task(&task(json!({})).unwrap()).unwrap();
        let mut old = frame();
        old.age_at_receipt = Duration::from_secs(3);
        assert_eq!(analyze(&mut serving, &old).unwrap_err(), Failed::Stale);
    }
}
