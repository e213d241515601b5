//! `heldar bench access`: what it costs a request to show who makes it.

use serde::Serialize;
use serde_json::json;

use super::folder::TempFolder;
use super::server::Server;
use super::stats::{median, quantile, table};
use super::usage::MachineInfo;
use super::{Verdict, print_json};
use crate::say;

/// Cameras that the limited key is limited to.
const SCOPE: usize = 100;
/// A path whose handler reads neither store nor disk.
const PATH: &str = "/api/v1/site";

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
    let password = "measured, not kept";
    let user = json!({ "username": "bench", "password": password });
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
    server.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        requests: options.requests,
        runs: options.runs,
        kinds: kinds.iter().map(Asking::kind).collect(),
        sign_in_ms: median(&sign_ins),
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
        format!(
            "{}\nGET {PATH}, medians of {} x {} requests on one connection; a sign-in takes {:.1} ms\n{}",
            self.machine.line(),
            self.runs,
            self.requests,
            self.sign_in_ms,
            table(&rows)
        )
    }
}
