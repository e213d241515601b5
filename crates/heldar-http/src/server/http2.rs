//! One HTTP/2 connection (RFC 9113) from its handshake to its end.
//!
//! Owns: how many requests share it, how long it may be idle, and the end of answers whose reader has stopped reading.
//! Each request runs in a task of its own that ends with the connection. Extended CONNECT (RFC 8441) is not offered:
//! browsers open WebSockets over connections of HTTP/1.1 then.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Limits;
use super::wire::{Watch, Wire};
use crate::app::{AppSlot, Ending};
use crate::caller::Scheme;

/// Requests at a time; RFC 9113 6.5.2 advises against fewer.
const STREAMS: u32 = 100;
/// Time between questions whether the client is there at all, and the longest time to its answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Bytes of an answer that wait for their reader.
const SEND_BUFFER_BYTES: usize = 256 << 10;
/// Most bytes handed over at once; the HTTP layer takes a part whole, whatever room there is.
const PART_BYTES: usize = 32 << 10;

/// Serves a connection until either side ends it, it is idle too long, or `stop` turns true and its answers are through.
/// `kept` is dropped with the byte stream.
pub(super) async fn run<I, P>(
    io: I,
    (peer, over): (SocketAddr, Scheme),
    slot: Arc<AppSlot>,
    limits: Limits,
    kept: P,
    mut stop: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Unpin + Send + 'static,
{
    let watch = Watch::shared();
    // No head of HTTP/2 is refused by an answer of ours.
    let wire = Wire::new(io, watch.clone(), |_refusal| Bytes::new(), kept);
    let streams = Streams::new(slot.clone(), limits.stalled_time);
    let _ends = EndOfStreams(streams.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let app = slot.get();
        async move {
            let mut response = app.call_over(over, request, peer).await;
            let reader = READER.try_with(Clone::clone).unwrap_or_default();
            reader.stands_on(Ending::of(&mut response));
            Ok::<_, Infallible>(response.map(|body| Watched { body, rest: Bytes::new(), reader }))
        }
    });
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let mut stopped = pin!(async move {
        // A sender that is gone means the same.
        let _stopped = stop.wait_for(|stop| *stop).await;
    });
    let beat = limits.idle_time / 4;
    let mut next_beat = Instant::now() + beat;
    let mut alarm = pin!(sleep_until(next_beat));
    let mut stage = Stage::Serving;
    poll_fn(|cx| {
        loop {
            if stage == Stage::Serving && stopped.as_mut().poll(cx).is_ready() {
                // The server itself cuts what takes too long.
                stage = Stage::Stopping;
                connection.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "connection ended");
                }
                return Poll::Ready(());
            }
            let stalled = watch.deadline(&limits);
            let deadline = stalled.map_or(next_beat, |stalled| stalled.min(next_beat));
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if stalled.is_some_and(|stalled| stalled <= now) || stage.is_over(now) {
                return Poll::Ready(());
            }
            next_beat = now + beat;
            if stage == Stage::Serving
                && streams.idle_since().is_some_and(|since| now >= since + limits.idle_time)
            {
                stage = Stage::Idle { until: now + limits.header_time };
                next_beat = now + limits.header_time;
                connection.as_mut().graceful_shutdown();
            }
        }
    })
    .await;
}

/// Where in its life a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Requests are taken.
    Serving,
    /// It was idle too long and is being closed in order, until then.
    Idle { until: Instant },
    /// The server stops.
    Stopping,
}

impl Stage {
    fn is_over(self, now: Instant) -> bool {
        matches!(self, Stage::Idle { until } if until <= now)
    }
}

tokio::task_local! {
    /// The reader of the answer that the current task sends.
    static READER: Reader;
}

/// Runs each request of a connection in a task; all of them end with the connection.
#[derive(Clone)]
struct Streams(Arc<Shared>);

struct Shared {
    slot: Arc<AppSlot>,
    stalled_time: Duration,
    tasks: Mutex<JoinSet<()>>,
    open: Arc<Mutex<Open>>,
}

/// How many requests there are, and since when none.
struct Open {
    count: usize,
    since: Instant,
}

impl Streams {
    fn new(slot: Arc<AppSlot>, stalled_time: Duration) -> Self {
        let open = Arc::new(Mutex::new(Open { count: 0, since: Instant::now() }));
        Streams(Arc::new(Shared { slot, stalled_time, tasks: Mutex::default(), open }))
    }

    /// Since when there is no request; `None` while there is one.
    fn idle_since(&self) -> Option<Instant> {
        let open = lock(&self.0.open);
        (open.count == 0).then_some(open.since)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let place = StreamPlace::take(&self.0.open);
        let (reader, stalled_time) = (Reader::default(), self.0.stalled_time);
        let mut tasks = lock(&self.0.tasks);
        while let Some(ended) = tasks.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                self.0.slot.get().metrics().panicked();
                tracing::error!("an answer panicked");
            }
        }
        tasks.spawn(async move {
            let _place = place;
            tokio::select! {
                () = READER.scope(reader.clone(), stream) => {}
                // The stream is reset, and the others of its connection go on.
                () = reader.ended() => tracing::debug!("an answer was cut whose right has ended"),
                () = reader.stalls(stalled_time) => tracing::debug!("an answer that nobody reads was cut"),
            }
        });
    }
}

/// Ends the requests that are left when the connection ends, whichever way it does: each of them keeps the set alive that
/// it is in.
struct EndOfStreams(Streams);

impl Drop for EndOfStreams {
    fn drop(&mut self) {
        lock(&self.0.0.tasks).abort_all();
    }
}

/// One of the open requests, until dropped.
struct StreamPlace(Arc<Mutex<Open>>);

impl StreamPlace {
    fn take(open: &Arc<Mutex<Open>>) -> Self {
        lock(open).count += 1;
        StreamPlace(open.clone())
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = lock(&self.0);
        open.count = open.count.saturating_sub(1);
        open.since = Instant::now();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Since when an answer waits for its reader: its last part was handed over then, and the next was not asked for yet. The
/// HTTP layer asks for no part before the reader has room for the one before it.
#[derive(Clone, Default)]
struct Reader {
    since: Arc<Mutex<Option<Instant>>>,
    /// Resolves when the right to the answer has ended, once there is an answer that stands on one.
    ending: Arc<Mutex<Option<BoxFuture<'static, ()>>>>,
    answered: Arc<Notify>,
}

impl Reader {
    fn note(&self, since: Option<Instant>) {
        *lock(&self.since) = since;
    }

    fn stands_on(&self, ending: Option<BoxFuture<'static, ()>>) {
        *lock(&self.ending) = ending;
        self.answered.notify_one();
    }

    /// Done when the right to the answer has ended.
    async fn ended(&self) {
        self.answered.notified().await;
        let ending = lock(&self.ending).take();
        match ending {
            Some(ending) => ending.await,
            None => std::future::pending().await,
        }
    }

    /// Done when the answer has waited for its reader for so long.
    async fn stalls(&self, limit: Duration) {
        loop {
            let since = *lock(&self.since);
            let now = Instant::now();
            match since.map(|since| since + limit) {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => sleep_until(deadline).await,
                None => sleep_until(now + limit).await,
            }
        }
    }
}

/// A body that notes when its reader is waited for, in parts that are small enough for that to be true.
struct Watched {
    body: Body,
    /// What is left of the body's own part.
    rest: Bytes,
    reader: Reader,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let polled = Pin::new(&mut this.body).poll_frame(cx);
            this.reader.note(polled.is_ready().then(Instant::now));
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() > PART_BYTES => this.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        this.reader.note(Some(Instant::now()));
        let part = this.rest.split_to(this.rest.len().min(PART_BYTES));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint.set_lower(hint.lower().saturating_add(left));
        hint
    }
}
