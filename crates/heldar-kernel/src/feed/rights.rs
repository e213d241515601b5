//! What a listener may see, as it changes (auth-system.md 14).
//!
//! Owns: looking again whenever a right may have changed or ended. Never: counts as activity of a sign-in, which an open
//! event stream is not.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heldar_base::{Capability, Clock as _, Principal, Scope};
use heldar_http::{Caller, Client};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::filter::Filter;
use crate::accounts::{Accounts, Standing};
use crate::kernel::Kernel;

/// Longest time between two looks, for what no change tells.
const LOOK: Duration = Duration::from_secs(15);

/// What a listener stands on.
pub struct Rights {
    accounts: Arc<Accounts>,
    principal: Arc<Principal>,
    address: IpAddr,
    changes: watch::Receiver<u64>,
    /// When they are looked at, whether or not anything changes. Kept from one wait to the next, as there are many.
    look_at: Pin<Box<Sleep>>,
    clock: heldar_ingest::SystemClock,
    /// Whether it could see anything when it began: only what there was can end.
    saw_something: bool,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It may see this.
    Sees(Scope),
    /// It may not listen any more; never [`Standing::Holds`].
    Ended(Standing),
}

impl Rights {
    /// Those of a request, for a filter.
    pub fn of(kernel: &Kernel, caller: &Caller, client: &Client, filter: &Filter) -> Self {
        let changes = kernel.accounts.changes();
        let mut rights = Rights {
            accounts: kernel.accounts.clone(),
            principal: caller.principal().clone(),
            address: client.address,
            changes,
            // Looked at before anything is given out: what was decided for the request may be over.
            look_at: Box::pin(sleep_until(Instant::now())),
            clock: kernel.clock,
            saw_something: false,
        };
        rights.saw_something = rights.leaves_something(caller.scope(), filter);
        rights
    }

    /// The same, looked at by somebody else.
    #[must_use]
    pub fn beside(&self) -> Self {
        Rights {
            accounts: self.accounts.clone(),
            principal: self.principal.clone(),
            address: self.address,
            changes: self.changes.clone(),
            look_at: Box::pin(sleep_until(self.look_at.deadline())),
            clock: self.clock,
            saw_something: self.saw_something,
        }
    }

    /// The filter is another one.
    pub fn with_filter(&mut self, scope: &Scope, filter: &Filter) {
        self.saw_something = self.leaves_something(scope, filter);
    }

    /// Whether they are to be looked at again.
    pub fn is_stale(&self) -> bool {
        self.changes.has_changed().unwrap_or(true) || Instant::now() >= self.look_at.deadline()
    }

    /// Resolves when they are to be looked at again.
    pub async fn stale(&mut self) {
        tokio::select! {
            changed = self.changes.changed() => {
                // The sender lives as long as `accounts`.
                debug_assert!(changed.is_ok());
                // Seen, and not looked at.
                self.changes.mark_changed();
            }
            () = self.look_at.as_mut() => {}
        }
    }

    /// Looks at them.
    pub fn look(&mut self, filter: &Filter) -> Outlook {
        self.changes.mark_unchanged();
        let capability = Some(Capability::EventsRead);
        let (scope, until) = match self.accounts.scope_now(&self.principal, self.address, capability) {
            Ok(holds) => holds,
            Err(standing) => return Outlook::Ended(standing),
        };
        let rest = until.map_or(LOOK, |until| {
            (until - self.clock.wall()).max(heldar_base::Micros(1000)).to_std().min(LOOK)
        });
        self.look_at.as_mut().reset(Instant::now() + rest);
        if self.saw_something && !self.leaves_something(&scope, filter) {
            return Outlook::Ended(Standing::RightEnded);
        }
        Outlook::Sees(scope)
    }

    /// Resolves when the right has ended.
    pub async fn ended(mut self, filter: Filter) -> Standing {
        loop {
            if let Outlook::Ended(standing) = self.look(&filter) {
                return standing;
            }
            self.stale().await;
        }
    }

    /// Whether a scope has a camera, of those that are there, that a filter is about.
    fn leaves_something(&self, scope: &Scope, filter: &Filter) -> bool {
        let Scope::Cameras(set) = scope else { return true };
        let directory = self.accounts.directory();
        set.iter().any(|camera| {
            directory.sites().has_camera(camera.as_str())
                && filter.cameras.as_ref().is_none_or(|wanted| wanted.contains(camera.as_str()))
        })
    }
}
