//! The server: socket, limits, one task per connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use super::connection;
use super::host::Host;
use super::message::Limits;
use super::session::Slot;
use super::udp::Udp;

/// Settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 finds a free one.
    pub listen: SocketAddr,
    /// Even port of the pair that datagrams leave from, 0 to find one; `None` serves no datagrams.
    pub udp_port: Option<u16>,
    /// Connections at a time; more are closed at once.
    pub max_connections: usize,
    /// Sessions at a time; more get 453.
    pub max_sessions: usize,
    /// Silence after which a connection without session is closed.
    pub idle_timeout: Duration,
    /// How long a client may leave what was sent unread before its connection is closed.
    pub write_timeout: Duration,
    /// Size of requests.
    pub limits: Limits,
    /// Bytes that the kernel may hold for one connection, where the system's own choice is too much.
    pub send_buffer: Option<u32>,
}

impl Config {
    /// The usual settings.
    pub fn new(listen: SocketAddr) -> Self {
        Config {
            listen,
            udp_port: Some(0),
            max_connections: 1024,
            max_sessions: 1024,
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            limits: Limits::default(),
            send_buffer: None,
        }
    }
}

/// Counters of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Connections now.
    pub connections: usize,
    /// Sessions now.
    pub sessions: usize,
    /// Connections closed at once because there were too many or the host wanted none.
    pub refused: u64,
    /// Connections closed because what came was no RTSP.
    pub malformed: u64,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) host: Arc<dyn Host>,
    pub(super) udp: Option<Arc<Udp>>,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) sessions: Arc<AtomicUsize>,
    pub(super) refused: AtomicU64,
    pub(super) malformed: AtomicU64,
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the sockets; connections wait until [`Server::run`].
    ///
    /// # Errors
    /// An address that can't be listened on.
    pub async fn bind(config: Config, host: Arc<dyn Host>) -> io::Result<Server> {
        let socket = if config.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if let Some(bytes) = config.send_buffer {
            // Connections inherit it. Linux doubles what it is given (socket(7)).
            socket.set_send_buffer_size(bytes / 2)?;
        }
        socket.bind(config.listen)?;
        let listener = socket.listen(1024)?;
        let local_addr = listener.local_addr()?;
        let udp = match config.udp_port {
            Some(port) => Some(Arc::new(Udp::bind(SocketAddr::new(config.listen.ip(), port)).await?)),
            None => None,
        };
        let shared = Shared {
            config,
            host,
            udp,
            connections: Arc::default(),
            sessions: Arc::default(),
            refused: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        };
        Ok(Server { listener, local_addr, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Reads the counters, also while the server runs.
    pub fn stats(&self) -> impl Fn() -> ServerStats + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || ServerStats {
            connections: shared.connections.load(Ordering::Relaxed),
            sessions: shared.sessions.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            malformed: shared.malformed.load(Ordering::Relaxed),
        }
    }

    /// Serves until `shutdown` is done; all connections are closed then.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let shared = self.shared;
        let drained = shared.udp.clone();
        tokio::pin!(shutdown);
        let drain = async move {
            match drained {
                Some(udp) => udp.drain().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(drain);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut shutdown => break,
                () = &mut drain => continue,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let slot = Slot::take(&shared.connections, shared.config.max_connections);
                    let (Some(slot), true) = (slot, shared.host.admit(peer)) else {
                        shared.refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    tokio::spawn(connection::serve(socket, peer, Arc::clone(&shared), stopped.clone(), slot));
                }
                // Out of file descriptors, or a connection that was gone before it was taken. Neither may spin or end the
                // server.
                Err(error) => {
                    tracing::warn!(%error, "accepting an RTSP connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(stopped);
        stop.send_replace(());
        stop.closed().await;
    }
}
