//! The seam between the protocol and whoever runs the server.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::auth::Credentials;
use super::stream::Stream;

/// A boxed future, so that [`Host`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request whose access is to be decided. Every request but OPTIONS is one.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Method as it was spelled; digests are computed over it.
    pub method: &'a str,
    /// URI as it was spelled.
    pub uri: &'a str,
    /// Path it names: no slashes at its ends, percent-decoded, without the track of a control URL.
    pub path: &'a str,
    /// Query, such as one that holds a token.
    pub query: Option<&'a str>,
    /// What the `Authorization` header presents.
    pub credentials: Option<&'a Credentials>,
    /// An earlier request on the same connection was granted this very path. Clients leave the query out of control URLs,
    /// so a host that reads tokens there must accept this instead.
    pub granted: bool,
    /// Whom that was granted to, where the host has said so.
    pub granted_to: Option<&'a str>,
}

/// Decision on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Granted,
    /// Go on, as this one of the host's: what plays later on this connection and path is told so.
    GrantedTo(String),
    /// 401 with these `WWW-Authenticate` values.
    Challenge(Vec<String>),
    /// 403.
    Forbidden,
    /// 404: the caller may not even learn that the path exists.
    NotFound,
    /// The connection is closed without an answer.
    HangUp,
}

/// Why a path leads to no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// 404.
    NotFound,
    /// 503: it exists and has nothing to send now.
    Unavailable,
}

/// A session that is about to play.
#[derive(Clone, Copy, Debug)]
pub struct Playing<'a> {
    /// Where its connection comes from; its packets go to no other address.
    pub peer: SocketAddr,
    /// Path it was set up under.
    pub path: &'a str,
    /// What it plays.
    pub stream: &'a Arc<Stream>,
    /// Tracks that it has set up, as indices into the stream's formats.
    pub tracks: &'a [usize],
    /// Whom its path was last granted to, where the host has said so.
    pub granted_to: Option<&'a str>,
    /// Program that the client says it is.
    pub user_agent: Option<&'a str>,
}

/// What a host keeps of one session from its first PLAY on; dropped when the session ends, however that comes about.
pub trait Guest: Send + Sync {
    /// So many bytes of packets and their framing were handed to the kernel.
    fn sent(&self, _bytes: usize) {}

    /// The client was too slow: it was moved to a later sync sample, and so many units were left out.
    fn skipped(&self, _units: u64) {}

    /// Resolves when the session must end. The connection is closed then, whatever it is at, after the client was told by
    /// RTCP that its sources have gone. Called anew again and again: one that has resolved must do so at once.
    fn over(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// One of whom nothing is kept.
impl Guest for () {}

/// Whoever runs the server.
pub trait Host: Send + Sync + 'static {
    /// Whether a connection is taken at all; otherwise it is closed at once.
    fn admit(&self, _peer: SocketAddr) -> bool {
        true
    }

    /// Decides on a request before anything else is done for it.
    fn authorize<'a>(&'a self, request: &'a AccessRequest<'a>) -> BoxFuture<'a, Verdict>;

    /// The stream behind a path that was granted. May wait until it is known what the stream carries.
    fn open<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Arc<Stream>, OpenError>>;

    /// A session begins to play. Asked once for each; going on after a pause is no beginning.
    ///
    /// # Errors
    /// It must not, or not any more: time may have passed since its stream was opened.
    fn plays(&self, _session: &Playing<'_>) -> Result<Arc<dyn Guest>, OpenError> {
        Ok(Arc::new(()))
    }
}
