//! One connection: bytes in, requests to the dialogue, responses and packets out.
//!
//! One task per connection does all of it. It never waits for the client while holding anything that others need.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::dialogue::{Dialogue, Next};
use super::host::Guest;
use super::listen::Shared;
use super::message::{Input, Response, next_input};
use super::session::{Route, Slot};
use super::viewer::{Kind, Queued, Viewer};

/// Most that is moved from a viewer's queue at a time.
const TAKE_BYTES: usize = 256 * 1024;
/// Buffers in one vectored write.
const WRITE_SLICES: usize = 64;
/// Responses that wait before no more requests are read.
const MAX_RESPONSES: usize = 64;
/// Room made for each read.
const READ_BYTES: usize = 2048;
/// Longest time between two looks at the timeouts.
const TICK: Duration = Duration::from_secs(5);

/// Why a connection ends; only told to the log.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the client")]
    ByClient,
    #[error("closed by the server")]
    ByServer,
    #[error("the host wants it to end")]
    ByHost,
    #[error("nothing was heard for too long")]
    Silence,
    #[error("the client reads nothing")]
    NotReading,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs a connection to its end.
pub(super) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stopped: watch::Receiver<()>,
    _slot: Slot,
) {
    // Pictures must leave when they are written; each is one write anyway.
    let _best_effort = socket.set_nodelay(true);
    let connection = Connection {
        socket,
        input: BytesMut::new(),
        out: VecDeque::new(),
        responses: 0,
        told_skips: 0,
        written_at: Instant::now(),
        heard_at: Instant::now(),
        closing: false,
        dialogue: Dialogue::new(peer, Arc::clone(&shared)),
        shared,
    };
    let ended = Box::pin(connection.run(stopped)).await;
    tracing::debug!(%peer, reason = %ended, "RTSP connection ended");
}

/// Bytes to be written.
struct Outgoing {
    bytes: Bytes,
    /// Packets of a stream rather than a response.
    is_media: bool,
}

struct Connection {
    socket: TcpStream,
    input: BytesMut,
    /// Bytes to be written, in order.
    out: VecDeque<Outgoing>,
    /// Responses that may still wait in `out`.
    responses: usize,
    /// Units that the session's client missed, as far as the host knows.
    told_skips: u64,
    /// When the socket last took something while something was there to write.
    written_at: Instant,
    heard_at: Instant,
    /// Close once `out` is empty.
    closing: bool,
    dialogue: Dialogue,
    shared: Arc<Shared>,
}

impl Connection {
    async fn run(mut self, mut stopped: watch::Receiver<()>) -> Ended {
        let tick = tokio::time::sleep(TICK);
        tokio::pin!(tick);
        let mut had_session = false;
        loop {
            let guest = self.dialogue.guest();
            // A step may wait for a stream to begin, or for a receiver's socket buffer.
            let ended = tokio::select! {
                biased;
                () = over(guest.as_deref()) => Some(Ended::ByHost),
                _ = stopped.changed() => Some(Ended::ByServer),
                stepped = self.step() => stepped.err(),
            };
            match ended {
                Some(Ended::ByHost) => {
                    self.say_bye().await;
                    return Ended::ByHost;
                }
                Some(ended) => return ended,
                None => {}
            }
            let guest = self.dialogue.guest();
            let viewer = self.dialogue.session().map(|session| Arc::clone(&session.viewer));
            if viewer.is_some() && !had_session {
                tick.as_mut().reset(tokio::time::Instant::now() + self.tick());
            }
            if viewer.is_none() {
                self.told_skips = 0;
            }
            had_session = viewer.is_some();
            // In this order, so that whoever is cut off by a server that stops is told. Nothing starves: each turn begins
            // with a step, which does all there is to do.
            tokio::select! {
                biased;
                // The next step's choice begins with it.
                () = over(guest.as_deref()) => {}
                _ = stopped.changed() => return Ended::ByServer,
                () = &mut tick => {
                    tick.as_mut().reset(tokio::time::Instant::now() + self.tick());
                    if let Err(ended) = self.check_timeouts() {
                        return ended;
                    }
                }
                ready = self.socket.readable(), if !self.closing && self.responses < MAX_RESPONSES => {
                    if let Err(ended) = ready.map_err(Ended::Io).and_then(|()| self.read()) {
                        return ended;
                    }
                }
                ready = self.socket.writable(), if !self.out.is_empty() => {
                    if let Err(error) = ready {
                        return Ended::Io(error);
                    }
                }
                () = woken(viewer.as_deref()), if self.out.is_empty() => {}
            }
        }
    }

    /// Tells the client that its sources have gone (RFC 3550 6.6), if its socket takes that at once. RTSP 1.0 has no
    /// request by which a server ends a session.
    async fn say_bye(&mut self) {
        let Some(session) = self.dialogue.session() else { return };
        let byes = session.stream.farewell(&session.viewer);
        // What waits is of no use any more, but for the rest of what was begun.
        self.out.truncate(1);
        for Queued { track, wire, .. } in byes {
            match session.routes.get(track).copied().flatten() {
                Some(Route::Interleaved) => self.out.push_back(Outgoing { bytes: wire, is_media: false }),
                Some(Route::Udp { rtcp, .. }) => {
                    if let Some(udp) = &self.shared.udp {
                        udp.send_report(&wire, rtcp).await;
                    }
                }
                None => {}
            }
        }
        for Outgoing { bytes, .. } in &self.out {
            if !matches!(self.socket.try_write(bytes), Ok(written) if written == bytes.len()) {
                return;
            }
        }
    }

    /// Time until the next look at the timeouts.
    fn tick(&self) -> Duration {
        self.dialogue.session().map_or(TICK, |session| (session.timeout() / 4).min(TICK))
    }

    /// Handles what has come and sends what the socket takes.
    async fn step(&mut self) -> Result<(), Ended> {
        self.handle_input().await?;
        loop {
            if !self.flush()? {
                return Ok(());
            }
            if self.closing {
                return Err(Ended::ByServer);
            }
            if !self.collect().await? {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> Result<(), Ended> {
        self.input.reserve(READ_BYTES);
        match self.socket.try_read_buf(&mut self.input) {
            Ok(0) => Err(Ended::ByClient),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Ended::Io(error)),
        }
    }

    /// Handles every whole request in the input. What remains is less than the limits allow, so the buffer is bounded.
    async fn handle_input(&mut self) -> Result<(), Ended> {
        while !self.closing {
            match next_input(&self.input, &self.shared.config.limits) {
                Ok(None) => return Ok(()),
                Ok(Some((input, used))) => {
                    self.input.advance(used);
                    // A request that comes byte by byte does not keep its connection open.
                    self.heard_at = Instant::now();
                    match input {
                        Input::Padding => {}
                        Input::Interleaved { .. } => self.dialogue.heard_traffic(),
                        Input::Request(request) => match self.dialogue.handle(&request).await {
                            Next::Respond(response) => self.respond(response),
                            Next::HangUp => return Err(Ended::ByServer),
                        },
                    }
                }
                Err(error) => {
                    self.shared.malformed.fetch_add(1, Ordering::Relaxed);
                    self.respond(Response::new(error.status()).encode(None));
                    self.closing = true;
                }
            }
        }
        Ok(())
    }

    fn respond(&mut self, response: Bytes) {
        if self.out.is_empty() {
            self.written_at = Instant::now();
        }
        self.responses += 1;
        self.out.push_back(Outgoing { bytes: response, is_media: false });
    }

    /// Takes what the viewer has; true if there is something to write then.
    async fn collect(&mut self) -> Result<bool, Ended> {
        let Some(session) = self.dialogue.session() else { return Ok(false) };
        let mut taken = VecDeque::new();
        session.viewer.take(TAKE_BYTES, &mut taken);
        let skipped = session.viewer.skips().units;
        if let Some(guest) = &session.guest
            && !taken.is_empty()
            && skipped != self.told_skips
        {
            guest.skipped(skipped.saturating_sub(self.told_skips));
            self.told_skips = skipped;
        }
        for Queued { track, kind, wire } in taken {
            match session.routes.get(track).copied().flatten() {
                Some(Route::Interleaved) => self.out.push_back(Outgoing { bytes: wire, is_media: true }),
                Some(Route::Udp { rtp, rtcp }) => {
                    match (&self.shared.udp, kind) {
                        (Some(udp), Kind::Media) => udp.send_media(&wire, rtp).await,
                        (Some(udp), Kind::Report) => udp.send_report(&wire, rtcp).await,
                        (None, _) => {}
                    }
                    if let Some(guest) = &session.guest {
                        guest.sent(wire.len());
                    }
                }
                None => {}
            }
        }
        self.written_at = Instant::now();
        Ok(!self.out.is_empty())
    }

    /// Writes until all is written (true) or the socket takes no more (false).
    fn flush(&mut self) -> Result<bool, Ended> {
        if self.dialogue.session().is_some_and(|session| session.viewer.is_closed()) {
            return Err(Ended::ByServer);
        }
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let count = slices
                .iter_mut()
                .zip(&self.out)
                .map(|(slice, out)| *slice = IoSlice::new(&out.bytes))
                .count();
            match self.socket.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(Ended::ByClient),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(Ended::Io(error)),
            }
        }
        self.responses = 0;
        Ok(true)
    }

    fn advance(&mut self, mut written: usize) {
        self.written_at = Instant::now();
        let mut media = 0;
        while let Some(front) = self.out.front_mut() {
            let part = written.min(front.bytes.len());
            if front.is_media {
                media += part;
            }
            front.bytes.advance(part);
            written -= part;
            if !front.bytes.is_empty() {
                break;
            }
            self.out.pop_front();
        }
        if media > 0
            && let Some(guest) = self.dialogue.session().and_then(|session| session.guest.as_ref())
        {
            guest.sent(media);
        }
    }

    fn check_timeouts(&self) -> Result<(), Ended> {
        let config = &self.shared.config;
        // A connection that waits for its client does not hear that its viewer was closed.
        if self.dialogue.session().is_some_and(|session| session.viewer.is_closed()) {
            return Err(Ended::ByServer);
        }
        if !self.out.is_empty() && self.written_at.elapsed() > config.write_timeout {
            return Err(Ended::NotReading);
        }
        let silent = match self.dialogue.session() {
            Some(session) => session.is_expired(),
            None => self.heard_at.elapsed() > config.idle_timeout,
        };
        if silent { Err(Ended::Silence) } else { Ok(()) }
    }
}

/// Done when the host wants the session to end; never without one that plays.
async fn over(guest: Option<&dyn Guest>) {
    match guest {
        Some(guest) => guest.over().await,
        None => std::future::pending().await,
    }
}

/// Done when the viewer has something; never without viewer.
async fn woken(viewer: Option<&Viewer>) {
    match viewer {
        Some(viewer) => viewer.wake.notified().await,
        None => std::future::pending().await,
    }
}
