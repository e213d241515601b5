//! Watches a film and compares what was found with what was there.

use std::io::Write as _;

use heldar_base::{Interval, WallTime};
use heldar_motion::{Area, Config, Detector, Plane, SceneChange, State};

use crate::actors::Truth;
use crate::film::{Film, HEIGHT, RATE, WIDTH};

/// 2026-01-31T12:00:00Z
const BEGIN: i64 = 1_769_860_800_000_000;

/// What came of a film.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Pictures with a rising edge while no actor was near any box.
    pub(crate) false_edges: Vec<usize>,
    /// Boxes, and those that no actor was near, over all pictures.
    pub(crate) boxes: usize,
    pub(crate) false_boxes: usize,
    /// Per actor: pictures it was seen in, and those with a box on it.
    pub(crate) found: Vec<(usize, usize)>,
    pub(crate) spans: Vec<Interval>,
    pub(crate) scenes: Vec<(usize, SceneChange)>,
    /// Pictures that were neither quiet nor motion.
    pub(crate) learning: usize,
}

impl Verdict {
    pub(crate) fn missed(&self) -> usize {
        self.found.iter().filter(|(_, with_box)| *with_box == 0).count()
    }

    pub(crate) fn covered(&self) -> f32 {
        let (seen, with_box) =
            self.found.iter().fold((0, 0), |sum, found| (sum.0 + found.0, sum.1 + found.1));
        with_box as f32 / seen.max(1) as f32
    }
}

/// Capture time of a picture.
pub(crate) fn at(n: usize) -> WallTime {
    WallTime(BEGIN + n as i64 * 1_000_000 / RATE as i64)
}

pub(crate) fn watch(film: &mut Film, pictures: std::ops::Range<usize>) -> Verdict {
    let mut detector = Detector::new(Config::default());
    let mut verdict = Verdict { found: vec![(0, 0); film.actors.len()], ..Verdict::default() };
    for n in pictures {
        let plane = Plane::new(WIDTH, HEIGHT, film.picture(n)).unwrap();
        let outcome = detector.handle(at(n), &plane);
        detector.check_invariants();
        verdict.spans.extend(outcome.closed);
        verdict.scenes.extend(outcome.scene.map(|scene| (n, scene)));
        verdict.learning += usize::from(matches!(outcome.state, State::Learning | State::SceneChanged));
        let truths: Vec<Option<Truth>> = film.actors.iter().map(|actor| actor.truth(n)).collect();
        for (found, _) in verdict.found.iter_mut().zip(&truths).filter(|(_, truth)| truth.is_some()) {
            found.0 += 1;
        }
        let Some(update) = outcome.update else { continue };
        let mut any = false;
        for moving in &update.boxes {
            let mut hit = false;
            for (found, _) in verdict
                .found
                .iter_mut()
                .zip(&truths)
                .filter(|(_, truth)| truth.is_some_and(|truth| near(&moving.area, &truth)))
            {
                hit = true;
                found.1 += 1;
            }
            verdict.boxes += 1;
            verdict.false_boxes += usize::from(!hit);
            any |= hit;
        }
        if update.rising_edge && !any {
            verdict.false_edges.push(n);
        }
    }
    verdict.spans.extend(detector.finish());
    verdict
}

/// Whether a box touches an actor, six pixels to spare.
fn near(area: &Area, truth: &Truth) -> bool {
    let (left, top) = (area.x * WIDTH as f32 - 6.0, area.y * HEIGHT as f32 - 6.0);
    let (right, bottom) = (left + area.w * WIDTH as f32 + 12.0, top + area.h * HEIGHT as f32 + 12.0);
    left < truth.right && truth.left < right && top < truth.bottom && truth.top < bottom
}

/// Whether the full counts are wanted.
pub(crate) fn soak() -> bool {
    std::env::var_os("HELDAR_SOAK").is_some_and(|value| value == "1")
}

/// Notes a figure for the table of `make soak`.
pub(crate) fn figure(what: &str, measured: &str, value: &str) {
    let line = format!("| {what} | {measured} | {value} |\n");
    print!("{line}");
    if let Some(path) = std::env::var_os("HELDAR_SOAK_FIGURES") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
