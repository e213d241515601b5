//! The certificate in service: where it comes from, its exchange, what is told of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use heldar_base::WallTime;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;

use crate::expiry::{Expiry, Urgency};
use crate::facts::Facts;
use crate::pair::{self, Pair, Part};
use crate::reload::Failures;
use crate::self_signed::{self, MakeError};

/// Time between looks; a change is taken at the first look that finds it, a broken one told at the second. Within the 60 s
/// of auth-system.md 4.1.
const EVERY: Duration = Duration::from_secs(20);

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Two PEM files, which somebody else renews.
    Files {
        /// The chain, our certificate first.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// Made here.
    SelfSigned {
        /// The folder that it is kept in.
        folder: PathBuf,
        /// Names that it has beside those of this machine.
        domains: Vec<String>,
    },
}

impl Source {
    /// What is there now, without making anything; `None` for a self-signed one that was not made yet.
    ///
    /// # Errors
    /// A pair that does not load.
    pub fn inspect(&self) -> Result<Option<Facts>, MakeError> {
        let provider = aws_lc_rs::default_provider();
        let pair = match self {
            Source::Files { .. } => self.pair(WallTime::EPOCH, None, &provider)?,
            Source::SelfSigned { folder, .. } => self_signed::read(folder, &provider)?,
        };
        Ok(pair.map(|pair| pair.facts))
    }

    /// The pair that is there, or made; `None` when it is the one that is served already.
    fn pair(
        &self,
        now: WallTime,
        served: Option<&Pair>,
        provider: &CryptoProvider,
    ) -> Result<Option<Pair>, MakeError> {
        let pair = match self {
            Source::Files { chain, key } => {
                let chain = Part { name: "HELDAR_TLS_CERT", path: chain };
                let key = Part { name: "HELDAR_TLS_KEY", path: key };
                let (chain_bytes, key_bytes) = (chain.read()?, key.read()?);
                let mark = pair::mark(&chain_bytes, &key_bytes);
                if served.is_some_and(|served| served.mark == mark) {
                    return Ok(None);
                }
                pair::load((chain, &chain_bytes), (key, &key_bytes), provider)?
            }
            Source::SelfSigned { folder, domains } => self_signed::keep(folder, domains, now, provider)?,
        };
        Ok(Some(pair).filter(|pair| served.is_none_or(|served| served.mark != pair.mark)))
    }
}

/// Why a look is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// It is time again.
    Routine,
    /// Somebody asked, as by SIGHUP.
    Operator,
}

/// What is worth an event (auth-system.md 8.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A pair does not load; the one before it stays in service.
    ReloadFailed {
        /// Why, without a path of this machine.
        detail: String,
    },
    /// The end of the certificate in service comes near.
    Expiring {
        /// How near.
        urgency: Urgency,
        /// Whom it is for.
        names: Vec<String>,
        /// When it ends.
        not_after: WallTime,
    },
}

/// The certificate in service, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What it says of itself.
    pub facts: Facts,
    /// Why a newer pair was not taken, while that holds.
    pub last_error: Option<String>,
}

/// The certificate in service.
pub struct Certificates {
    source: Source,
    provider: Arc<CryptoProvider>,
    /// Never held while files are looked at, and nor is the next.
    served: RwLock<Pair>,
    last_error: Mutex<Option<String>>,
    /// Held for the whole of a look, so that there is one at a time.
    told: Mutex<Told>,
    asked: Notify,
}

#[derive(Default)]
struct Told {
    failures: Failures,
    expiry: Expiry,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("source", &self.source).field("view", &self.view()).finish()
    }
}

impl Certificates {
    /// Reads the pair, or makes it.
    ///
    /// # Errors
    /// It does not load, or cannot be made; nothing can be served then.
    pub fn open(source: Source, now: WallTime) -> Result<Arc<Self>, MakeError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pair = source.pair(now, None, &provider)?;
        let pair = pair.expect("a pair that nothing is compared with is returned");
        Ok(Arc::new(Certificates {
            source,
            provider,
            served: RwLock::new(pair),
            last_error: Mutex::default(),
            told: Mutex::default(),
            asked: Notify::new(),
        }))
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, always with the certificate that is in service at the handshake.
    ///
    /// # Errors
    /// The cryptography supports neither version, which is a defect of the program.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(InService(self.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The certificate in service.
    pub fn view(&self) -> View {
        View { facts: self.served().facts, last_error: lock(&self.last_error).clone() }
    }

    /// Asks for a look now instead of later.
    pub fn reload(&self) {
        self.asked.notify_one();
    }

    /// Waits until the next look is due.
    pub async fn due(&self) -> Ask {
        tokio::select! {
            () = self.asked.notified() => Ask::Operator,
            () = tokio::time::sleep(EVERY) => Ask::Routine,
        }
    }

    /// Looks at the files, takes what changed, and says what is worth an event. Reads files, and may write them.
    pub fn look(&self, now: WallTime, ask: Ask) -> Vec<Event> {
        let mut events = Vec::new();
        let mut told = lock(&self.told);
        let served = self.served();
        match self.source.pair(now, Some(&served), &self.provider) {
            Ok(found) => {
                told.failures.none();
                if let Some(pair) = found {
                    tracing::info!(
                        names = ?pair.facts.names,
                        not_after = %pair.facts.not_after,
                        fingerprint_sha256 = pair.facts.fingerprint_sha256,
                        "another certificate is in service"
                    );
                    *self.served.write().unwrap_or_else(PoisonError::into_inner) = pair;
                } else if ask == Ask::Operator {
                    tracing::info!("the certificate is unchanged");
                }
            }
            Err(error) => {
                let detail = error.without_path();
                if told.failures.failed(ask, &detail) {
                    tracing::error!(%error, "the certificate in service stays: the new one cannot be used");
                    events.push(Event::ReloadFailed { detail });
                }
            }
        }
        *lock(&self.last_error) = told.failures.last().map(str::to_owned);
        let Facts { names, not_after, .. } = self.served().facts;
        if let Some(urgency) = told.expiry.look(now, not_after) {
            tracing::warn!(%not_after, "the certificate ends soon");
            events.push(Event::Expiring { urgency, names, not_after });
        }
        events
    }

    fn served(&self) -> Pair {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers each handshake with what is in service.
struct InService(Arc<Certificates>);

impl fmt::Debug for InService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResolvesServerCert for InService {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        Some(served.certified.clone())
    }
}
