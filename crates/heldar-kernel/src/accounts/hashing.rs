//! Passwords are hashed on threads of their own, behind everything else that runs.
//!
//! Owns: how many hashes are computed at once, and who waits: clients that have signed in before come first, strangers
//! share a short queue (auth-system.md 11.5). Never: decides who is known.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use heldar_base::Secret;
use heldar_http::metrics::{DURATION_BUCKETS, Gauge, Histogram, Registry};
use tokio::sync::oneshot;

use super::AccountError;

/// Places for clients that are known.
const KNOWN_PLACES: usize = 64;
/// Places for all others.
const STRANGERS_PLACES: usize = 32;
/// How far behind everything else the threads run (nice(2)).
const NICE: i32 = 10;
/// Parameters of argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// Who waits for a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Somebody who signed in before, or administers.
    Known,
    /// Anybody.
    Stranger,
}

enum Job {
    Verify(Secret<String>, Option<Secret<String>>, oneshot::Sender<Verdict>),
    Make(Secret<String>, oneshot::Sender<Option<Secret<String>>>),
}

/// What a password came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It is the right one.
    pub(super) right: bool,
    /// The hash is weaker than those made now.
    pub(super) outdated: bool,
}

#[derive(Default)]
struct Waiting {
    known: VecDeque<Job>,
    strangers: VecDeque<Job>,
    over: bool,
}

struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    length: Arc<Gauge>,
    seconds: Arc<Histogram>,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            let Waiting { known, strangers, over } = &mut *waiting;
            if let Some(job) = known.pop_front().or_else(|| strangers.pop_front()) {
                self.length.set((known.len() + strangers.len()) as f64);
                return Some(job);
            }
            if *over {
                return None;
            }
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The threads; they end when this is dropped.
pub(super) struct Hashing(Arc<Queue>);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing")
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.0.waiting().over = true;
        self.0.wake.notify_all();
    }
}

impl Hashing {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives none.
    pub(super) fn start(slots: Option<usize>, metrics: &Registry) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            length: metrics.gauge("heldar_auth_hash_queue", "Password hashes that wait."),
            seconds: metrics.histogram(
                "heldar_auth_hash_seconds",
                "Time to compute a password hash.",
                DURATION_BUCKETS,
            ),
        });
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let hashing = Hashing(queue);
        for _slot in 0..slots.unwrap_or_else(|| cores.saturating_sub(1).max(1)) {
            let queue = hashing.0.clone();
            std::thread::Builder::new().name("password".to_owned()).spawn(move || work(&queue))?;
        }
        Ok(hashing)
    }

    fn submit(&self, job: Job, standing: Standing) -> Result<(), AccountError> {
        let mut waiting = self.0.waiting();
        match standing {
            Standing::Known if waiting.known.len() >= KNOWN_PLACES => return Err(AccountError::Busy),
            Standing::Stranger if waiting.strangers.len() >= STRANGERS_PLACES => {
                return Err(AccountError::TooMany(heldar_access::Spent(heldar_base::Micros::from_secs(1))));
            }
            Standing::Known => waiting.known.push_back(job),
            Standing::Stranger => waiting.strangers.push_back(job),
        }
        self.0.length.set((waiting.known.len() + waiting.strangers.len()) as f64);
        drop(waiting);
        self.0.wake.notify_one();
        Ok(())
    }

    /// Verifies a password; without a hash the same work is done and the answer is no.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) async fn verify(
        &self,
        password: Secret<String>,
        hash: Option<Secret<String>>,
        standing: Standing,
    ) -> Result<Verdict, AccountError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Verify(password, hash, reply), standing)?;
        answer.await.map_err(|_| AccountError::Broken)
    }

    /// The hash under which a password is kept.
    ///
    /// # Errors
    /// Too many wait; no randomness.
    pub(super) async fn make(
        &self,
        password: Secret<String>,
        standing: Standing,
    ) -> Result<Secret<String>, AccountError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Make(password, reply), standing)?;
        answer.await.map_err(|_| AccountError::Broken)?.ok_or(AccountError::Random)
    }
}

fn work(queue: &Queue) {
    // Whatever it answers, the thread works on.
    let _niceness = rustix::process::nice(NICE);
    while let Some(job) = queue.next() {
        let began = Instant::now();
        // Who asked may be gone.
        match job {
            Job::Verify(password, hash, reply) => _ = reply.send(verify(&password, hash.as_ref())),
            Job::Make(password, reply) => _ = reply.send(make(&password)),
        }
        queue.seconds.observe(began.elapsed().as_secs_f64());
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn make(password: &Secret<String>) -> Option<Secret<String>> {
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt).ok()?;
    let salt = SaltString::encode_b64(&salt).ok()?;
    let hash = argon2().hash_password(password.expose().as_bytes(), &salt).ok()?;
    Some(Secret::new(hash.to_string()))
}

fn verify(password: &Secret<String>, hash: Option<&Secret<String>>) -> Verdict {
    static NOBODYS: OnceLock<Option<Secret<String>>> = OnceLock::new();
    let nobodys = || NOBODYS.get_or_init(|| make(&Secret::new("nobody's".to_owned()))).as_ref();
    let wrong = Verdict { right: false, outdated: false };
    let Some(text) = hash.or_else(nobodys) else { return wrong };
    let Ok(stored) = PasswordHash::new(text.expose()) else { return wrong };
    let right = argon2().verify_password(password.expose().as_bytes(), &stored).is_ok() && hash.is_some();
    let outdated = right
        && Params::try_from(&stored)
            .is_ok_and(|params| params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES);
    Verdict { right, outdated }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn hashes_verify_and_tell_their_age() {
        let hashing = Hashing::start(Some(1), &Registry::new()).unwrap();
        let hash = hashing.make(secret("a long walk"), Standing::Known).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        let verify = async |password: &str, hash: Option<&Secret<String>>| {
            let verdict = hashing.verify(secret(password), hash.cloned(), Standing::Stranger).await.unwrap();
            (verdict.right, verdict.outdated)
        };
        assert_eq!(verify("a long walk", Some(&hash)).await, (true, false));
        assert_eq!(verify("a short walk", Some(&hash)).await, (false, false));
        assert_eq!(verify("nobody's", None).await, (false, false), "nobody has a password");
        assert_eq!(verify("x", Some(&secret("no hash"))).await, (false, false));
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let salt = SaltString::encode_b64(&[7; 16]).unwrap();
        let weak = weak.hash_password(b"x", &salt).unwrap().to_string();
        assert_eq!(verify("x", Some(&secret(&weak))).await, (true, true));
    }

    #[tokio::test]
    async fn strangers_wait_behind_those_who_are_known_and_not_for_ever() {
        // No thread takes anything.
        let hashing = Hashing::start(Some(0), &Registry::new()).unwrap();
        let mut waiting = Vec::new();
        for (standing, places) in [(Standing::Stranger, STRANGERS_PLACES), (Standing::Known, KNOWN_PLACES)] {
            for _ in 0..places {
                let mut verifying = Box::pin(hashing.verify(secret("x"), None, standing));
                assert!(futures_util::poll!(&mut verifying).is_pending());
                waiting.push(verifying);
            }
        }
        let refused = hashing.verify(secret("x"), None, Standing::Stranger).await;
        assert!(matches!(refused, Err(AccountError::TooMany(_))));
        let refused = hashing.verify(secret("x"), None, Standing::Known).await;
        assert!(matches!(refused, Err(AccountError::Busy)));
        assert!(hashing.0.next().is_some());
        let left = hashing.0.waiting();
        assert_eq!((left.known.len(), left.strangers.len()), (KNOWN_PLACES - 1, STRANGERS_PLACES));
    }
}
