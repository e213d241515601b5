//! Refused requests in the audit trail (auth-system.md 16.1).

use std::sync::{Mutex, MutexGuard, PoisonError};

use heldar_access::{Denials, Source};
use heldar_base::{CameraId, Capability, WallTime};
use heldar_http::{Denial, Reason};
use heldar_store::{AuditEntry, AuditOutcome};
use serde_json::{Map, Value};

use crate::registry::{Author, Target};

/// What makes refusals the same. Strangers knock at many doors; all of these are one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Source,
    reason: Option<Reason>,
    known: Option<(String, String, String)>,
}

/// What the rows of a refusal say.
#[derive(Debug)]
struct Refusal {
    author: Author,
    method: String,
    route: String,
    reason: Option<Reason>,
    capability: Option<Capability>,
    camera: Option<CameraId>,
}

impl Refusal {
    fn row(&self, now: WallTime, count: u64, span: Option<(WallTime, WallTime)>) -> AuditEntry {
        let mut detail = Map::new();
        detail.insert("method".to_owned(), self.method.clone().into());
        detail.insert("route".to_owned(), self.route.clone().into());
        detail.insert("reason".to_owned(), self.reason.map_or(Value::Null, |reason| reason.as_str().into()));
        if let Some(capability) = self.capability {
            detail.insert("capability".to_owned(), capability.as_str().into());
        }
        if let Some(camera) = &self.camera {
            detail.insert("camera_id".to_owned(), camera.as_str().into());
        }
        detail.insert("count".to_owned(), count.into());
        if let Some((first, last)) = span {
            detail.insert("first_at".to_owned(), serde_json::json!(first));
            detail.insert("last_at".to_owned(), serde_json::json!(last));
        }
        let target = Target { kind: "route", id: &self.route };
        let row = self.author.did(now, "access_denied", target, Value::Object(detail));
        AuditEntry { outcome: AuditOutcome::Denied, ..row }
    }
}

/// Refusals whose minute is open.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Denials<Key, Refusal>>);

impl Refusals {
    fn open(&self) -> MutexGuard<'_, Denials<Key, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was refused; the row that is due at once, if any.
    pub(crate) fn note(&self, now: WallTime, denial: &Denial<'_>) -> Option<AuditEntry> {
        let known = denial
            .principal
            .map(|principal| (principal.id.clone(), denial.method.to_owned(), denial.route.to_owned()));
        let key = Key { source: Source::of(denial.client.address), reason: denial.reason, known };
        let refusal = || {
            let author = denial.principal.map_or_else(Author::nobody, Author::new);
            Refusal {
                author: author.by_request(denial.client.address.to_string(), None, denial.request_id),
                method: denial.method.to_owned(),
                route: denial.route.to_owned(),
                reason: denial.reason,
                capability: denial.capability,
                camera: denial.camera.and_then(|text| CameraId::new(text).ok()),
            }
        };
        let is_first = self.open().note(now, key, refusal);
        is_first.then(|| refusal().row(now, 1, None))
    }

    /// Rows that sum up the refusals whose minute is over; all of them at a stop.
    pub(crate) fn summed_up(&self, now: WallTime, stopping: bool) -> Vec<AuditEntry> {
        let mut open = self.open();
        let summaries = if stopping { open.all() } else { open.due(now) };
        drop(open);
        let rows = summaries.into_iter().map(|summary| {
            let span = Some((summary.first_at, summary.last_at));
            match summary.what {
                Some((_, refusal)) => refusal.row(now, summary.count, span),
                None => {
                    let (method, route) = ("*".to_owned(), "*".to_owned());
                    let (author, reason) = (Author::nobody(), None);
                    let several = Refusal { author, method, route, reason, capability: None, camera: None };
                    several.row(now, summary.count, span)
                }
            }
        });
        rows.collect()
    }
}
