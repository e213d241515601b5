//! Ceiling D: cores spent on decoding, scaling and JPEG (perception.md 5.3).
//!
//! A stream's cost is estimated from codec, size and rates, and multiplied by what a measurement showed the estimate to
//! be off by.

use heldar_base::{CameraId, StreamKind};

use super::{Codec, DecodeMode, Off, Running, StreamFacts, Why};
use crate::task::period;

/// Nanoseconds of one core for each pixel decoded.
const DECODE_NS: [(Codec, f64); 3] = [(Codec::H264, 2.5), (Codec::H265, 3.5), (Codec::Other, 4.0)];
/// A sync sample carries a whole picture and costs that much more than the mean.
const SYNC_FACTOR: f64 = 1.5;
/// Nanoseconds for each pixel of a picked picture that is scaled.
const SCALE_NS: f64 = 1.0;
/// Nanoseconds for each pixel of a JPEG.
const JPEG_NS: f64 = 8.0;
/// A measurement moves an estimate by at most this factor either way.
const MOST_OFF: f64 = 20.0;
/// Rates between floor and wish are cut to whole steps of this, so that a measurement that wavers changes no plan.
const RATE_STEP: f64 = 0.5;
/// A period this much shorter than the sync interval still counts as equal: intervals are measured.
const INTERVAL_SLACK: f64 = 1.01;

/// A stream that nothing is known of yet.
const UNKNOWN_MAIN: StreamFacts = StreamFacts {
    codec: Codec::H264,
    width: 1920,
    height: 1080,
    fps: 15.0,
    sync_interval: None,
    measured: None,
};
const UNKNOWN_SUB: StreamFacts = StreamFacts { width: 640, height: 360, ..UNKNOWN_MAIN };

/// What a unit costs.
pub(super) struct Effort {
    /// How its stream is decoded.
    pub(super) mode: DecodeMode,
    /// Cores by estimate, its stream's decode with the first of the stream's units.
    pub(super) estimated: f64,
}

/// What all units cost.
pub(super) struct Efforts {
    /// In the order of the input; those of shed units mean nothing.
    pub(super) units: Vec<Effort>,
    /// Cores in all, as measured where that is known.
    pub(super) cores: f64,
}

/// Brings the units that run under `ceiling`.
pub(super) fn fit(running: &mut [Running<'_>], ceiling: f64) -> Efforts {
    let mut fit = Fit::new(running, ceiling);
    fit.slow_down();
    fit.sync_only();
    fit.narrow();
    fit.shed();
    fit.give_back();
    fit.efforts()
}

struct Fit<'f, 'a> {
    units: &'f mut [Running<'a>],
    ceiling: f64,
    /// For each unit the first unit on the same stream.
    leader: Vec<usize>,
    facts: Vec<StreamFacts>,
    /// Rate and reason of each unit before this ceiling.
    before: Vec<(f64, Why)>,
    /// Units that may see sync samples only.
    bound: Vec<bool>,
}

impl<'f, 'a> Fit<'f, 'a> {
    fn new(units: &'f mut [Running<'a>], ceiling: f64) -> Self {
        let stream =
            |unit: &Running<'a>| -> (&'a CameraId, StreamKind) { (&unit.unit.camera, unit.source.stream) };
        let mut seen = std::collections::BTreeMap::new();
        let leader: Vec<usize> =
            units.iter().enumerate().map(|(at, unit)| *seen.entry(stream(unit)).or_insert(at)).collect();
        let facts: Vec<StreamFacts> = leader.iter().map(|at| facts(&units[*at])).collect();
        let before = units.iter().map(|unit| (unit.fps, unit.why)).collect();
        let bound = vec![false; units.len()];
        Fit { units, ceiling, leader, facts, before, bound }
    }

    fn is_over(&self) -> bool {
        self.cores() > self.ceiling + super::SLACK
    }

    fn runs(&self, at: usize) -> bool {
        self.units[at].shed.is_none()
    }

    /// Units from the lowest up.
    fn upwards(&self) -> std::iter::Rev<std::ops::Range<usize>> {
        (0..self.units.len()).rev()
    }

    /// What a unit needs of its stream: sync samples are enough when every period is at least their interval.
    fn need(&self, at: usize) -> DecodeMode {
        let unit = &self.units[at];
        let fastest = unit.fps.min(unit.wanted_fps);
        let enough = self.facts[at]
            .sync_interval
            .is_some_and(|sync| sync.0 > 0 && period(fastest).0 as f64 * INTERVAL_SLACK >= sync.0 as f64);
        if enough || self.bound[at] { DecodeMode::SyncOnly } else { DecodeMode::All }
    }

    /// How the stream of a unit is decoded.
    fn mode(&self, at: usize) -> DecodeMode {
        self.group(at).map(|member| self.need(member)).max().unwrap_or(DecodeMode::SyncOnly)
    }

    /// The running units on the stream of `at`.
    fn group(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let leader = self.leader[at];
        (leader..self.units.len()).filter(move |other| self.leader[*other] == leader && self.runs(*other))
    }

    /// Cores of the stream's decode, by estimate.
    fn decode_cores(&self, at: usize) -> f64 {
        let facts = &self.facts[at];
        let all = facts.fps.max(0.0) * pixels(facts) * decode_ns(facts.codec);
        let cores = match (self.mode(at), facts.sync_interval) {
            (DecodeMode::SyncOnly, Some(sync)) => {
                (pixels(facts) * decode_ns(facts.codec) * SYNC_FACTOR / sync.as_secs_f64().max(1e-3)).min(all)
            }
            _ => all,
        };
        cores / 1e9
    }

    /// Cores for one picture a second of a unit at `width`, by estimate.
    fn pick_cores(&self, at: usize, width: u32) -> f64 {
        let facts = &self.facts[at];
        let scale = (f64::from(width) / f64::from(facts.width.max(1))).min(1.0);
        pixels(facts) * (SCALE_NS + JPEG_NS * scale * scale) / 1e9
    }

    /// What measurements say of the estimate for the stream of `at`.
    fn correction(&self, at: usize) -> f64 {
        let measured = self.facts[at].measured.filter(|m| m.estimated > 0.0 && m.cores.is_finite());
        measured.map_or(1.0, |m| (m.cores / m.estimated).clamp(1.0 / MOST_OFF, MOST_OFF))
    }

    fn estimated(&self, at: usize) -> f64 {
        let unit = &self.units[at];
        let leads = self.group(at).next() == Some(at);
        let decode = if leads { self.decode_cores(at) } else { 0.0 };
        decode + unit.fps * self.pick_cores(at, unit.width)
    }

    fn cores(&self) -> f64 {
        let running = (0..self.units.len()).filter(|at| self.runs(*at));
        running.map(|at| self.estimated(at) * self.correction(at)).sum()
    }

    /// All rates towards the floor.
    fn slow_down(&mut self) {
        for at in self.upwards() {
            if !self.is_over() {
                return;
            }
            let floor = self.units[at].floor();
            if !self.runs(at) || self.units[at].fps <= floor {
                continue;
            }
            let fps = self.fitting_rate(at).unwrap_or(floor);
            self.set(at, fps, Why::DecodeShare);
        }
    }

    /// The highest rate above the floor at which everything fits, if it can be reached by this unit's rate alone and
    /// without a change of what is decoded.
    fn fitting_rate(&self, at: usize) -> Option<f64> {
        let unit = &self.units[at];
        let each = self.pick_cores(at, unit.width) * self.correction(at);
        let surplus = self.cores() - self.ceiling;
        let fps = ((unit.fps - surplus / each) / RATE_STEP).floor() * RATE_STEP;
        (fps > unit.floor() && fps.is_finite()).then(|| fps.min(unit.fps))
    }

    fn set(&mut self, at: usize, fps: f64, why: Why) {
        let unit = &mut self.units[at];
        unit.fps = fps;
        unit.why = why;
    }

    /// Sync samples only, for all units of a stream at once, since one alone would gain nothing.
    fn sync_only(&mut self) {
        for at in self.upwards() {
            if !self.is_over() {
                return;
            }
            let Some(sync) = self.facts[at].sync_interval.filter(|sync| sync.0 > 0) else { continue };
            if !self.runs(at) || self.mode(at) == DecodeMode::SyncOnly {
                continue;
            }
            let most = 1.0 / sync.as_secs_f64();
            for member in self.group(at).collect::<Vec<_>>() {
                self.bound[member] = true;
                let fps = self.units[member].fps.min(most);
                self.set(member, fps, Why::DecodeSyncOnly);
            }
        }
    }

    /// The floor, and the first width at which everything fits, else the narrowest.
    fn narrow(&mut self) {
        for at in self.upwards() {
            if !self.runs(at) {
                continue;
            }
            let floor = self.units[at].floor();
            for (width, _) in self.units[at].widths() {
                if !self.is_over() {
                    return;
                }
                let unit = &mut self.units[at];
                if width < unit.width || unit.fps > floor {
                    unit.width = unit.width.min(width);
                    unit.fps = unit.fps.min(floor);
                    unit.why = Why::DecodeNarrowed;
                }
            }
        }
    }

    fn shed(&mut self) {
        for at in self.upwards() {
            if !self.is_over() {
                return;
            }
            if self.runs(at) {
                self.units[at].shed = Some(Off::ShedByDecode);
            }
        }
    }

    /// A measure takes more than is needed when it ends a whole decode; what is left raises rates again, from the top. What
    /// one cannot have is given to a lower one only if that one's pictures are cheaper.
    fn give_back(&mut self) {
        // Cost of a picture and rate of those that did not get all back.
        let mut short: Vec<(f64, f64)> = Vec::new();
        for at in 0..self.units.len() {
            let (wished, why) = self.before[at];
            let slowed = (self.units[at].fps, self.units[at].why);
            if !self.runs(at) || slowed.1 != Why::DecodeShare {
                continue;
            }
            let each = self.pick_cores(at, self.units[at].width) * self.correction(at);
            let above = short.iter().filter(|(cost, _)| *cost <= each * (1.0 + 1e-9)).map(|(_, fps)| *fps);
            let most = above.fold(wished, f64::min);
            self.set(at, most, if most < wished { Why::DecodeShare } else { why });
            if self.is_over() {
                let fps = self.fitting_rate(at).filter(|fps| *fps > slowed.0).unwrap_or(slowed.0);
                self.set(at, fps, slowed.1);
            }
            if self.units[at].fps < wished {
                short.push((each, self.units[at].fps));
            }
        }
    }

    fn efforts(&self) -> Efforts {
        let effort = |at| Effort { mode: self.mode(at), estimated: self.estimated(at) };
        Efforts { units: (0..self.units.len()).map(effort).collect(), cores: self.cores() }
    }
}

fn facts(unit: &Running<'_>) -> StreamFacts {
    let unknown = match unit.source.stream {
        StreamKind::Main => UNKNOWN_MAIN,
        StreamKind::Sub => UNKNOWN_SUB,
    };
    let facts = unit.source.facts.unwrap_or(unknown);
    StreamFacts { fps: if facts.fps.is_finite() { facts.fps } else { unknown.fps }, ..facts }
}

fn pixels(facts: &StreamFacts) -> f64 {
    f64::from(facts.width) * f64::from(facts.height)
}

fn decode_ns(codec: Codec) -> f64 {
    DECODE_NS.iter().find(|(known, _)| *known == codec).map_or(4.0, |(_, ns)| *ns)
}
