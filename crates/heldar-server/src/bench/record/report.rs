//! The figures of both sides, and how they are printed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::Verdict;
use crate::bench::clips::Clip;
use crate::bench::loss::Loss;
use crate::bench::stats::{median, table};
use crate::bench::usage::MachineInfo;

/// Who recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    #[default]
    Heldar,
    Ffmpeg,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Side::Heldar => "heldar",
            Side::Ffmpeg => "ffmpeg",
        }
    }
}

/// One run of one side.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Run {
    pub(super) of: Side,
    pub(super) run: u32,
    /// Measured time, by the clock.
    pub(super) seconds: f64,
    pub(super) cpu_s: f64,
    pub(super) rss_mib: f64,
    pub(super) peak_mib: f64,
    pub(super) pss_mib: f64,
    pub(super) fds: u64,
    /// Times that a thread went to sleep by itself, a second.
    pub(super) wakeups_per_s: f64,
    /// CPU seconds by thread name.
    pub(super) threads: BTreeMap<String, f64>,
    /// Share of all cores that was busy, test cameras and everything else included, 0..=1.
    pub(super) machine_busy: f64,
    pub(super) test_cameras_cpu_s: f64,
    pub(super) recorded_mib: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<Loss>,
}

impl Run {
    fn per_camera_minute(&self, cameras: u32) -> f64 {
        self.cpu_s / f64::from(cameras) / (self.seconds / 60.0)
    }

    fn broken(&self) -> bool {
        self.loss.as_ref().is_some_and(Loss::any)
    }
}

/// Everything that was measured.
pub(super) struct Report {
    pub(super) machine: MachineInfo,
    pub(super) clip: Clip,
    pub(super) cameras: u32,
    pub(super) seconds: u64,
    pub(super) runs: Vec<Run>,
}

/// Name, decimals and value of the columns.
type Column = (&'static str, usize, fn(&Run, u32) -> f64);

const COLUMNS: &[Column] = &[
    ("CPU s/camera-minute", 4, |run, cameras| run.per_camera_minute(cameras)),
    ("CPU s", 2, |run, _| run.cpu_s),
    ("RSS MiB", 1, |run, _| run.rss_mib),
    ("peak MiB", 1, |run, _| run.peak_mib),
    ("PSS MiB", 1, |run, _| run.pss_mib),
    ("fds", 0, |run, _| run.fds as f64),
    ("wake-ups/s", 0, |run, _| run.wakeups_per_s),
    ("recorded MiB", 1, |run, _| run.recorded_mib),
    ("machine busy %", 0, |run, _| run.machine_busy * 100.0),
];

impl Report {
    pub(super) fn heading(&self) -> String {
        let clip = self.clip.line();
        format!("{}\n{} cameras, {clip}, {} s a run", self.machine.line(), self.cameras, self.seconds)
    }

    /// A line while runs go on.
    pub(super) fn progress(&self, run: &Run) -> String {
        let cost = run.per_camera_minute(self.cameras);
        let gaps = if run.broken() { ", NOT WITHOUT GAPS" } else { "" };
        let name = run.of.name();
        format!("run {} {name}: {cost:.4} CPU s per camera-minute, {:.1} MiB{gaps}\n", run.run, run.pss_mib)
    }

    fn of(&self, side: Side) -> Vec<&Run> {
        self.runs.iter().filter(|run| run.of == side).collect()
    }

    fn medians(&self, side: Side) -> Vec<f64> {
        let runs = self.of(side);
        let middle = |(_, _, value): &Column| {
            median(&runs.iter().map(|run| value(run, self.cameras)).collect::<Vec<_>>())
        };
        COLUMNS.iter().map(middle).collect()
    }

    /// CPU of this build over that of the baseline, by medians.
    fn ratio(&self) -> Option<f64> {
        let (ours, theirs) = (self.medians(Side::Heldar), self.medians(Side::Ffmpeg));
        match (ours.first(), theirs.first()) {
            (Some(ours), Some(theirs)) if *theirs > 0.0 => Some(ours / theirs),
            _ => None,
        }
    }

    /// Gaps in the measured time make the figures those of a broken run.
    pub(super) fn verdict(&self) -> Verdict {
        if self.runs.iter().any(Run::broken) { Verdict::Broken } else { Verdict::Valid }
    }

    /// Everything, for programs.
    pub(super) fn summary(&self) -> Value {
        let medians = |side| -> Value {
            let names = COLUMNS.iter().map(|(name, ..)| (*name).to_owned());
            names
                .zip(self.medians(side).into_iter().map(Value::from))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let sides = [Side::Heldar, Side::Ffmpeg].into_iter().filter(|side| !self.of(*side).is_empty());
        let medians: serde_json::Map<String, Value> =
            sides.map(|side| (side.name().to_owned(), medians(side))).collect();
        json!({
            "machine": self.machine, "clip": self.clip, "cameras": self.cameras, "seconds": self.seconds,
            "runs": self.runs, "medians": medians, "cpu_ratio": self.ratio(),
            "without_gaps": self.verdict() == Verdict::Valid,
        })
    }

    /// Everything, for people.
    pub(super) fn text(&self) -> String {
        let format = |figures: Vec<f64>| {
            let cells = COLUMNS.iter().zip(figures);
            cells.map(|((_, decimals, _), figure)| format!("{figure:.decimals$}")).collect::<Vec<_>>()
        };
        let names = ["run", "of"].into_iter().chain(COLUMNS.iter().map(|(name, ..)| *name));
        let mut rows: Vec<Vec<String>> = vec![names.map(str::to_owned).collect()];
        let mut add = |name: String, side: Side, figures: Vec<f64>| {
            rows.push([name, side.name().to_owned()].into_iter().chain(format(figures)).collect());
        };
        for run in &self.runs {
            let figures = COLUMNS.iter().map(|(_, _, value)| value(run, self.cameras)).collect();
            add(run.run.to_string(), run.of, figures);
        }
        for side in [Side::Heldar, Side::Ffmpeg] {
            if !self.of(side).is_empty() {
                add("median".to_owned(), side, self.medians(side));
            }
        }
        let mut text = format!("\n{}\n{}", self.heading(), table(&rows));
        if let Some(ratio) = self.ratio() {
            text.push_str(&format!("CPU of heldar over that of ffmpeg: {ratio:.2}\n"));
        }
        text.push_str(&self.where_it_goes());
        text.push_str(&self.gaps());
        text
    }

    /// CPU by thread in the middle run of this build.
    fn where_it_goes(&self) -> String {
        let mut runs = self.of(Side::Heldar);
        runs.sort_by(|a, b| a.cpu_s.total_cmp(&b.cpu_s));
        let Some(run) = runs.get(runs.len() / 2) else { return String::new() };
        let mut threads: Vec<_> = run.threads.iter().collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let parts: Vec<String> = threads.iter().map(|(name, cpu_s)| format!("{name} {cpu_s:.3} s")).collect();
        format!("CPU by thread, run {}: {}\n", run.run, parts.join(", "))
    }

    fn gaps(&self) -> String {
        let mut text = String::new();
        for run in self.runs.iter().filter(|run| run.broken()) {
            let Some(loss) = &run.loss else { continue };
            text.push_str(&loss.line(&format!("run {}", run.run)));
        }
        if text.is_empty() { "no gap in any measured window\n".to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(missing_seconds: f64) -> Report {
        let clip = Clip {
            name: "A".into(),
            path: "a.mp4".into(),
            audio: false,
            bits_per_second: 1_000_000,
            pictures: "768x576, 10 fps".into(),
        };
        let loss = Loss {
            window_seconds: 120.0,
            recorded_seconds: 120.0 - missing_seconds,
            missing_seconds,
            missing: json!({}),
            gap_rows: 0,
        };
        let ours = |run, cpu_s| Run { run, seconds: 60.0, cpu_s, loss: Some(loss.clone()), ..Run::default() };
        let theirs = |run, cpu_s| Run { of: Side::Ffmpeg, run, seconds: 60.0, cpu_s, ..Run::default() };
        let runs =
            vec![ours(1, 0.2), theirs(1, 0.8), ours(2, 0.4), theirs(2, 1.6), ours(3, 9.0), theirs(3, 0.8)];
        Report { machine: MachineInfo::read(), clip, cameras: 2, seconds: 60, runs }
    }

    #[test]
    fn medians_and_their_ratio() {
        let report = report(0.0);
        assert!((report.ratio().unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(report.verdict(), Verdict::Valid);
        let text = report.text();
        let median = text.lines().find(|line| line.contains("median  heldar")).unwrap();
        assert!(median.contains("0.2000"), "0.4 s for two camera-minutes: {median}");
        assert!(text.contains("no gap in any measured window"));
        assert_eq!(report.summary()["without_gaps"], true);
    }

    #[test]
    fn a_gap_makes_the_figures_void() {
        let report = report(0.25);
        assert_eq!(report.verdict(), Verdict::Broken);
        assert!(report.text().contains("run 1: 0.250000 of 120 s missing"));
    }
}
