//! Restream: every camera under one RTSP address, out of the session that runs for it anyway (media.md 11.3).
//!
//! Owns: the RTSP listeners of the process, and what is served of each stream while somebody plays it: one task that
//! follows the stream's bus and hands its units to the RTSP server. The first DESCRIBE starts it; it ends some seconds
//! after its last RTSP session. Never: pulls a camera itself, encodes anything, makes a stream's session wait.
//!
//! Sound is decided on by the first description: whoever was told of none gets none until it asks anew, and a change of
//! coding leaves sound out for those who have been told of another. A camera that goes over from one video coding to
//! another ends the RTSP sessions, for no description holds for both.

mod door;
mod feed;
mod format;
mod times;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::StreamId;
use heldar_live::Bus;
use heldar_rtsp::server::{Config, Manners, Server, Stream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::kernel::Kernel;
use door::Door;
use format::Shape;

/// What is served of a stream goes on for so long after its last session has gone.
const LINGER: Duration = Duration::from_secs(8);
/// Connections at a time. Those without a session are closed after [`IDLE`].
const MAX_CONNECTIONS: usize = 512;
/// Sessions at a time, of all streams together.
const MAX_SESSIONS: usize = 256;
/// A connection that neither has a session nor asks for anything is closed.
const IDLE: Duration = Duration::from_secs(30);
/// A client that takes nothing for so long has gone.
const GONE: Duration = Duration::from_secs(20);
/// Bytes of packets that the kernel holds for one client at most (auth-system.md 14).
const SEND_BUFFER: u32 = 256 << 10;
/// Longest time that connections have to be closed at a stop.
const CLOSING: Duration = Duration::from_secs(1);

/// What one task serves of a stream.
#[derive(Debug)]
struct Served {
    id: StreamId,
    stream: Arc<Stream>,
    shape: Shape,
}

/// A stream that is served, and when it was last opened.
#[derive(Debug)]
struct Entry {
    served: Arc<Served>,
    opened: Instant,
}

/// All that is served, and the listeners.
#[derive(Debug)]
pub(super) struct Restream {
    entries: Mutex<Vec<Entry>>,
    listeners: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
}

impl Default for Restream {
    fn default() -> Self {
        Restream { entries: Mutex::default(), listeners: Mutex::default(), stop: watch::Sender::new(false) }
    }
}

impl Restream {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served of a stream, the newest first, if it fits; it stays for a while from now on.
    fn find(&self, id: &StreamId, fits: impl Fn(&Shape) -> bool) -> Option<Arc<Stream>> {
        let mut entries = self.entries();
        let entry = entries.iter_mut().rev().find(|e| e.served.id == *id && fits(&e.served.shape))?;
        entry.opened = Instant::now();
        Some(entry.served.stream.clone())
    }

    /// Serves a stream from now on, unless somebody else has just begun to.
    fn begin(self: &Arc<Self>, id: &StreamId, bus: &Bus, shape: Shape) -> Arc<Stream> {
        let mut entries = self.entries();
        let now = Instant::now();
        if let Some(known) = entries.iter_mut().find(|e| e.served.id == *id && e.served.shape.is_like(&shape))
        {
            known.opened = now;
            return known.served.stream.clone();
        }
        let manners = Manners { max_sessions: MAX_SESSIONS, ..Manners::default() };
        let stream = Arc::new(Stream::new(shape.formats(), manners));
        let served = Arc::new(Served { id: id.clone(), stream: stream.clone(), shape });
        entries.push(Entry { served: served.clone(), opened: now });
        drop(entries);
        tokio::spawn(feed::run(self.clone(), served, bus.clone()));
        stream
    }

    /// What the server's stream belongs to, as long as it is fed.
    fn of(&self, stream: &Arc<Stream>) -> Option<Arc<Served>> {
        let entries = self.entries();
        entries.iter().find(|e| Arc::ptr_eq(&e.served.stream, stream)).map(|e| e.served.clone())
    }

    /// Forgets what nobody plays and nobody has opened lately; false if it stays.
    fn leave(&self, served: &Arc<Served>) -> bool {
        let is_it = |entry: &Entry| Arc::ptr_eq(&entry.served, served);
        let mut entries = self.entries();
        // Sessions begin right after an opening, so that none can begin unseen here.
        let stays = entries.iter().any(|e| is_it(e) && e.opened.elapsed() < LINGER)
            || *served.stream.sessions().borrow() > 0;
        if !stays {
            entries.retain(|entry| !is_it(entry));
        }
        !stays
    }

    /// Forgets what cannot go on.
    fn end(&self, served: &Arc<Served>) {
        self.entries().retain(|entry| !Arc::ptr_eq(&entry.served, served));
    }

    /// Listens at an address; tells the port.
    async fn listen(&self, kernel: &Arc<Kernel>, at: SocketAddr) -> io::Result<u16> {
        let config = Config {
            max_connections: MAX_CONNECTIONS,
            max_sessions: MAX_SESSIONS,
            idle_timeout: IDLE,
            write_timeout: GONE,
            send_buffer: Some(SEND_BUFFER),
            ..Config::new(at)
        };
        let server = Server::bind(config, Arc::new(Door::new(kernel.clone()))).await?;
        let bound = server.local_addr();
        let mut stop = self.stop.subscribe();
        let running = tokio::spawn(server.run(async move {
            // An error means that this is gone, which is a stop too.
            let _stopped = stop.wait_for(|stop| *stop).await;
        }));
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(running);
        tracing::info!("RTSP at rtsp://{bound}/");
        Ok(bound.port())
    }

    /// Closes all connections and ends all that runs here.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        for listener in listeners {
            let abort = listener.abort_handle();
            if tokio::time::timeout(CLOSING, listener).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Kernel {
    /// Serves RTSP at these addresses of the machine, at the port that the settings say; does nothing when that is off. A
    /// port that cannot be had is no reason not to record: restream is off then, and the log says what to do.
    pub async fn open_restream(self: &Arc<Self>, hosts: &[IpAddr]) {
        let Some(port) = self.settings.live.rtsp_port else { return };
        for host in hosts {
            let at = SocketAddr::new(*host, port);
            match self.restream_at(at).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => tracing::error!(
                    "no RTSP restream: {at} is used by another program; stop that, or set HELDAR_RTSP_PORT to a free \
                     port (0 switches restream off)"
                ),
                Err(error) => tracing::error!(
                    %error,
                    "no RTSP restream: {at} cannot be listened on; set HELDAR_RTSP_PORT to another port (0 switches \
                     restream off)"
                ),
            }
        }
    }

    /// Serves RTSP at an address; port 0 finds one. Tells the port, which live views name from now on.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn restream_at(self: &Arc<Self>, at: SocketAddr) -> io::Result<u16> {
        let port = self.watching.restream.listen(self, at).await?;
        // No camera is to be pulled from ourselves.
        self.guard.is_ours(port);
        // The first one is what live views name; addresses of one host share it.
        Ok(*self.watching.rtsp_port.get_or_init(|| port))
    }

    /// Ends all RTSP sessions and listens no more.
    pub(crate) async fn close_restream(&self) {
        self.watching.restream.stop().await;
    }
}
