//! The rest of a body that an answer did not wait for.
//!
//! HTTP/2 lets a server answer before it has the whole request and reset what is still to come (RFC 9113 8.1). Clients must
//! take such an answer all the same; some, curl 7.88 among them, report a broken stream instead, and nobody learns why a
//! request was refused. What is on its way is therefore read and thrown away before the answer goes out, within bounds.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Bytes that are read at most.
const MOST: usize = 64 << 10;
/// How long they are waited for.
const PATIENCE: Duration = Duration::from_millis(250);

type Place = Arc<Mutex<Option<Body>>>;

/// Where a body goes that nobody has read to its end.
pub(crate) struct Rest(Place);

/// A body that comes back when it is dropped.
struct Lent {
    body: Option<Body>,
    place: Place,
}

/// A body to be read by whoever answers, and what it leaves of it.
pub(crate) fn lend(body: Body) -> (Body, Rest) {
    let place = Place::default();
    let lent = Lent { body: Some(body), place: place.clone() };
    (Body::new(lent), Rest(place))
}

impl Rest {
    /// Reads what was left, unless it is much or slow.
    pub(crate) async fn read(self) {
        let Some(mut body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let reading = async {
            let mut read = 0;
            while read < MOST
                && let Some(Ok(frame)) = body.frame().await
            {
                read += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // What is not there by then is reset.
        let _slow = tokio::time::timeout(PATIENCE, reading).await;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{StreamExt as _, stream};

    use super::*;

    /// A body of 16 KiB pieces that counts those it has given.
    fn pieces(count: usize) -> (Body, Arc<AtomicUsize>) {
        let given = Arc::new(AtomicUsize::new(0));
        let counting = given.clone();
        let pieces = stream::iter(0..count).map(move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![0; 16 << 10]))
        });
        (Body::from_stream(pieces), given)
    }

    #[tokio::test]
    async fn what_is_left_is_read_and_not_more_than_a_little() {
        for (count, taken, expect) in [(3, 0, 3), (3, 2, 3), (3, 3, 3), (50, 0, 4), (50, 10, 14)] {
            let (body, given) = pieces(count);
            let (mut lent, rest) = lend(body);
            for _ in 0..taken {
                assert!(lent.frame().await.is_some());
            }
            drop(lent);
            rest.read().await;
            assert_eq!(given.load(Ordering::Relaxed), expect, "{count} {taken}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_does_not_come() {
        let begun = tokio::time::Instant::now();
        let (lent, rest) = lend(Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()));
        drop(lent);
        rest.read().await;
        assert_eq!(begun.elapsed(), PATIENCE);
        // Nor for what somebody still reads.
        let (_lent, rest) = lend(Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()));
        rest.read().await;
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
