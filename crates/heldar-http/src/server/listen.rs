//! Addresses and the accept loop.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::refusal::Refusal;
use super::{Limits, connection, tls};
use crate::app::AppSlot;
use crate::caller::Scheme;
use crate::metrics::Protocol;
use crate::sources::{Bound, Sources};

/// Pause after the system could not give us a connection, as when it is out of file descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why no address could be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program listens there.
    #[error("port {} of {} is already in use by another program", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// Ports below 1024 need a privilege.
    #[error("this user may not listen on port {} of {}", .0.port(), .0.ip())]
    Denied(SocketAddr),
    /// The address is not one of this machine.
    #[error("{} is no address of this machine", .0.ip())]
    NotLocal(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No address was given.
    #[error("no address to listen on")]
    NoAddress,
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address),
            io::ErrorKind::PermissionDenied => BindError::Denied(address),
            io::ErrorKind::AddrNotAvailable => BindError::NotLocal(address),
            _ => BindError::Other { address, source },
        }
    }
}

/// What the kernel holds of a connection's answers at most (auth-system.md 14).
const SEND_BUFFER_BYTES: u32 = 256 << 10;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Bound sockets that do not accept yet.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
}

impl Listeners {
    /// Binds every address, or none.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        if addresses.is_empty() {
            return Err(BindError::NoAddress);
        }
        let mut sockets = Vec::with_capacity(addresses.len());
        for address in addresses {
            sockets.push(listen(*address).map_err(|error| BindError::new(*address, error))?);
        }
        Ok(Listeners { sockets, tls: None })
    }

    /// Lets them speak TLS; HTTP/2 too, where ALPN of the configuration offers it.
    #[must_use]
    pub fn with_tls(self, config: Arc<ServerConfig>) -> Self {
        Listeners { tls: Some(config), ..self }
    }

    /// The bound addresses, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            let mut ready = self.sockets.iter().filter_map(|listener| match listener.poll_accept(cx) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            });
            ready.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// A socket whose connections hold little that was not sent yet: a viewer that takes nothing is noticed soon, and one that
/// is cut off gets little more.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Linux doubles what it is given (socket(7)).
    socket.set_send_buffer_size(SEND_BUFFER_BYTES / 2)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` is ready, then gives running answers [`Limits::grace`] and cuts what is left.
///
/// Connections of other protocols that a route took over are no longer the server's; whoever took them ends them.
pub async fn serve(listeners: Listeners, slot: Arc<AppSlot>, limits: Limits, stop: impl Future<Output = ()>) {
    let mut server = Server {
        sources: Sources::new(limits.connections_per_source, limits.connections),
        connections: JoinSet::new(),
        stopping: watch::Sender::new(false),
        last_complaint: None,
        tls: listeners.tls.clone().map(TlsAcceptor::from),
        slot,
        limits,
    };
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listeners.accept() => match accepted {
                Ok((stream, peer)) => server.take(stream, peer),
                Err(error) => server.accept_failed(&error).await,
            },
            Some(ended) = server.connections.join_next() => server.ended(ended),
        }
    }
    drop(listeners);
    server.finish().await;
}

struct Server {
    slot: Arc<AppSlot>,
    limits: Limits,
    sources: Arc<Sources>,
    connections: JoinSet<()>,
    stopping: watch::Sender<bool>,
    last_complaint: Option<Instant>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Starts a task for a connection, or refuses it.
    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let app = self.slot.get();
        let bound = if app.edge().trusts(peer.ip()) { Bound::TotalOnly } else { Bound::Source(peer.ip()) };
        let Some(place) = self.sources.take(bound) else {
            // As much as the socket takes at once; no task is spent on those who come too often, and no handshake.
            if self.tls.is_none() {
                let _sent = stream.try_write(&Refusal::Crowded.answer(&app));
            }
            return;
        };
        // Without it small answers wait for acknowledgements; a socket that refuses is gone already.
        let _set = stream.set_nodelay(true);
        let stop = self.stopping.subscribe();
        let slot = Arc::clone(&self.slot);
        if let Some(acceptor) = self.tls.clone() {
            self.connections.spawn(tls::run(stream, peer, acceptor, slot, self.limits, place, stop));
        } else {
            let kept = (place, app.metrics().connection(Protocol::H1));
            let from = (peer, Scheme::Http);
            self.connections.spawn(connection::run(stream, from, slot, self.limits, kept, stop));
        }
    }

    async fn accept_failed(&mut self, error: &io::Error) {
        // These concern one connection that went away, not us.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            return;
        }
        let now = Instant::now();
        if self.last_complaint.is_none_or(|at| now - at >= Duration::from_secs(1)) {
            self.last_complaint = Some(now);
            tracing::error!(%error, "connections cannot be accepted");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn ended(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.slot.get().metrics().panicked();
            tracing::error!(%error, "a connection panicked");
        }
    }

    async fn finish(mut self) {
        self.stopping.send_replace(true);
        let grace = self.limits.grace;
        let drained = async {
            while let Some(ended) = self.connections.join_next().await {
                self.ended(ended);
            }
        };
        if timeout(grace, drained).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "connections cut at shutdown");
            self.connections.shutdown().await;
        }
    }
}
