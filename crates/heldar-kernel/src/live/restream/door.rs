//! Who may play what, and what is kept of those who do.
//!
//! Owns: the check of tokens shown in a query, as a Basic password or by a Digest proof, and of API keys as a Basic password;
//! the way from a path to a running stream; the seat of each session that plays. While access control is off nothing needs
//! to be shown, but what is shown must hold, and nobody plays from outside the private networks (auth-system.md 14).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use heldar_base::{Clock as _, Credential, Interval, KeySecret, Principal, Scope};
use heldar_http::{Client, Denial, Reason, Via};
use heldar_live::{Bus, Newcomer, Seat, Tracks, Transport};
use heldar_rtsp::server::{
    AccessRequest, Account, Algorithm, BoxFuture, Challenger, Check, Credentials, Guest, Host, OpenError,
    Playing, Scheme, Stream, Verdict,
};

use super::format::{AUDIO, Shape};
use crate::accounts::Standing;
use crate::kernel::Kernel;
use crate::live::{LiveName, NotWatchable, TokenFault, Watching, is_private};
use crate::reads::Read;
use crate::registry::Author;

/// How long a description waits for a camera's first picture.
const FIRST_PICTURE: Duration = Duration::from_secs(30);
/// How long a client may answer a challenge.
const NONCES: Duration = Duration::from_secs(300);
const REALM: &str = "Heldar";

/// What a request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    /// Nothing.
    Nothing,
    /// A token or key that holds, of this credential.
    Holds(Credential),
    /// What has held: an expired token, or a proof over an old challenge.
    Held(Check),
    /// Anything else.
    Wrong,
}

/// The host of the RTSP server.
pub(super) struct Door {
    kernel: Arc<Kernel>,
    challenger: Challenger,
}

impl Door {
    pub(super) fn new(kernel: Arc<Kernel>) -> Self {
        Door { kernel, challenger: challenger() }
    }

    fn decide(&self, request: &AccessRequest<'_>) -> Verdict {
        let Some(name) = LiveName::parse(request.path) else { return Verdict::NotFound };
        let check = match self.shown(&name, request) {
            Shown::Nothing => match request.granted_to {
                Some(to) => match self.standing(&read(to), &name, request.peer) {
                    Standing::Holds(_) => return Verdict::Granted,
                    Standing::RightEnded => return self.forbidden(request),
                    Standing::CredentialEnded => Check::Failed,
                },
                None if !self.kernel.accounts.required() => return Verdict::Granted,
                None => Check::Failed,
            },
            Shown::Holds(credential) => match self.standing(&credential, &name, request.peer) {
                Standing::Holds(_) => return Verdict::GrantedTo(written(&credential)),
                Standing::RightEnded => return self.forbidden(request),
                Standing::CredentialEnded => Check::Failed,
            },
            // What a token has opened goes on (media.md 11.2), and clients repeat it with each sign of life.
            Shown::Held(_) if request.granted => return Verdict::Granted,
            Shown::Held(check) => check,
            Shown::Wrong => Check::Failed,
        };
        // The first request of a client shows nothing as a rule, to be told how.
        if request.credentials.is_some() || request.query.is_some() {
            self.refused(request, &name, Reason::InvalidCredential);
        }
        Verdict::Challenge(self.challenger.challenges(check))
    }

    fn forbidden(&self, request: &AccessRequest<'_>) -> Verdict {
        if let Some(name) = LiveName::parse(request.path) {
            self.refused(request, &name, Reason::OutOfScope);
        }
        Verdict::Forbidden
    }

    /// A refusal is logged, counted and audited like one over HTTP.
    fn refused(&self, request: &AccessRequest<'_>, name: &LiveName, reason: Reason) {
        let kernel = &self.kernel;
        tracing::info!(
            target: "heldar::security",
            peer = %request.peer,
            camera = %name.camera,
            reason = reason.as_str(),
            "an RTSP request was refused"
        );
        let client = Client {
            peer: request.peer,
            address: request.peer.ip().to_canonical(),
            via: Via::Direct,
            scheme: heldar_http::Scheme::Http,
            host: None,
        };
        let denial = Denial {
            client: &client,
            method: request.method,
            route: "rtsp://{path}",
            request_id: "",
            reason: Some(reason),
            capability: None,
            camera: Some(name.camera.as_str()),
            principal: None,
        };
        if let Some(row) = kernel.refusals.note(kernel.clock.wall(), &denial) {
            kernel.audit(row);
        }
    }

    /// Whether somebody may watch a name from there.
    fn standing(&self, credential: &Credential, name: &LiveName, peer: SocketAddr) -> Standing {
        let accounts = &self.kernel.accounts;
        let from = peer.ip().to_canonical();
        match credential {
            Credential::Nothing if accounts.required() => Standing::CredentialEnded,
            Credential::Nothing => Standing::Holds(None),
            Credential::Session(_) | Credential::Key(_) => accounts.may_watch(credential, from, &name.camera),
        }
    }

    async fn stream(&self, path: &str) -> Result<Arc<Stream>, OpenError> {
        let kernel = &self.kernel;
        let name = LiveName::parse(path).ok_or(OpenError::NotFound)?;
        let camera = kernel.store.camera(&Scope::All, &name.camera).await.map_err(|error| {
            tracing::debug!(%name, %error, "an RTSP client must wait for the store");
            OpenError::Unavailable
        })?;
        let camera = camera.filter(|camera| camera.removed_at.is_none()).ok_or(OpenError::NotFound)?;
        let view = kernel.view(&camera, name.kind).map_err(|why| {
            let (why, error) = match why {
                NotWatchable::Disabled => ("the camera is switched off", OpenError::Unavailable),
                NotWatchable::NoStreamUrl => ("the camera has no such stream", OpenError::NotFound),
            };
            tracing::info!(%name, why, "nothing to restream");
            error
        })?;
        kernel.demand(&view.stream);
        let (restream, bus) = (&kernel.watching.restream, view.feed.bus());
        let known = bus.tracks().borrow().clone();
        // While the camera is away, whoever comes waits with those who are here.
        let fits = |shape: &Shape| !known.flows || shape.fits(&known);
        if let Some(stream) = restream.find(&view.stream, fits) {
            return Ok(stream);
        }
        let Some(tracks) = flowing(bus).await else {
            tracing::info!(%name, "nothing to restream: the camera has sent no picture yet; its health says why");
            return Err(OpenError::Unavailable);
        };
        match Shape::of(&tracks) {
            Ok(Some(shape)) => Ok(restream.begin(&view.stream, bus, shape)),
            Ok(None) => Err(OpenError::Unavailable),
            Err(error) => {
                tracing::warn!(%name, %error, "nothing to restream: its parameter sets cannot be described");
                Err(OpenError::Unavailable)
            }
        }
    }

    fn seat(&self, session: &Playing<'_>) -> Result<Seat, OpenError> {
        let kernel = &self.kernel;
        let served = kernel.watching.restream.of(session.stream).ok_or(OpenError::NotFound)?;
        let credential = session.granted_to.map_or(Credential::Nothing, read);
        let name = LiveName::parse(session.path).ok_or(OpenError::NotFound)?;
        if !matches!(self.standing(&credential, &name, session.peer), Standing::Holds(_)) {
            return Err(OpenError::NotFound);
        }
        let principal = match &credential {
            Credential::Nothing => Arc::new(Principal::system()),
            credential => {
                let from = session.peer.ip().to_canonical();
                let resolved = kernel.accounts.resolve_credential(credential, from);
                resolved.map_err(|_| OpenError::NotFound)?.principal
            }
        };
        let (id, now, remote) =
            (Watching::viewer_id(), kernel.clock.wall(), session.peer.ip().to_canonical());
        let seat = kernel.watching.viewers.admit(Newcomer {
            id,
            stream: served.id.clone(),
            transport: Transport::Rtsp,
            principal: principal.id.clone(),
            credential,
            remote,
            at: now,
        });
        if !kernel.still_runs(&served.id) {
            return Err(OpenError::NotFound);
        }
        let author =
            Author::new(&principal).by_request(remote.to_string(), session.user_agent, &id.to_string());
        kernel.read(&author, &served.id.camera, Read::Live, Interval::new(now, now));
        let sound = served.shape.audio.as_ref().filter(|_| session.tracks.contains(&AUDIO));
        seat.audio(sound.map(|params| params.codec.as_str()));
        Ok(seat)
    }
}

fn challenger() -> Challenger {
    // MD5 is what players speak; what it protects is a signature of 256 bits, which nobody guesses.
    Challenger::new(REALM, vec![Scheme::Digest(Algorithm::Md5), Scheme::Basic], NONCES)
}

/// A credential as the RTSP server keeps it.
fn written(credential: &Credential) -> String {
    match credential {
        Credential::Nothing => String::new(),
        Credential::Session(id) => format!("u{id}"),
        Credential::Key(secret) => format!("k{}.{}", secret.key, secret.generation),
    }
}

/// Reads it back.
fn read(text: &str) -> Credential {
    match (text.strip_prefix('u'), text.strip_prefix('k')) {
        (Some(id), _) => Credential::Session(id.to_owned()),
        (_, Some(secret)) => {
            let (key, generation) = secret.split_once('.').unwrap_or((secret, ""));
            Credential::Key(KeySecret { key: key.to_owned(), generation: generation.to_owned() })
        }
        _ => Credential::Nothing,
    }
}

impl Door {
    /// What a request shows, the token in its query first. A password may be an API key.
    fn shown(&self, name: &LiveName, request: &AccessRequest<'_>) -> Shown {
        let (tokens, challenger) = (&self.kernel.watching.tokens, &self.challenger);
        let check = |token: &str| match tokens.check(token, name) {
            Ok(credential) => Shown::Holds(credential),
            Err(TokenFault::Expired(_)) => Shown::Held(Check::Failed),
            Err(TokenFault::Invalid) => Shown::Wrong,
        };
        let query = url::form_urlencoded::parse(request.query.unwrap_or_default().as_bytes());
        if let Some((_, token)) = query.into_iter().find(|(key, _)| key == "token") {
            return check(&token);
        }
        match request.credentials {
            None => Shown::Nothing,
            Some(Credentials::Basic { password, .. }) => {
                let key = self.kernel.accounts.resolve(password.expose(), request.peer.ip().to_canonical());
                match key.map(|(resolved, _)| resolved.principal.credential.clone()) {
                    Ok(credential @ Credential::Key(_)) => Shown::Holds(credential),
                    _ => check(password.expose()),
                }
            }
            Some(credentials @ Credentials::Digest(proof)) => {
                let Some(token) = tokens.completed(proof.username(), name) else { return Shown::Wrong };
                let account = Account { user: proof.username().to_owned(), password: token };
                match challenger.check(&account, Some(credentials), request.method, request.uri) {
                    Check::Passed => check(account.password.expose()),
                    Check::Stale => Shown::Held(Check::Stale),
                    Check::Failed => Shown::Wrong,
                }
            }
        }
    }
}

/// What a stream carries; waits for its session's first picture. `None` if none comes.
async fn flowing(bus: &Bus) -> Option<Tracks> {
    // Who waits counts as a viewer: the stream is not closed meanwhile.
    let _waiting = bus.follow();
    let mut tracks = bus.tracks();
    let known = tokio::time::timeout(FIRST_PICTURE, tracks.wait_for(|tracks| tracks.flows)).await;
    known.ok()?.ok().map(|tracks| tracks.clone())
}

impl Host for Door {
    fn admit(&self, peer: SocketAddr) -> bool {
        self.kernel.accounts.required() || is_private(peer.ip())
    }

    fn authorize<'a>(&'a self, request: &'a AccessRequest<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(std::future::ready(self.decide(request)))
    }

    fn open<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Arc<Stream>, OpenError>> {
        Box::pin(self.stream(path))
    }

    fn plays(&self, session: &Playing<'_>) -> Result<Arc<dyn Guest>, OpenError> {
        Ok(Arc::new(Player(self.seat(session)?)))
    }
}

/// A session that plays: its seat among all viewers.
struct Player(Seat);

impl Guest for Player {
    fn sent(&self, bytes: usize) {
        self.0.sent(bytes);
        self.0.shown();
    }

    fn skipped(&self, units: u64) {
        self.0.skipped(units);
    }

    fn over(&self) -> BoxFuture<'_, ()> {
        let mut cut = self.0.watch_cut();
        Box::pin(async move {
            cut.is_cut().await;
        })
    }
}
