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
        written_at: Instant::now(),
        heard_at: Instant::now(),
        closing: false,
        dialogue: Dialogue::new(peer, Arc::clone(&shared)),
        shared,
    };
    let ended = Box::pin(connection.run(stopped)).await;
    tracing::debug!(%peer, reason = %ended, "RTSP connection ended");
}

struct Connection {
    socket: TcpStream,
    input: BytesMut,
    /// Bytes to be written, in order.
    out: VecDeque<Bytes>,
    /// Responses that may still wait in `out`.
    responses: usize,
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
            if let Err(ended) = self.step().await {
                return ended;
            }
            let viewer = self.dialogue.session().map(|session| Arc::clone(&session.viewer));
            if viewer.is_some() && !had_session {
                tick.as_mut().reset(tokio::time::Instant::now() + self.tick());
            }
            had_session = viewer.is_some();
            tokio::select! {
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
                () = &mut tick => {
                    tick.as_mut().reset(tokio::time::Instant::now() + self.tick());
                    if let Err(ended) = self.check_timeouts() {
                        return ended;
                    }
                }
                _ = stopped.changed() => return Ended::ByServer,
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
            Ok(_) => {
                self.heard_at = Instant::now();
                Ok(())
            }
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
        self.out.push_back(response);
    }

    /// Takes what the viewer has; true if there is something to write then.
    async fn collect(&mut self) -> Result<bool, Ended> {
        let Some(session) = self.dialogue.session() else { return Ok(false) };
        let mut taken = VecDeque::new();
        session.viewer.take(TAKE_BYTES, &mut taken);
        for Queued { track, kind, wire } in taken {
            match session.routes.get(track).copied().flatten() {
                Some(Route::Interleaved) => self.out.push_back(wire),
                Some(Route::Udp { rtp, rtcp }) => match (&self.shared.udp, kind) {
                    (Some(udp), Kind::Media) => udp.send_media(&wire, rtp).await,
                    (Some(udp), Kind::Report) => udp.send_report(&wire, rtcp).await,
                    (None, _) => {}
                },
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
            let count =
                slices.iter_mut().zip(&self.out).map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count();
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
        while let Some(front) = self.out.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.out.pop_front();
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

/// Done when the viewer has something; never without viewer.
async fn woken(viewer: Option<&Viewer>) {
    match viewer {
        Some(viewer) => viewer.wake.notified().await,
        None => std::future::pending().await,
    }
}
