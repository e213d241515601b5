//! `heldar bench idle`: what a server without cameras costs.

use std::time::Duration;

use serde::Serialize;

use super::folder::TempFolder;
use super::server::Server;
use super::stats::{median, table};
use super::usage::MachineInfo;
use super::{Verdict, print_json};
use crate::say;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Seconds that are measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How often
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Where temporary folders are made
    #[arg(long)]
    folder: Option<std::path::PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    seconds: u64,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    ready_ms: f64,
    cpu_s: f64,
    rss_mib: f64,
    peak_mib: f64,
    pss_mib: f64,
    fds: u64,
    wakeups_per_s: f64,
}

/// Measures fresh servers one after another.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let mut report = Report { machine: MachineInfo::read(), seconds: options.seconds, runs: Vec::new() };
    for _ in 0..options.runs {
        report.runs.push(one(&options).await?);
    }
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(Verdict::Valid)
}

async fn one(options: &Options) -> Result<Run, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut server = Server::start(folder.path(), &[]).await?;
    // What starting leaves to do is not idling.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = server.usage()?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let after = server.usage()?;
    let run = Run {
        ready_ms: server.ready.as_secs_f64() * 1e3,
        cpu_s: after.cpu_since(&before),
        rss_mib: after.rss_kib as f64 / 1024.0,
        peak_mib: after.peak_kib as f64 / 1024.0,
        pss_mib: after.pss_kib as f64 / 1024.0,
        fds: after.fds,
        wakeups_per_s: after.sleeps.saturating_sub(before.sleeps) as f64 / options.seconds as f64,
    };
    server.stop().await?;
    Ok(run)
}

impl Report {
    fn text(&self) -> String {
        let names = ["run", "ready ms", "CPU s", "RSS MiB", "peak MiB", "PSS MiB", "fds", "wake-ups/s"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        let mut add = |name: String, figures: [f64; 7]| {
            let [ready, cpu, rss, peak, pss, fds, wakeups] = figures;
            let figures = [
                format!("{ready:.0}"),
                format!("{cpu:.2}"),
                format!("{rss:.1}"),
                format!("{peak:.1}"),
                format!("{pss:.1}"),
                format!("{fds:.0}"),
                format!("{wakeups:.1}"),
            ];
            rows.push(std::iter::once(name).chain(figures).collect());
        };
        let figures = |run: &Run| {
            [
                run.ready_ms,
                run.cpu_s,
                run.rss_mib,
                run.peak_mib,
                run.pss_mib,
                run.fds as f64,
                run.wakeups_per_s,
            ]
        };
        for (number, run) in self.runs.iter().enumerate() {
            add((number + 1).to_string(), figures(run));
        }
        let all: Vec<[f64; 7]> = self.runs.iter().map(figures).collect();
        let middle = std::array::from_fn(|at| median(&all.iter().map(|run| run[at]).collect::<Vec<_>>()));
        add("median".to_owned(), middle);
        format!("{}\nno cameras, {} s\n{}", self.machine.line(), self.seconds, table(&rows))
    }
}
