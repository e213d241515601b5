//! `heldar fsck`: compares index and recordings, and repairs them if asked to.
//!
//! Owns: arguments, both forms of the report, the exit status: 0 nothing is wrong when it ends, 1 something is or nothing
//! could be found out, 2 usage or configuration. What is looked at and repaired is `heldar_kernel::fsck`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use heldar_base::{Clock as _, SegmentId};
use heldar_config::{Flags, Input, load};
use heldar_ingest::SystemClock;
use heldar_kernel::fsck::{Finding, Intent, Others, Outcome, Repaired, Run, run};
use serde::Serialize;

use crate::{USAGE_ERROR, complain, say, with_causes};

/// Findings listed for people; the rest is counted. `--json` lists all.
const LISTED: usize = 200;

/// How the report is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Runs the command.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut flags = Flags::take(arguments);
    let (mut intent, mut form) = (Intent::Check, Form::Text);
    flags.rest.retain(|argument| match argument.to_str() {
        Some("--json") => {
            form = Form::Json;
            false
        }
        Some("--repair") => {
            intent = Intent::Repair;
            false
        }
        _ => true,
    });
    let settings = match load(&Input::from_process(flags)).settings {
        Ok(settings) => settings,
        Err(errors) => {
            complain(&format!("{errors}\n"));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime: {error}")),
    };
    let now = SystemClock::new().wall();
    match runtime.block_on(run(&settings, intent, now)) {
        Ok(run) => tell(&run, intent, form),
        Err(error) => failed(&with_causes(&error)),
    }
}

fn failed(text: &str) -> ExitCode {
    complain(&format!("heldar fsck: {text}\n"));
    ExitCode::FAILURE
}

fn tell(run: &Run, intent: Intent, form: Form) -> ExitCode {
    let document = Document::of(run, intent);
    match form {
        Form::Text => say(&document.text()),
        Form::Json => match serde_json::to_string_pretty(&document) {
            Ok(text) => say(&format!("{text}\n")),
            Err(error) => return failed(&error.to_string()),
        },
    }
    if document.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The report.
#[derive(Serialize)]
struct Document {
    /// Nothing is wrong when the run ends.
    clean: bool,
    /// `check` or `repair`.
    mode: &'static str,
    /// A server worked on the folder meanwhile.
    server_running: bool,
    checked: Checked,
    /// Findings left, by kind.
    counts: BTreeMap<&'static str, u64>,
    /// What is wrong when the run ends.
    findings: Vec<Item>,
    /// What a repair took up.
    repairs: Vec<RepairItem>,
}

#[derive(Serialize)]
struct Checked {
    cameras: u64,
    streams: u64,
    segments: u64,
    files: u64,
    bytes: u64,
}

/// One finding.
#[derive(Serialize)]
struct Item {
    kind: &'static str,
    camera_id: Option<String>,
    stream: Option<&'static str>,
    path: Option<String>,
    segment_id: Option<SegmentId>,
    expected: String,
    found: String,
    repairable: bool,
    /// What `--repair` does.
    repair: String,
}

#[derive(Serialize)]
struct RepairItem {
    #[serde(flatten)]
    finding: Item,
    done: bool,
    /// Why it was not.
    error: Option<String>,
}

impl Item {
    fn of(finding: &Finding) -> Self {
        Item {
            kind: finding.kind.as_str(),
            camera_id: finding.camera.as_ref().map(|camera| camera.as_str().to_owned()),
            stream: finding.stream.map(|kind| kind.as_str()),
            path: finding.path.clone(),
            segment_id: finding.segment,
            expected: finding.expected.clone(),
            found: finding.found.clone(),
            repairable: finding.remedy.acts(),
            repair: finding.remedy.text(),
        }
    }

    fn subject(&self) -> String {
        match (&self.path, &self.camera_id, self.stream) {
            (Some(path), ..) => path.clone(),
            (None, Some(camera), Some(stream)) => format!("{camera} {stream}"),
            (None, camera, _) => camera.clone().unwrap_or_default(),
        }
    }
}

impl RepairItem {
    fn of(repaired: &Repaired) -> Self {
        let error = match &repaired.outcome {
            Outcome::Done => None,
            Outcome::Failed(why) => Some(why.clone()),
        };
        RepairItem { finding: Item::of(&repaired.finding), done: error.is_none(), error }
    }
}

impl Document {
    fn of(run: &Run, intent: Intent) -> Self {
        let checked = run.left.checked;
        Document {
            clean: run.left.findings.is_empty(),
            mode: match intent {
                Intent::Check => "check",
                Intent::Repair => "repair",
            },
            server_running: run.others == Others::Server,
            checked: Checked {
                cameras: checked.cameras,
                streams: checked.streams,
                segments: checked.segments,
                files: checked.files,
                bytes: checked.bytes,
            },
            counts: run.left.counts(),
            findings: run.left.findings.iter().map(Item::of).collect(),
            repairs: run.repaired.iter().map(RepairItem::of).collect(),
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
        let Checked { cameras, streams, segments, files, bytes } = self.checked;
        writeln!(
            text,
            "{cameras} cameras, {streams} streams, {segments} segments, {files} files, {:.1} GiB",
            bytes as f64 / (1u64 << 30) as f64
        )?;
        if self.server_running {
            writeln!(text, "A server runs: what it is working on is not looked at.")?;
        }
        for RepairItem { finding, done, error } in self.repairs.iter().take(LISTED) {
            let how = if *done { "repaired" } else { "NOT repaired" };
            writeln!(text, "{how:<12} {:<20} {}", finding.kind, finding.subject())?;
            match error {
                Some(error) => writeln!(text, "             {error}")?,
                None => writeln!(text, "             {}", finding.repair)?,
            }
        }
        for item in self.findings.iter().take(LISTED) {
            writeln!(text, "{:<20} {}", item.kind, item.subject())?;
            writeln!(text, "    expected {}; found {}", item.expected, item.found)?;
            writeln!(text, "    --repair would do {}", item.repair)?;
        }
        if self.findings.len() > LISTED {
            writeln!(text, "and {} more; --json lists all", self.findings.len() - LISTED)?;
        }
        for (kind, count) in &self.counts {
            writeln!(text, "{count:>8} {kind}")?;
        }
        let repairable = self.findings.iter().filter(|item| item.repairable).count();
        match (self.findings.len(), repairable) {
            (0, _) => writeln!(text, "Index and recordings agree."),
            (all, 0) => {
                writeln!(text, "{all} findings; nothing of it can be repaired, and nothing is lost by it.")
            }
            (all, some) => {
                writeln!(text, "{all} findings, {some} of them can be repaired: heldar fsck --repair")
            }
        }
    }
}
