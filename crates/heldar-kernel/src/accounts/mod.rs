//! People, keys and sign-ins: made, changed, ended, and what follows from them for everything that runs.
//!
//! Owns: the copy in memory from which requests are decided, and its agreement with the store; sign-in and its protection;
//! the audit row of each change. Never: HTTP, SQL, a decision about a camera.
//!
//! Invariants
//! 1. The store comes first: the copy learns of a change right after its commit, and of every change that was committed.
//!    Only an end may come first: a sign-in that is to end ends at once, and the store hears of it when it can.
//! 2. One change at a time. Failed sign-ins change no rights and are counted by the store, in its order.
//! 3. A change and its audit row are one commit.
//! 4. A change once begun runs to its end, whoever waits for it.
//! 5. Whatever is wrong with a sign-in, the answer is the same and took the same work.

mod error;
mod hashing;
mod keys;
mod load;
mod people;
mod rights;
mod setup;
mod sign_in;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use heldar_access::{
    Attack, AttackWatch, Denials, Directory, PasswordRules, Refused, Resolved, Source, SourceLimit, Spent,
    TokenHash,
};
use heldar_base::{Clock as _, Credential, PublicId, WallTime};
use heldar_config::{AccessControl, AccountSettings, Tier};
use heldar_http::metrics::{Counter, Family, Gauge, Registry};
use heldar_ingest::SystemClock;
use heldar_store::op::{EndSessions, TouchKeys, TouchSessions};
use heldar_store::{Attached, AuditEntry, Store};
use serde_json::json;
use tokio::sync::watch;

pub use error::AccountError;
pub use keys::{KeyChanges, KeyView, MintedKey, NewKey, RotatedKey};
pub use people::{NewPerson, PersonChanges, PersonView, ScopeChanges};
pub use rights::Standing;
pub(crate) use setup::KEY as SETUP_TOKEN;
pub use setup::SetupLink;
pub use sign_in::{Attempt, SignedIn};

use crate::engine::journal::{Entry, random_bits};
use crate::registry::{Author, Target};
use hashing::Hashing;

/// Attempts to sign in that one source may make in a minute (auth-system.md 12).
const ATTEMPTS: u32 = 30;
/// Attempts to change the own password in a minute.
const OWN_ATTEMPTS: u32 = 5;

/// By account and client: its last sign-in, and until when it is known.
type KnownClients = HashMap<String, HashMap<String, (WallTime, Option<WallTime>)>>;

/// People, keys and sign-ins.
pub struct Accounts {
    settings: AccountSettings,
    /// Whether callers must identify themselves.
    required: bool,
    store: Store,
    clock: SystemClock,
    directory: RwLock<Directory>,
    /// Counts changes; whoever relies on a right looks again when it moves.
    version: watch::Sender<u64>,
    /// Held from reading what is stored to telling the directory (invariant 2).
    turn: tokio::sync::Mutex<()>,
    /// Clients that have signed in to an account, and until when they are known.
    known: Mutex<KnownClients>,
    by_source: Mutex<SourceLimit<Source>>,
    by_device: Mutex<SourceLimit<TokenHash>>,
    /// Passwords that somebody who has signed in asks to be verified.
    by_person: Mutex<SourceLimit<String>>,
    /// Clients that are locked out of an account, and until when; the store has the same and more.
    locks: Mutex<HashMap<(String, String), WallTime>>,
    failed: Mutex<Denials<(Source, Option<String>), Author>>,
    attacks: Mutex<AttackWatch>,
    /// An attack that was not told of yet.
    attack: Mutex<Option<Attack>>,
    hashing: Hashing,
    meters: Meters,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("required", &self.required).finish_non_exhaustive()
    }
}

struct Meters {
    logins: Arc<Family<Counter, 1>>,
    sessions: Arc<Gauge>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Accounts {
    /// Reads everything that the store has.
    ///
    /// # Errors
    /// The store; no threads.
    pub async fn open(
        settings: &heldar_config::Settings,
        store: &Store,
        clock: SystemClock,
        metrics: &Registry,
    ) -> Result<Arc<Self>, crate::kernel::StartFailure> {
        let access = &settings.access;
        let hashing = Hashing::start(settings.accounts.hash_concurrency, metrics)
            .map_err(crate::kernel::StartFailure::Thread)?;
        let enforced = access.machine_auth == Tier::Enforce;
        let loaded = load::load(store, &settings.accounts, enforced, clock.wall()).await?;
        let accounts = Accounts {
            settings: settings.accounts.clone(),
            required: access.access_control == AccessControl::On,
            store: store.clone(),
            clock,
            directory: RwLock::new(loaded.directory),
            version: watch::Sender::new(0),
            turn: tokio::sync::Mutex::default(),
            known: Mutex::new(loaded.known),
            by_source: Mutex::new(SourceLimit::per_minute(ATTEMPTS)),
            by_device: Mutex::new(SourceLimit::per_minute(ATTEMPTS)),
            by_person: Mutex::new(SourceLimit::per_minute(OWN_ATTEMPTS)),
            locks: Mutex::new(loaded.locks),
            failed: Mutex::default(),
            attacks: Mutex::default(),
            attack: Mutex::default(),
            hashing,
            meters: Meters {
                logins: metrics.counters("heldar_auth_logins_total", "Attempts to sign in.", ["result"]),
                sessions: metrics.gauge("heldar_auth_sessions", "Sign-ins that hold."),
            },
        };
        Ok(Arc::new(accounts))
    }

    /// The copy in memory.
    pub fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the copy, and has everybody look again who relies on a right.
    pub fn change<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> T {
        let result = change(&mut self.directory_mut());
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Whether callers must identify themselves.
    pub fn required(&self) -> bool {
        self.required
    }

    /// Whether there is nobody who could sign in.
    pub fn nobody(&self) -> bool {
        !self.directory().has_people()
    }

    /// Whom a token stands for, used from an address; using it counts as activity. With the new end of a sign-in that this
    /// use has prolonged.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn resolve(&self, token: &str, from: IpAddr) -> Result<(Resolved, Option<WallTime>), Refused> {
        let now = self.clock.wall();
        let directory = self.directory();
        let credential = directory.find(token, now).ok_or(Refused::Invalid)?;
        let resolved = directory.resolve_from(&credential, from, now)?;
        let prolonged = directory.touch(&credential, Some(from), now);
        Ok((resolved, prolonged))
    }

    /// Whom a credential stands for that a live token names.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn resolve_credential(&self, credential: &Credential, from: IpAddr) -> Result<Resolved, Refused> {
        self.directory().resolve_from(credential, from, self.clock.wall())
    }

    /// One attempt of a source to get in.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn attempt(&self, from: IpAddr) -> Result<(), Spent> {
        lock(&self.by_source).take(&Source::of(from), self.clock.mono())
    }

    /// Whether a client is locked out of an account.
    fn is_locked(&self, person: &str, client: &str, now: WallTime) -> bool {
        let mut locks = lock(&self.locks);
        locks.retain(|_, until| *until > now);
        locks.contains_key(&(person.to_owned(), client.to_owned()))
    }

    /// Lets every client of an account try again.
    fn forget_locks(&self, person: &str) {
        lock(&self.locks).retain(|(of, _), _| of != person);
    }

    fn password_rules(&self) -> PasswordRules {
        PasswordRules {
            min_length: self.settings.password_min_length,
            block_common: self.settings.password_block_common,
        }
    }

    /// The person of a username, in any case.
    pub fn id_of(&self, username: &str) -> Option<String> {
        self.directory().person_named(username).map(|person| person.id.clone())
    }

    /// How session cookies are made.
    pub fn settings(&self) -> &AccountSettings {
        &self.settings
    }

    /// Ends the sign-ins behind these tokens, in memory at once. What the store did not take of it now is returned.
    pub async fn sign_out(
        &self,
        author: impl Fn(&heldar_base::Principal) -> Author,
        tokens: &[String],
    ) -> Vec<Entry> {
        let now = self.clock.wall();
        let mut rows = Vec::new();
        let any = {
            let directory = self.directory();
            tokens.iter().any(|token| matches!(directory.find(token, now), Some(Credential::Session(_))))
        };
        if !any {
            return Vec::new();
        }
        let ended: Vec<String> = self.change(|directory| {
            let mut ended = Vec::new();
            for token in tokens {
                let Some(Credential::Session(id)) = directory.find(token, now) else { continue };
                if let Ok(resolved) = directory.resolve(&Credential::Session(id.clone()), now) {
                    let principal = resolved.principal;
                    let target = Target { kind: "user", id: &principal.id };
                    rows.push(author(&principal).did(now, "logout", target, json!({ "session": id })));
                }
                if directory.end_session(&id) {
                    ended.push(id);
                }
            }
            ended
        });
        if ended.is_empty() {
            return Vec::new();
        }
        let mut ops = vec![EndSessions { ids: ended.clone() }.into()];
        ops.extend(rows.iter().cloned().map(|entry| heldar_store::op::AppendAudit { entry }.into()));
        match self.store.write_all(ops).await {
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "a sign-out is stored later");
                let rows = rows.into_iter().map(|row| Entry::Audit(Box::new(row)));
                std::iter::once(Entry::EndSessions(ended)).chain(rows).collect()
            }
        }
    }

    /// Lets time pass: sign-ins that are over by themselves, use that the store has not heard of.
    pub async fn tick(&self) {
        let now = self.clock.wall();
        let (sessions, keys) = self.directory().touched();
        self.directory_mut().expire(now);
        self.meters.sessions.set(self.directory().session_count() as f64);
        let touched = TouchSessions {
            touched: sessions.into_iter().map(|used| (used.id, used.at, used.expires_at)).collect(),
        };
        let used = TouchKeys {
            touched: keys
                .into_iter()
                .map(|used| (used.id, used.at, used.address.map(|address| address.to_string())))
                .collect(),
        };
        let mut ops = Vec::new();
        if !touched.touched.is_empty() {
            ops.push(touched.into());
        }
        if !used.touched.is_empty() {
            ops.push(used.into());
        }
        if !ops.is_empty()
            && let Err(error) = self.store.write_all(ops).await
        {
            tracing::debug!(%error, "use of sign-ins and keys is stored later");
        }
    }

    /// Sign-ins fail in masses: what is to be told of that.
    pub fn take_attack(&self) -> Option<Attack> {
        lock(&self.attack).take()
    }

    /// Audit rows that sum up failed sign-ins whose minute is over; all of them at a stop.
    pub fn summed_up(&self, stopping: bool) -> Vec<AuditEntry> {
        let now = self.clock.wall();
        let mut failed = lock(&self.failed);
        let summaries = if stopping { failed.all() } else { failed.due(now) };
        drop(failed);
        let rows = summaries.into_iter().map(|summary| {
            let detail = json!({
                "count": summary.count, "first_at": summary.first_at, "last_at": summary.last_at,
            });
            match summary.what {
                Some(((_, person), author)) => sign_in::failure_row(&author, now, person.as_deref(), detail),
                None => sign_in::failure_row(&Author::nobody(), now, None, detail),
            }
        });
        rows.collect()
    }
}

/// Runs a change on a task of its own (invariant 4).
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, AccountError>> + Send + 'static,
) -> Result<T, AccountError> {
    tokio::spawn(change).await.unwrap_or(Err(AccountError::Broken))
}

fn with(audit: AuditEntry) -> Attached {
    Attached { audit: Some(audit), events: Vec::new() }
}

fn new_id(prefix: &'static str) -> String {
    PublicId::new(prefix, random_bits()).to_string()
}

fn random() -> Result<[u8; 32], AccountError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| AccountError::Random)?;
    Ok(bytes)
}

/// A list as the store keeps it.
fn stored_list(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}
