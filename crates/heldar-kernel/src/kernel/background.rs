//! What runs beside the streams until the server stops: indexing, sweeps, checks, supervision.
//!
//! Owns: which tasks there are and what keeps each of them running. Never: decides anything that they decide.

use std::sync::Arc;

use heldar_base::{Clock as _, StreamId};
use heldar_tls::Certificates;
use tokio::sync::mpsc;

use super::Kernel;
use crate::engine::late;
use crate::engine::stream::StreamReport;
use crate::fsck::scrub::{self, Pace};
use crate::health::tasks::keep;
use crate::perception::{fanout, mirror, motion};
use crate::rhythm::Rhythm;

/// Beats between writes of statuses that changed.
const PERSIST_BEATS: u32 = 5;
/// Seconds between writes of the use of sign-ins and keys.
const ACCOUNT_BEAT: u32 = 60;

impl Kernel {
    pub(super) fn start_tasks(self: &Arc<Self>, inbox: mpsc::UnboundedReceiver<(StreamId, StreamReport)>) {
        let mut tasks = Vec::new();
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("indexer", &kernel.health.restarts, || kernel.indexer.clone().run()).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("retention", &kernel.health.restarts, || crate::retention::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("scrub", &kernel.health.restarts, || scrub::run(kernel.clone(), Pace::SLOW)).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("recovery", &kernel.health.restarts, || late::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("health", &kernel.health.restarts, || crate::health::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("observation", &kernel.health.restarts, || crate::registry::observe(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("journal", &kernel.health.restarts, || kernel.journal.run(&kernel.store)).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("live view", &kernel.health.restarts, || crate::live::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("sampler", &kernel.health.restarts, || crate::perception::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("frame mirror", &kernel.health.restarts, || mirror::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("motion", &kernel.health.restarts, || motion::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("record modes", &kernel.health.restarts, || crate::modes::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("snapshots", &kernel.health.restarts, || crate::snapshots::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("zones", &kernel.health.restarts, || crate::zones::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("evidence", &kernel.health.restarts, || crate::zones::keep(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("feed", &kernel.health.restarts, || fanout::feed(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("event feed", &kernel.health.restarts, || kernel.feed.run()).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("webhooks", &kernel.health.restarts, || kernel.webhooks.clone().run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("consumers", &kernel.health.restarts, || fanout::run(kernel.clone())).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("accounts", &kernel.health.restarts, || kernel.clone().keep_accounts()).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("rights", &kernel.health.restarts, || crate::live::cut_without_right(kernel.clone())).await;
        }));
        let (kernel, inbox) = (self.clone(), Arc::new(tokio::sync::Mutex::new(inbox)));
        tasks.push(tokio::spawn(async move {
            let take = || kernel.clone().take_reports(inbox.clone());
            keep("reports", &kernel.health.restarts, take).await;
        }));
        let kernel = self.clone();
        tasks.push(tokio::spawn(async move {
            keep("supervision", &kernel.health.restarts, || kernel.clone().supervise()).await;
        }));
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(tasks);
    }

    /// Runs a loop of an app until the server stops; one that ends or panics starts again after 5 s.
    pub(crate) fn keep_loop<F>(
        self: &Arc<Self>,
        name: &'static str,
        start: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let kernel = self.clone();
        let task = tokio::spawn(async move { keep(name, &kernel.health.restarts, start).await });
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(task);
    }

    /// Looks after the certificate that the API's listener serves with; the first call counts.
    pub fn keep_certificates(self: &Arc<Self>, certificates: Arc<Certificates>) {
        if self.certificates.set(certificates.clone()).is_err() {
            tracing::debug!("the certificate was told twice");
            return;
        }
        let kernel = self.clone();
        let task = tokio::spawn(async move {
            let look = || crate::tls::run(kernel.clone(), certificates.clone());
            keep("certificate", &kernel.health.restarts, look).await;
        });
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(task);
    }

    /// Hands what streams report to those who keep their states.
    async fn take_reports(
        self: Arc<Self>,
        inbox: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<(StreamId, StreamReport)>>>,
    ) {
        let mut inbox = inbox.lock().await;
        while let Some((stream, report)) = inbox.recv().await {
            if let StreamReport::Ended { error, .. } = &report {
                self.health.stream_ended(&stream.camera, error.class);
            }
            self.registry.observed.report(&stream, &report);
            self.supervisor.report(&stream, report);
        }
        // The streams are gone: the server stops.
        std::future::pending::<()>().await;
    }

    /// Lets time pass for every camera's state, and stores what is worth keeping of it.
    async fn supervise(self: Arc<Self>) {
        let mut beat = Rhythm::main().every(1);
        let mut beats = 0u32;
        loop {
            beat.tick().await;
            for note in self.live.take_notes() {
                self.supervisor.note(note);
            }
            if self.live.has_pending() {
                self.indexer.wake();
            }
            self.supervisor.tick();
            self.sum_up(self.reads.due(self.clock.wall()));
            self.sum_up(self.accounts.summed_up(false));
            if let Some(attack) = self.accounts.take_attack() {
                let payload = serde_json::json!({
                    "failures": attack.failures,
                    "sources": attack.sources,
                    "accounts": attack.accounts,
                    "since": attack.since,
                });
                self.journal.raise(None, "login_attack", heldar_store::Severity::Warning, payload);
            }
            self.sum_up(self.refusals.summed_up(self.clock.wall(), false));
            beats = beats.wrapping_add(1);
            if beats.is_multiple_of(PERSIST_BEATS) {
                self.persist_statuses();
            }
        }
    }

    /// Tells the store of the use of sign-ins and keys.
    async fn keep_accounts(self: Arc<Self>) {
        let mut beat = Rhythm::main().every(ACCOUNT_BEAT);
        loop {
            beat.tick().await;
            self.accounts.tick().await;
        }
    }

    pub(super) fn persist_statuses(&self) {
        let statuses = self.supervisor.take_persistent();
        if !statuses.is_empty() {
            self.journal.statuses(statuses);
        }
    }
}
