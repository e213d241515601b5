//! A worker for task type `motion`: the share of pixels that changed since the frame before, as one detection `motion`.
//!
//! Config keys: `threshold` (share that counts as motion, 0.02) and `pixel_delta` (change of brightness that counts, of 255,
//! 25). The event `motion` is raised when motion begins.

use std::process::ExitCode;

use heldar_worker::serde_json::json;
use heldar_worker::{Detection, Event, Findings, Frame, Handler, HandlerResult, Picture, Task, Worker};

fn main() -> ExitCode {
    Worker::from_args().task_with("motion", MotionLevel::new).run()
}

struct MotionLevel {
    threshold: f64,
    pixel_delta: u8,
    before: Option<Picture>,
    moving: bool,
}

impl MotionLevel {
    fn new(task: &Task) -> HandlerResult<Self> {
        let threshold = task.config.get("threshold").map_or(Some(0.02), |value| value.as_f64());
        let pixel_delta = task.config.get("pixel_delta").map_or(Some(25), |value| value.as_u64());
        Ok(Self {
            threshold: threshold
                .filter(|share| (0.0..=1.0).contains(share))
                .ok_or("threshold: 0..1 is expected")?,
            pixel_delta: pixel_delta
                .and_then(|n| n.try_into().ok())
                .ok_or("pixel_delta: 0..255 is expected")?,
            before: None,
            moving: false,
        })
    }
}

impl Handler for MotionLevel {
    fn analyze(&mut self, frame: &Frame) -> HandlerResult<Findings> {
        let now = frame.grey()?;
        let share = self.before.as_ref().map_or(0.0, |before| self.changed(before, &now));
        self.before = Some(now);
        let began = share >= self.threshold && !self.moving;
        self.moving = share >= self.threshold;
        if !self.moving {
            return Ok(Findings::default());
        }
        let found = Findings::from(Detection::new("motion").confidence(share));
        Ok(if began { found.event(Event::new("motion").payload(json!({ "changed": share }))) } else { found })
    }
}

impl MotionLevel {
    /// The share of pixels that differ, 0..=1; none between pictures of different sizes.
    fn changed(&self, before: &Picture, now: &Picture) -> f64 {
        if (before.width, before.height) != (now.width, now.height) {
            return 0.0;
        }
        let pairs = before.pixels.iter().zip(&now.pixels);
        let changed = pairs.filter(|(a, b)| a.abs_diff(**b) > self.pixel_delta).count();
        changed as f64 / now.pixels.len() as f64
    }
}
