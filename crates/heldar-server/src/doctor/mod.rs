//! `heldar doctor`: what the server would make of this machine and its settings (auth-system.md 2.3).
//!
//! Owns: the report, its two forms and the exit status. Reads what `serve` reads, starts nothing, writes nothing: each
//! check is a function from settings to findings in a module of its own.

mod clock;
mod folders;
mod machine;
mod port;
mod store;
mod tls;
mod workers;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use heldar_config::{DoctorEntry, Finding, Flags, Input, Level, Settings, StartError, StartErrors, load};
use serde::Serialize;

use crate::{USAGE_ERROR, complain, say};

/// Exit status when something should be looked at.
const FINDINGS: u8 = 1;

/// All that the doctor has to say.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    settings: Vec<DoctorEntry>,
    findings: Vec<Finding>,
    /// Each stops the start.
    errors: Vec<StartError>,
}

/// Runs the command.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut flags = Flags::take(arguments);
    let given = flags.rest.len();
    flags.rest.retain(|argument| argument != "--json");
    let json = flags.rest.len() < given;
    let report = examine(&Input::from_process(flags));
    if json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => say(&format!("{text}\n")),
            Err(error) => {
                complain(&format!("heldar doctor: {error}\n"));
                return ExitCode::FAILURE;
            }
        }
    } else {
        say(&report.text());
    }
    ExitCode::from(report.status())
}

fn examine(input: &Input<'_>) -> Report {
    let loaded = load(input);
    let mut findings = loaded.findings;
    let errors = match loaded.settings {
        Ok(settings) => {
            findings.extend(checks(&settings));
            Vec::new()
        }
        // Without settings there is nothing to hold the machine against.
        Err(StartErrors(errors)) => errors,
    };
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    Report { version: env!("CARGO_PKG_VERSION"), settings: loaded.entries, findings, errors }
}

fn checks(settings: &Settings) -> Vec<Finding> {
    let mut findings = folders::check(settings);
    findings.extend(store::check(settings));
    findings.extend(port::check(settings));
    findings.extend(tls::check(settings));
    findings.extend(clock::check(settings));
    findings.extend(machine::check(settings));
    findings.extend(workers::check(settings));
    findings
}

impl Report {
    fn status(&self) -> u8 {
        if !self.errors.is_empty() {
            USAGE_ERROR
        } else if self.findings.iter().any(|finding| finding.level >= Level::Warning) {
            FINDINGS
        } else {
            0
        }
    }

    /// For people.
    fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _infallible = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "heldar {}\n\nSettings", self.version)?;
        for entry in &self.settings {
            let value = entry.value.as_deref().unwrap_or("(unset)");
            write!(text, "  {} = {value}  ({})", entry.name, entry.source)?;
            match (&entry.note, entry.ignored) {
                (Some(note), true) => writeln!(text, "  ignored: {note}")?,
                (None, true) => writeln!(text, "  ignored")?,
                (Some(note), false) => writeln!(text, "  {note}")?,
                (None, false) => writeln!(text)?,
            }
        }
        writeln!(text, "\nFindings")?;
        for finding in &self.findings {
            let level = match finding.level {
                Level::Notice => "notice",
                Level::Warning => "WARNING",
                Level::Refusal => "REFUSAL",
            };
            writeln!(text, "  {level:<8} {}  [{}]", finding.text, finding.code)?;
        }
        if self.findings.is_empty() {
            writeln!(text, "  none")?;
        }
        if !self.errors.is_empty() {
            writeln!(text, "\nThe server does not start")?;
            self.errors.iter().try_for_each(|error| writeln!(text, "  {error}"))?;
        }
        writeln!(text, "\n{}", self.verdict())
    }

    fn verdict(&self) -> String {
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        match (self.errors.len(), count(Level::Warning), count(Level::Notice)) {
            (0, 0, 0) => "Nothing to look at.".to_owned(),
            (0, 0, notices) => format!("Nothing wrong; {notices} to know."),
            (0, warnings, _) => format!("{warnings} to look at."),
            (errors, ..) => format!("{errors} to correct."),
        }
    }
}

/// A finding about a variable.
fn finding(level: Level, code: &'static str, variable: &str, text: String) -> Finding {
    let variable = Some(variable.to_owned()).filter(|name| !name.is_empty());
    Finding { level, code, variable, text }
}

/// A size for people.
fn size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}
