//! `heldar bench access`: what it costs a request to show who makes it, and whether the time of a failed sign-in tells why.

use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::json;

use super::folder::TempFolder;
use super::http::Client;
use super::server::Server;
use super::stats::{median, quantile, table};
use super::usage::MachineInfo;
use super::{Verdict, print_json};
use crate::say;

/// Cameras that the limited key is limited to.
const SCOPE: usize = 100;
/// A path whose handler reads neither store nor disk.
const PATH: &str = "/api/v1/site";

/// Failed sign-ins of each kind; one source may try 30 times a minute.
const ATTEMPTS: u8 = 24;
const PASSWORD: &str = "measured, not kept";

#[derive(clap::Args)]
pub(super) struct Options {
    /// Requests in a row of each kind
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// How often, the kinds taking turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
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
    requests: u32,
    runs: u32,
    kinds: Vec<Kind>,
    sign_in_ms: f64,
    failures: Vec<Failure>,
}

/// Times until a failed sign-in is answered.
#[derive(Serialize)]
struct Failure {
    name: &'static str,
    p50_ms: f64,
    p95_ms: f64,
}

/// Figures of one kind of request: medians of the runs.
#[derive(Serialize)]
struct Kind {
    name: &'static str,
    /// CPU of the server for each request.
    cpu_us: f64,
    /// From sending to the whole answer.
    p50_us: f64,
    p99_us: f64,
}

/// Requests of one kind.
struct Asking {
    name: &'static str,
    fields: String,
    cpu_us: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

impl Asking {
    fn new(name: &'static str, fields: String) -> Self {
        Asking { name, fields, cpu_us: Vec::new(), p50_us: Vec::new(), p99_us: Vec::new() }
    }

    async fn ask(&mut self, server: &mut Server, requests: u32) -> Result<(), String> {
        let before = server.usage()?;
        let mut took = Vec::new();
        for _ in 0..requests {
            let answer = server.api.get_with(PATH, &self.fields).await?;
            if answer.status != 200 {
                return Err(format!("{}: status {}", self.name, answer.status));
            }
            took.push(answer.took.as_secs_f64() * 1e6);
        }
        let after = server.usage()?;
        self.cpu_us.push(after.cpu_since(&before) * 1e6 / f64::from(requests));
        self.p50_us.push(median(&took));
        self.p99_us.push(quantile(&took, 0.99));
        Ok(())
    }

    fn kind(&self) -> Kind {
        let (cpu_us, p50_us, p99_us) = (median(&self.cpu_us), median(&self.p50_us), median(&self.p99_us));
        Kind { name: self.name, cpu_us, p50_us, p99_us }
    }
}

/// Sign-ins that fail, the reasons taking turns, each from a source of its own; who is locked out comes from one.
async fn failures(server: &Server) -> Result<Vec<Failure>, String> {
    const LOCKED: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);
    async fn fail(server: &Server, from: Ipv4Addr, username: &str, password: &str) -> Result<f64, String> {
        let mut client = Client::new(server.address()).at(from.into());
        // Connects.
        client.get(PATH).await?;
        let body = json!({ "username": username, "password": password });
        let answer = client.post("/api/v1/auth/login", &body).await?;
        if answer.status == 401 {
            return Ok(answer.took.as_secs_f64() * 1e3);
        }
        Err(format!("a sign-in that must fail: status {}", answer.status))
    }
    for _ in 0..5 {
        fail(server, LOCKED, "bench", "wrong").await?;
    }
    let mut times = [const { Vec::new() }; 3];
    for attempt in 1..=ATTEMPTS {
        let [wrong, unknown, locked] = &mut times;
        wrong.push(fail(server, Ipv4Addr::new(127, 7, 0, attempt), "bench", "wrong").await?);
        unknown.push(fail(server, Ipv4Addr::new(127, 8, 0, attempt), "nobody", "wrong").await?);
        locked.push(fail(server, LOCKED, "bench", PASSWORD).await?);
    }
    let names = ["wrong password", "unknown name", "right password, locked out"];
    let figures = names.into_iter().zip(&times);
    let figures = figures.map(|(name, ms)| Failure { name, p50_ms: median(ms), p95_ms: quantile(ms, 0.95) });
    Ok(figures.collect())
}

/// Measures one server.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut server = Server::start(folder.path(), &[]).await?;
    let key = |name: &str, scope: &serde_json::Value| {
        let mut body = json!({ "name": name, "capabilities": ["system:read"] });
        if let (Some(body), Some(scope)) = (body.as_object_mut(), scope.as_object()) {
            body.extend(scope.clone());
        }
        body
    };
    let cameras: Vec<String> = (0..SCOPE).map(|number| format!("camera_{number}")).collect();
    let limited = json!({ "scope_kind": "cameras", "scope_cameras": cameras });
    let mut kinds = vec![Asking::new("nothing shown", String::new())];
    for (name, scope) in [("API key", json!({})), ("API key, 100 cameras", limited)] {
        let made = server.api.post("/api/v1/api-keys", &key(name, &scope)).await?.success()?;
        let secret = made["key"].as_str().unwrap_or_default();
        kinds.push(Asking::new(name, format!("X-API-Key: {secret}\r\n")));
    }
    let user = json!({ "username": "bench", "password": PASSWORD });
    server.api.post("/api/v1/users", &user).await?.success()?;
    let mut sign_ins = Vec::new();
    let mut session = String::new();
    for _ in 0..10 {
        let answer = server.api.post("/api/v1/auth/login", &user).await?;
        sign_ins.push(answer.took.as_secs_f64() * 1e3);
        session = answer.success()?["token"].as_str().unwrap_or_default().to_owned();
    }
    kinds.push(Asking::new("session cookie", format!("Cookie: heldar_session={session}\r\n")));
    for run in 0..=options.runs {
        for kind in &mut kinds {
            kind.ask(&mut server, options.requests).await?;
            // The first turn only warms up.
            if run == 0 {
                *kind = Asking::new(kind.name, std::mem::take(&mut kind.fields));
            }
        }
    }
    let failures = failures(&server).await?;
    server.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        requests: options.requests,
        runs: options.runs,
        kinds: kinds.iter().map(Asking::kind).collect(),
        sign_in_ms: median(&sign_ins),
        failures,
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(Verdict::Valid)
}

impl Report {
    fn text(&self) -> String {
        let mut rows = vec![["request", "CPU us", "p50 us", "p99 us"].map(str::to_owned).to_vec()];
        for kind in &self.kinds {
            let figures = [kind.cpu_us, kind.p50_us, kind.p99_us].map(|figure| format!("{figure:.1}"));
            rows.push(std::iter::once(kind.name.to_owned()).chain(figures).collect());
        }
        let mut failures = vec![["sign-in that fails", "p50 ms", "p95 ms"].map(str::to_owned).to_vec()];
        for Failure { name, p50_ms, p95_ms } in &self.failures {
            failures.push(vec![(*name).to_owned(), format!("{p50_ms:.2}"), format!("{p95_ms:.2}")]);
        }
        format!(
            "{}\nGET {PATH}, medians of {} x {} requests on one connection; a sign-in takes {:.1} ms\n{}\n{}",
            self.machine.line(),
            self.runs,
            self.requests,
            self.sign_in_ms,
            table(&rows),
            table(&failures)
        )
    }
}
