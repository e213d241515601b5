//! Where a detection comes from, as its attributes say it (perception.md 8.6).

use serde::Serialize;

use crate::TaskId;

/// Keys that only the server writes.
pub const SOURCE_KEYS: [&str; 2] = ["source", "_prov"];

/// Who made a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance<'a> {
    /// A worker.
    Worker {
        /// Id of its credential.
        key: &'a str,
        /// The task, if known.
        task: Option<TaskId>,
        /// The name of the worker, if a lease tells it.
        worker: Option<&'a str>,
    },
    /// A part of the server.
    Kernel {
        /// Its name, for example `motion`.
        producer: &'a str,
    },
}

#[derive(Serialize)]
struct WorkerProv<'a> {
    key: &'a str,
    task: Option<TaskId>,
    worker: Option<&'a str>,
}

#[derive(Serialize)]
struct KernelProv<'a> {
    producer: &'a str,
}

impl Provenance<'_> {
    /// What stands in `provenance`.
    pub fn name(&self) -> String {
        match self {
            Provenance::Worker { .. } => "worker".to_owned(),
            Provenance::Kernel { producer } => format!("kernel:{producer}"),
        }
    }

    /// What stands in `produced_by`.
    pub fn produced_by(&self) -> String {
        match self {
            Provenance::Worker { key, .. } => format!("apikey:{key}"),
            Provenance::Kernel { .. } => self.name(),
        }
    }

    /// The attributes of a detection as everybody sees them, as JSON text: provenance first, then what the worker said
    /// ([`super::Detection::extra`]).
    pub fn attributes(&self, extra: Option<&str>) -> String {
        let (source, prov) = match *self {
            Provenance::Worker { key, task, worker } => {
                ("worker", serde_json::to_string(&WorkerProv { key, task, worker }))
            }
            Provenance::Kernel { producer } => ("kernel", serde_json::to_string(&KernelProv { producer })),
        };
        let prov = prov.unwrap_or_else(|_| unreachable!("texts and ids are JSON"));
        let mut out = format!("{{\"source\":\"{source}\",\"_prov\":{prov}");
        let inner = extra.and_then(|text| text.strip_prefix('{')).and_then(|text| text.strip_suffix('}'));
        if let Some(inner) = inner.filter(|inner| !inner.trim().is_empty()) {
            out.push(',');
            out.push_str(inner);
        }
        out.push('}');
        out
    }
}
