//! `heldar bench ingest`: detections posted as fast as the server takes them.
//!
//! Owns: the load, which runs in this process and is counted apart, and the figures. A server of its own for each kind of
//! batch, so that memory and bytes are of that kind alone; nothing is recorded. Consumers are those of this binary: one
//! with an app measures with it.

mod load;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heldar_base::Micros;
use serde::Serialize;
use serde_json::{Value, json};

use super::folder::TempFolder;
use super::server::Server;
use super::stats::{markdown, quantile};
use super::usage::{Machine, MachineInfo, Usage};
use super::{Verdict, now, print_json};
use crate::{complain, say};
use load::{Batches, Load, Outcome};

/// Between looks at the write-ahead log.
const LOOK: Duration = Duration::from_millis(50);
/// Time that consumers get to catch up once the load is over.
const CATCH_UP: Duration = Duration::from_secs(120);
/// How far back the first frame lies: frames are a millisecond apart, and faster than that they are posted.
const BACK: Micros = Micros::from_secs(24 * 3600);

#[derive(clap::Args)]
pub(super) struct Options {
    /// Seconds that are measured for each kind of batch
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Workers, each with a connection and one post at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Detections in a batch; without it first 1, then 100
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    detections: Option<u32>,
    /// Zones of the camera, each with twelve corners
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=200))]
    zones: u32,
    /// An empty PostgreSQL database, made for this, instead of a file of SQLite; what is stored stays there. Give a
    /// password as PGPASSWORD, not here
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print JSON; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// Where temporary folders are made
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    engine: String,
    seconds: u64,
    connections: u32,
    kinds: Vec<Kind>,
}

/// Figures of one kind of batch.
#[derive(Serialize)]
struct Kind {
    /// Detections of a batch.
    detections: u32,
    requests: u64,
    requests_per_s: f64,
    detections_per_s: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    errors: u64,
    failures: Vec<String>,
    /// Cores that the server used, and this process, which posts.
    server_cores: f64,
    load_cores: f64,
    /// Share of all cores that was busy, 0..=1.
    machine_busy: f64,
    rss_mib: f64,
    peak_mib: f64,
    /// Length of the write-ahead log at the end, and its longest; none on PostgreSQL.
    wal_mib: Option<f64>,
    wal_max_mib: Option<f64>,
    /// What the database grew by, indexes and the rows of consumers included.
    bytes_per_batch: f64,
    bytes_per_detection: f64,
    consumers: Vec<Consumer>,
}

/// How far a consumer was when the load ended.
#[derive(Serialize)]
struct Consumer {
    name: String,
    lag_batches: u64,
    lag_s: f64,
    /// From the end of the load until it had everything; none: not within the time that it got.
    caught_up_s: Option<f64>,
    parked: u64,
}

/// Measures one kind of batch after another.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let kinds = options.detections.map_or_else(|| vec![1, 100], |detections| vec![detections]);
    let mut report = Report {
        machine: MachineInfo::read(),
        engine: String::new(),
        seconds: options.seconds,
        connections: options.connections,
        kinds: Vec::new(),
    };
    for detections in kinds {
        let (engine, kind) = one(&options, detections, report.kinds.is_empty()).await?;
        complain(&format!(
            "{detections} a batch: {:.0} requests/s, p99 {:.1} ms\n",
            kind.requests_per_s, kind.p99_ms
        ));
        report.engine = engine;
        report.kinds.push(kind);
    }
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(report.verdict())
}

async fn one(options: &Options, detections: u32, first: bool) -> Result<(String, Kind), String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let database = options.database.iter().map(|url| ("HELDAR_DATABASE_URL", url.as_str()));
    let mut server = Server::start(folder.path(), &Vec::from_iter(database)).await?;
    let cameras = server.api.get("/api/v1/cameras?limit=1").await?.success()?;
    if first && cameras.as_array().is_some_and(|cameras| !cameras.is_empty()) {
        return Err("--database: there are cameras in it; make an empty database for this".to_owned());
    }
    let camera = format!("camera_{detections}");
    server.add_silent_camera(&camera).await?;
    let body = json!({ "task_type": "detection" });
    let task = server.api.post(&format!("/api/v1/cameras/{camera}/ai-tasks"), &body).await?.success()?;
    let task = task["id"].as_str().ok_or("the task has another form")?;

    for number in 0..options.zones {
        let path = format!("/api/v1/cameras/{camera}/zones");
        server.api.post(&path, &zone(number)).await?.success()?;
    }

    let log = log_of(folder.path());
    let before = Database::of(&mut server).await?;
    let (usage, own, machine) = (server.usage()?, Usage::own()?, Machine::now()?);
    let length = Duration::from_secs(options.seconds);
    let batches = Batches::new(server.address(), &camera, task, detections, now() - BACK);
    let begun = Instant::now();
    let load = Load::start(server.address(), options.connections, batches, length).await?;
    let (outcome, wal_max) = watched(load, &log, &mut server).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    let (after, own_after) = (server.usage()?, Usage::own()?);
    let machine_busy = Machine::now()?.busy_since(machine);
    let wal = size(&log);
    let consumers = consumers(&mut server).await?;
    let database = Database::of(&mut server).await?;
    server.stop().await?;

    let requests = outcome.ms.len() as u64;
    if requests == 0 {
        return Err(format!("nothing was stored: {}", outcome.failures.join("; ")));
    }
    let grown = database.bytes.saturating_sub(before.bytes) as f64;
    let in_file = |bytes: u64| (database.engine == "sqlite").then(|| mib(bytes));
    let kind = Kind {
        detections,
        requests,
        requests_per_s: requests as f64 / elapsed,
        detections_per_s: requests as f64 * f64::from(detections) / elapsed,
        p50_ms: quantile(&outcome.ms, 0.5),
        p95_ms: quantile(&outcome.ms, 0.95),
        p99_ms: quantile(&outcome.ms, 0.99),
        max_ms: quantile(&outcome.ms, 1.0),
        errors: outcome.errors,
        failures: outcome.failures,
        server_cores: after.cpu_since(&usage) / elapsed,
        load_cores: own_after.cpu_since(&own) / elapsed,
        machine_busy,
        rss_mib: after.rss_kib as f64 / 1024.0,
        peak_mib: after.peak_kib as f64 / 1024.0,
        wal_mib: in_file(wal),
        wal_max_mib: in_file(wal_max.max(wal)),
        bytes_per_batch: grown / requests as f64,
        bytes_per_detection: grown / (requests as f64 * f64::from(detections)),
        consumers,
    };
    Ok((database.engine, kind))
}

/// A zone somewhere in the picture. Boxes of the load jump, so that a track seldom stays inside for ten pictures: every batch
/// is looked at, and few lead to an event.
pub(super) fn zone(number: u32) -> serde_json::Value {
    let (x, y) = (0.2 + 0.06 * f64::from(number % 11), 0.3 + 0.05 * f64::from(number % 9));
    let corner = |at: u32| {
        let turn = f64::from(at) * std::f64::consts::TAU / 12.0;
        [x + 0.15 * turn.cos(), y + 0.15 * turn.sin()]
    };
    let polygon: Vec<[f64; 2]> = (0..12).map(corner).collect();
    json!({ "name": format!("zone {number}"), "polygon": polygon, "config": { "confirm_frames": 10 } })
}

/// Waits for the end of a load; what came of it, and the greatest length that the log had.
async fn watched(load: Load, log: &Path, server: &mut Server) -> Result<(Outcome, u64), String> {
    let mut longest = 0;
    let mut told = Instant::now();
    let posted = load.posted();
    let joined = load.join();
    tokio::pin!(joined);
    loop {
        tokio::select! {
            outcome = &mut joined => return Ok((outcome, longest)),
            () = tokio::time::sleep(LOOK) => longest = longest.max(size(log)),
        }
        server.check()?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            complain(&format!("{} batches\n", posted.get()));
        }
    }
}

/// The write-ahead log of a server whose folder this is; there is none on PostgreSQL.
fn log_of(folder: &Path) -> PathBuf {
    match heldar_config::DatabaseTarget::in_folder(&folder.join("data")) {
        heldar_config::DatabaseTarget::Sqlite(path) => PathBuf::from(format!("{}-wal", path.display())),
        heldar_config::DatabaseTarget::Postgres(_) => PathBuf::new(),
    }
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |about| about.len())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// What a server says of its database.
struct Database {
    engine: String,
    /// In use, the log excepted.
    bytes: u64,
}

impl Database {
    async fn of(server: &mut Server) -> Result<Database, String> {
        let about = server.api.get("/api/v1/system/db").await?.success()?;
        match (about["engine"].as_str(), about["db_bytes"].as_u64()) {
            (Some(engine), Some(bytes)) => Ok(Database { engine: engine.to_owned(), bytes }),
            _ => Err(format!("the database has another form: {about}")),
        }
    }
}

/// How far consumers are now, and how long each then takes for the rest.
async fn consumers(server: &mut Server) -> Result<Vec<Consumer>, String> {
    let begun = Instant::now();
    let mut all: Vec<Consumer> = listed(server).await?.iter().filter_map(Consumer::of).collect();
    while begun.elapsed() < CATCH_UP && all.iter().any(|consumer| consumer.caught_up_s.is_none()) {
        for view in listed(server).await? {
            let known = all.iter_mut().find(|consumer| view["name"] == consumer.name.as_str());
            if let Some(consumer) = known {
                consumer.parked = view["parked"].as_u64().unwrap_or(0);
                if consumer.caught_up_s.is_none() && view["lag_batches"] == 0 {
                    consumer.caught_up_s = Some(begun.elapsed().as_secs_f64());
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(all)
}

async fn listed(server: &mut Server) -> Result<Vec<Value>, String> {
    match server.api.get("/api/v1/ai/consumers").await?.success()? {
        Value::Array(all) => Ok(all),
        other => Err(format!("the consumers have another form: {other}")),
    }
}

impl Consumer {
    fn of(view: &Value) -> Option<Consumer> {
        Some(Consumer {
            name: view["name"].as_str()?.to_owned(),
            lag_batches: view["lag_batches"].as_u64()?,
            lag_s: view["lag_seconds"].as_f64()?,
            caught_up_s: None,
            parked: view["parked"].as_u64()?,
        })
    }
}

impl Report {
    /// A worker whose post is refused loses time, or what it saw.
    fn verdict(&self) -> Verdict {
        if self.kinds.iter().all(|kind| kind.errors == 0) { Verdict::Valid } else { Verdict::Broken }
    }

    fn text(&self) -> String {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut answers = vec![row(&[
            "detections a batch",
            "requests/s",
            "detections/s",
            "p50",
            "p95",
            "p99",
            "longest",
            "errors",
        ])];
        let mut costs = vec![row(&[
            "detections a batch",
            "cores, server",
            "cores, load",
            "machine busy",
            "RSS",
            "peak",
            "log at the end",
            "longest log",
            "database per batch",
            "per detection",
        ])];
        let mut consumers =
            vec![row(&["detections a batch", "consumer", "behind at the end", "caught up after", "parked"])];
        for kind in &self.kinds {
            let name = kind.detections.to_string();
            let times = [kind.p50_ms, kind.p95_ms, kind.p99_ms, kind.max_ms].map(|ms| format!("{ms:.2} ms"));
            let rates = [kind.requests_per_s, kind.detections_per_s].map(|rate| format!("{rate:.0}"));
            let errors = kind.errors.to_string();
            answers.push(std::iter::once(name.clone()).chain(rates).chain(times).chain([errors]).collect());
            let size = |mib: Option<f64>| mib.map_or_else(String::new, |mib| format!("{mib:.1} MiB"));
            costs.push(vec![
                name.clone(),
                format!("{:.2}", kind.server_cores),
                format!("{:.2}", kind.load_cores),
                format!("{:.0} %", kind.machine_busy * 100.0),
                size(Some(kind.rss_mib)),
                size(Some(kind.peak_mib)),
                size(kind.wal_mib),
                size(kind.wal_max_mib),
                format!("{:.0} bytes", kind.bytes_per_batch),
                format!("{:.0} bytes", kind.bytes_per_detection),
            ]);
            for consumer in &kind.consumers {
                consumers.push(vec![
                    name.clone(),
                    consumer.name.clone(),
                    format!("{} batches, {:.1} s", consumer.lag_batches, consumer.lag_s),
                    consumer.caught_up_s.map_or_else(|| "not".to_owned(), |s| format!("{s:.1} s")),
                    consumer.parked.to_string(),
                ]);
            }
        }
        let mut text = format!(
            "\n{}\n{} connections, {} s each, {}\n\n{}\n{}",
            self.machine.line(),
            self.connections,
            self.seconds,
            self.engine,
            markdown(&answers),
            markdown(&costs),
        );
        if consumers.len() > 1 {
            text.push_str(&format!("\n{}", markdown(&consumers)));
        }
        let failures = self.kinds.iter().flat_map(|kind| &kind.failures);
        failures.for_each(|failure| text.push_str(&format!("refused: {failure}\n")));
        text
    }
}
