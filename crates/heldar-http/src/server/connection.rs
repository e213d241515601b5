//! One HTTP/1.1 connection from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Limits;
use super::wire::{Watch, Wire};
use crate::app::{AppSlot, Ending};
use crate::caller::Scheme;

/// Serves a connection until either side ends it, it waits too long, or `stop` turns true and its answer is through.
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
    let watch = Watch::new();
    let refuse = {
        let slot = Arc::clone(&slot);
        move |refusal: super::refusal::Refusal| refusal.answer(&slot.get())
    };
    let wire = Wire::new(io, watch.clone(), refuse, kept);
    let service = service_fn(|request: Request<Incoming>| {
        watch.request_began();
        let (app, watch) = (slot.get(), watch.clone());
        async move {
            let mut response = app.call_over(over, request, peer).await;
            watch.stands_on(Ending::of(&mut response));
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                watch.upgraded();
            }
            Ok::<_, Infallible>(response.map(|body| Watched { body, watch }))
        }
    });
    let mut builder = http1::Builder::new();
    // The watch bounds the head's time; hyper's own timer would also run while a connection is idle.
    // A client that closes its side has gone: without half-closed connections its handler is dropped at once.
    builder.max_buf_size(limits.header_bytes).header_read_timeout(None);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service).with_upgrades());
    let mut stopped = pin!(async move {
        // A sender that is gone means the same.
        let _stopped = stop.wait_for(|stop| *stop).await;
    });
    let mut stopping = false;
    let mut alarm = pin!(sleep_until(Instant::now() + limits.idle_time));
    poll_fn(|cx| {
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
            if let Err(error) = outcome {
                tracing::debug!(%error, "connection ended");
            }
            return Poll::Ready(());
        }
        if watch.poll_ended(cx).is_ready() {
            tracing::debug!("an answer was cut whose right has ended");
            return Poll::Ready(());
        }
        let Some(deadline) = watch.deadline(&limits) else { return Poll::Pending };
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx)
    })
    .await;
}

/// A body that tells the watch when it is through.
struct Watched {
    body: Body,
    watch: Watch,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.answer_ended();
    }
}
