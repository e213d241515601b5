//! Figures that a run yields, for the table of `make soak`.

use std::fs::File;
use std::io::Write as _;

/// Writes for people, past the capture of the test harness.
pub(super) fn tell(text: &str) {
    // reason: there is nowhere left to tell it.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Notes a figure: what was done, what was measured, and the value with its unit. One line of a table.
pub(crate) fn figure(what: &str, measured: &str, value: &str) {
    let line = format!("| {what} | {measured} | {value} |\n");
    tell(&line);
    if let Some(path) = std::env::var_os("HELDAR_SOAK_FIGURES") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Measured values of one kind.
#[derive(Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    pub(crate) fn worst(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// `mean / worst of n` in a unit.
    pub(crate) fn summary(&self, unit: &str) -> String {
        format!("{:.2} / {:.2} {unit} (mean / worst of {})", self.mean(), self.worst(), self.0.len())
    }
}
