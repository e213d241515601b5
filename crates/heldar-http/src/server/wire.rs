//! One connection's bytes, watched: where in its life it is, since when, and whether its reader has stopped reading.
//!
//! All changes happen while the connection's own task is polled, so the task sees every one of them before it sleeps.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Limits;
use super::refusal::Refusal;

/// How long the last answer may take to reach a client that still sends.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes that are read and dropped at the end.
const LINGER_BYTES: usize = 256 * 1024;

/// Where in its life a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No request, and every byte of earlier answers is with the kernel.
    Idle,
    /// Some bytes of a head are there.
    Head,
    /// A request is being answered.
    Busy,
    /// An answer is complete, and its last bytes are on their way to the kernel.
    Draining,
    /// All is said; what the client still sends is dropped.
    Lingering,
    /// Another protocol has taken over.
    Upgraded,
    /// Many requests share it (HTTP/2); whoever serves them keeps account of them.
    Shared,
}

/// The watched state, shared by the wire and the connection's task.
#[derive(Clone)]
pub(super) struct Watch(Arc<Mutex<State>>);

struct State {
    stage: Stage,
    since: Instant,
    /// Since when a write waits for its reader.
    blocked: Option<Instant>,
    /// Resolves when the right to the current answer has ended.
    ending: Option<BoxFuture<'static, ()>>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Watch(Arc::new(Mutex::new(State {
            stage: Stage::Idle,
            since: Instant::now(),
            blocked: None,
            ending: None,
        })))
    }

    /// For a connection that many requests share.
    pub(super) fn shared() -> Self {
        let watch = Watch::new();
        watch.enter(Stage::Shared);
        watch
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, stage: Stage) {
        let mut state = self.lock();
        if state.stage != Stage::Upgraded && state.stage != stage {
            state.stage = stage;
            state.since = Instant::now();
            if stage == Stage::Idle {
                state.ending = None;
            }
        }
    }

    /// The current answer stands on this right, until its last byte is with the kernel.
    pub(super) fn stands_on(&self, ending: Option<BoxFuture<'static, ()>>) {
        self.lock().ending = ending;
    }

    /// Ready when that right has ended.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        match &mut state.ending {
            Some(ending) => ending.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// A request has its whole head.
    pub(super) fn request_began(&self) {
        self.enter(Stage::Busy);
    }

    /// The body of its answer is through.
    pub(super) fn answer_ended(&self) {
        self.enter(Stage::Draining);
    }

    /// Another protocol takes over.
    pub(super) fn upgraded(&self) {
        self.enter(Stage::Upgraded);
    }

    /// The last answer is with the client long since, and nothing came after it: a stop does not wait for such connections.
    fn is_long_idle(&self) -> bool {
        let state = self.lock();
        state.stage == Stage::Idle && state.since.elapsed() >= LINGER
    }

    /// When the connection has waited too long; `None` while it waits for nobody but us.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let state = self.lock();
        let stalled = state.blocked.map(|since| since + limits.stalled_time);
        match state.stage {
            Stage::Busy | Stage::Shared => stalled,
            Stage::Draining => stalled.or(Some(state.since + limits.idle_time)),
            Stage::Idle => Some(state.since + limits.idle_time),
            Stage::Head => Some(state.since + limits.header_time),
            Stage::Lingering => Some(state.since + LINGER),
            Stage::Upgraded => None,
        }
    }
}

/// A byte stream under watch. `P` is kept as long as the stream, an upgraded one included.
pub(super) struct Wire<I, P> {
    io: I,
    watch: Watch,
    /// Writes the answer for a head that the HTTP layer refused by itself.
    refuse: Box<dyn Fn(Refusal) -> Bytes + Send>,
    /// What is left to write of such an answer.
    refusal: Bytes,
    lingered: usize,
    _kept: P,
}

impl<I, P> Wire<I, P> {
    pub(super) fn new(
        io: I,
        watch: Watch,
        refuse: impl Fn(Refusal) -> Bytes + Send + 'static,
        kept: P,
    ) -> Self {
        let refuse = Box::new(refuse);
        Wire { io, watch, refuse, refusal: Bytes::new(), lingered: 0, _kept: kept }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, P: Unpin> Wire<I, P> {
    /// What is written although no request was taken is the HTTP layer's own answer to a head that it refused. It has
    /// no body and goes nowhere; ours goes in its place.
    fn replaces(&mut self, head: &[u8]) -> bool {
        let own = matches!(self.watch.lock().stage, Stage::Idle | Stage::Head);
        if own && self.refusal.is_empty() {
            let status = head.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
            self.refusal = (self.refuse)(Refusal::of_status(status.unwrap_or(StatusCode::BAD_REQUEST)));
        }
        own
    }

    /// Writes what is left of our own answer.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn note_write<T>(&self, outcome: Poll<T>) -> Poll<T> {
        let mut state = self.watch.lock();
        match &outcome {
            Poll::Ready(_) => state.blocked = None,
            Poll::Pending => {
                state.blocked.get_or_insert_with(Instant::now);
            }
        }
        drop(state);
        outcome
    }

    /// Reads and drops until the client has seen our end (RFC 9112 9.6): closing over unread bytes would reset the
    /// connection and take the last answer with it.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while self.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.lingered += buf.filled().len(),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, P: Unpin> AsyncRead for Wire<I, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if buf.filled().len() > before && matches!(self.watch.lock().stage, Stage::Idle | Stage::Draining) {
            self.watch.enter(Stage::Head);
        }
        Poll::Ready(outcome)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, P: Unpin> AsyncWrite for Wire<I, P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note_write(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(bufs.first().map_or(&[], |buf| buf)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note_write(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        // TLS takes bytes that the kernel does not take yet.
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.note_write(flushed))?;
        // The HTTP layer flushes when its own buffer is empty, so nothing of the answer is left.
        if self.watch.lock().stage == Stage::Draining {
            self.watch.enter(Stage::Idle);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        if self.watch.is_long_idle() {
            return Poll::Ready(Ok(()));
        }
        self.watch.enter(Stage::Lingering);
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    use super::*;

    fn wire() -> (Wire<DuplexStream, ()>, Watch, DuplexStream) {
        let (ours, theirs) = duplex(1024);
        let watch = Watch::new();
        (Wire::new(ours, watch.clone(), |_| Bytes::new(), ()), watch, theirs)
    }

    /// Whether the end of a connection waits for a client that keeps its side open.
    async fn waits(wire: &mut Wire<DuplexStream, ()>) -> bool {
        timeout(Duration::from_millis(1), wire.shutdown()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_no_client_that_has_asked_nothing_for_a_while() {
        let (mut wire, _watch, _client) = wire();
        advance(LINGER).await;
        assert!(!waits(&mut wire).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_lets_a_last_answer_arrive() {
        for stage in [Stage::Idle, Stage::Head, Stage::Busy, Stage::Draining] {
            let (mut wire, watch, client) = wire();
            watch.enter(Stage::Busy);
            watch.enter(stage);
            if stage != Stage::Idle {
                advance(LINGER).await;
            }
            assert!(waits(&mut wire).await, "{stage:?}");
            drop(client);
            assert!(!waits(&mut wire).await, "{stage:?}");
        }
    }
}
