//! Which subscriptions run: one task for each that is enabled, following its row.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use heldar_base::{PublicId, Scope};
use heldar_store::{StoreError, Webhook};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::runner::Runner;
use super::{LAST_WORDS, Site, Webhooks};
use crate::perception::fanout::patiently;

/// While events come, whoever waits for them is woken so often at most.
const GATHER: Duration = Duration::from_millis(20);
/// Rest before a task that panicked is started again.
const REST: Duration = Duration::from_secs(5);

/// The tasks.
#[derive(Default)]
struct Running {
    tasks: JoinSet<PublicId>,
    rows: HashMap<PublicId, watch::Sender<Option<Arc<Webhook>>>>,
}

impl Webhooks {
    /// Runs every subscription until the server stops.
    pub async fn run(self: Arc<Self>, site: Arc<dyn Site>) {
        let head = watch::Sender::new(0);
        self.stopped.send_replace(false);
        let mut stopping = self.stopping.subscribe();
        let mut running = Running::default();
        let ended = tokio::select! {
            ended = self.keep(&mut running, &site, &head) => ended,
            () = self.follow(&head) => Ok(()),
            _stopping = stopping.wait_for(|stopping| *stopping) => Ok(()),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "webhooks cannot be read; they begin anew");
        }
        for row in running.rows.values() {
            row.send_replace(None);
        }
        let all = async { while running.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::info!("a receiver takes long; it gets what it was sent once more");
        }
        self.stopped.send_replace(true);
        if *self.stopping.borrow() {
            std::future::pending::<()>().await;
        }
    }

    /// Starts, tells and ends tasks as their rows say.
    async fn keep(
        self: &Arc<Self>,
        running: &mut Running,
        site: &Arc<dyn Site>,
        head: &watch::Sender<i64>,
    ) -> Result<(), StoreError> {
        loop {
            let store = &self.ground.store;
            let rows = patiently(|| store.webhooks(&Scope::All)).await?;
            self.count(&rows).await?;
            let enabled: HashSet<PublicId> =
                rows.iter().filter(|row| row.fields.enabled).map(|row| row.id).collect();
            for (id, row) in &running.rows {
                if !enabled.contains(id) {
                    row.send_if_modified(|row| row.take().is_some());
                }
            }
            for webhook in rows.into_iter().filter(|row| row.fields.enabled) {
                let id = webhook.id;
                let Some(row) = running.rows.get(&id) else {
                    self.start(running, webhook, site, head);
                    continue;
                };
                row.send_if_modified(|row| {
                    // One that was told to end is started anew once it has.
                    let is_other = row.as_ref().is_some_and(|old| old.revision != webhook.revision);
                    if is_other {
                        *row = Some(Arc::new(webhook));
                    }
                    is_other
                });
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Some(ended) = running.tasks.join_next() => {
                    if let Ok(id) = ended {
                        running.rows.remove(&id);
                    }
                }
                () = tokio::time::sleep(self.sweep()) => {}
            }
        }
    }

    fn start(
        self: &Arc<Self>,
        running: &mut Running,
        webhook: Webhook,
        site: &Arc<dyn Site>,
        head: &watch::Sender<i64>,
    ) {
        let id = webhook.id;
        let (tell, row) = watch::channel(Some(Arc::new(webhook)));
        let runner = Runner {
            webhooks: self.clone(),
            site: site.clone(),
            row,
            head: head.subscribe(),
            poke: self.poke.subscribe(),
        };
        running.tasks.spawn(async move {
            let both = async {
                tokio::join!(Box::pin(runner.clone().live()), Box::pin(runner.replay()));
            };
            if AssertUnwindSafe(both).catch_unwind().await.is_err() {
                tracing::error!(webhook = %id, "the task of a webhook panicked");
                tokio::time::sleep(REST).await;
            }
            id
        });
        running.rows.insert(id, tell);
    }

    /// Wakes who waits for events once there are some.
    async fn follow(&self, head: &watch::Sender<i64>) {
        let mut committed = self.ground.store.committed();
        let mut seen = committed.borrow_and_update().seq;
        loop {
            if committed.changed().await.is_err() {
                // The store is closed.
                std::future::pending::<()>().await;
            }
            let up_to = committed.borrow_and_update().seq;
            if head.receiver_count() > 0 {
                let newer = self.ground.store.events_after(&Scope::All, seen, 1).await;
                // What is not known may be one: whoever is woken looks for himself.
                if newer.is_ok_and(|newer| newer == 0) {
                    tokio::time::sleep(GATHER).await;
                } else {
                    head.send_replace(up_to);
                }
            }
            seen = up_to;
        }
    }

    /// Brings the metrics of subscriptions up to date.
    async fn count(&self, rows: &[Webhook]) -> Result<(), StoreError> {
        let known: HashSet<String> = rows.iter().map(|row| row.id.to_string()).collect();
        self.meters.lag.retain(|[id]| known.contains(id));
        self.meters.failing.retain(|[id]| known.contains(id));
        self.places().retain(|id, _| rows.iter().any(|row| row.id == *id));
        for row in rows {
            let lag = patiently(|| self.lag(row)).await?;
            self.meters.lag.with([&row.id.to_string()]).set(f64::from(lag));
        }
        Ok(())
    }
}
