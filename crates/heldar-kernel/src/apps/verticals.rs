//! What an app brings: its schema, routes, consumers and loops.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heldar_base::{CameraId, Clock as _, WallTime};
use heldar_http::RouteTable;
use heldar_store::{AppMigration, AppRow, AppSql, AppValue, Store, StoreError};

use super::{AppEvent, DetectionConsumer};
use crate::api::Api;
use crate::engine::journal::Entry;
use crate::kernel::Kernel;

/// An app that is compiled in, or several. Everything is optional; `()` is no app.
pub trait Verticals: Send + Sync + 'static {
    /// Brings the app's tables up to date before anything runs. An error stops the start.
    fn init_schema<'a>(&'a self, _schema: Schema<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Who is given what workers see.
    fn consumers(&self) -> Vec<Arc<dyn DetectionConsumer>> {
        Vec::new()
    }

    /// Adds routes below `/api/v1/`, each with its access rule; there is no other way to a handler.
    fn merge_routes(&self, _routes: &mut RouteTable<Api>) {}

    /// Starts loops by [`AppContext::keep`].
    fn spawn_loops(&self, _context: &AppContext) {}
}

impl Verticals for () {}

/// Where an app brings its tables up to date.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    store: &'a Store,
    now: WallTime,
}

impl<'a> Schema<'a> {
    pub(crate) fn new(store: &'a Store, now: WallTime) -> Self {
        Schema { store, now }
    }

    /// Applies the steps that the database does not have yet, each in one commit with its record.
    ///
    /// # Errors
    /// As [`Store::migrate_app`]: a step that was applied has another text now, or is not among these.
    pub async fn migrate(self, component: &str, steps: &[AppMigration]) -> Result<(), StoreError> {
        self.store.migrate_app(component, steps, self.now).await.map(|_applied| ())
    }
}

/// What an app may use while the server runs.
#[derive(Clone)]
pub struct AppContext {
    kernel: Arc<Kernel>,
}

impl AppContext {
    pub(crate) fn new(kernel: Arc<Kernel>) -> Self {
        AppContext { kernel }
    }

    /// The kernel: what it shares with handlers.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Runs a loop until the server stops. One that ends or panics starts again after 5 s.
    pub fn keep<F>(&self, name: &'static str, start: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.kernel.keep_loop(name, start);
    }

    /// Raises an event; site and number are filled in when it is stored. Never waits.
    pub fn log_event(&self, event: AppEvent) {
        self.kernel.journal.push(Entry::Event(event.stamped(self.kernel.clock.wall())));
    }

    /// Starts a recording of a camera that records by events, or extends the one that runs; of other cameras nothing.
    /// `reason` is shown as its source, up to 64 characters. Whether something is recorded.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn trigger(&self, camera: &CameraId, reason: &str) -> Result<bool, StoreError> {
        let Some(op) = self.kernel.app_trigger(camera, reason) else { return Ok(false) };
        let triggered = self.kernel.store.write(op).await?;
        triggered.iter().for_each(|triggered| self.kernel.triggered(triggered));
        Ok(triggered.is_some())
    }

    /// Reads what is committed.
    ///
    /// # Errors
    /// As [`Store::app_rows`].
    pub async fn rows(&self, sql: &AppSql, values: Vec<AppValue>) -> Result<Vec<AppRow>, StoreError> {
        self.kernel.store.app_rows(sql, values).await
    }
}
