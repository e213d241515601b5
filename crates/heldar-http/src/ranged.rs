//! Answers that are files or act like files: whole or in part, streamed in small pieces.
//!
//! A piece is read only when the connection has room for it, and only one is held at a time, so an answer costs the same
//! memory whatever its length and however slow its reader.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use heldar_base::WallTime;
use http_body::{Frame, SizeHint};

use crate::conditional::{self, ETag, Precondition, Validators};
use crate::range::{self, ByteRange, RangeOutcome};
use crate::{ApiError, Code};

/// Most bytes that are asked of a source, and held, at once.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Where the bytes of an answer come from.
pub trait ByteSource: Send + Sync + 'static {
    /// Reads up to `len` bytes at `offset`, both inside the length that was announced. Fewer are taken as they come; none
    /// at all ends the connection, so that a cut answer is not taken for a whole one.
    fn read(&self, offset: u64, len: usize) -> impl Future<Output = io::Result<Bytes>> + Send;
}

/// How long a representation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// This many bytes, for good.
    Final(u64),
    /// This many bytes so far: the file is still being written. It has no validators and is not cached.
    SoFar(u64),
}

/// A representation that is served whole or in part.
#[derive(Debug)]
pub struct Ranged<'a> {
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
    /// Its length.
    pub length: Length,
    /// Its entity tag; ignored while it grows.
    pub etag: Option<&'a ETag>,
    /// When it last changed.
    pub last_modified: Option<WallTime>,
    /// Its `Cache-Control`, when it is final.
    pub cache_control: Option<HeaderValue>,
}

impl Ranged<'_> {
    /// Answers a GET or HEAD request: 200, 206 or 304. `now` dates the answer.
    ///
    /// # Errors
    /// 412 for an unmet `If-Match` or `If-Unmodified-Since`; 416 with `Content-Range` for a range outside.
    pub fn respond<S: ByteSource>(
        &self,
        method: &Method,
        headers: &HeaderMap,
        now: WallTime,
        source: S,
    ) -> Result<Response, ApiError> {
        let (len, complete, etag) = match self.length {
            Length::Final(len) => (len, Some(len), self.etag),
            Length::SoFar(len) => (len, None, None),
        };
        let last_modified = complete.and(self.last_modified);
        let validators = Validators { etag, last_modified };
        match conditional::precondition(method, headers, validators) {
            Precondition::Proceed => {}
            Precondition::Failed => return Err(ApiError::of(Code::PreconditionFailed)),
            Precondition::NotModified => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                self.describe(response.headers_mut(), validators, complete);
                return Ok(response);
            }
        }
        // RFC 9110 14.2: range handling is defined for GET alone.
        let outcome = if *method == Method::GET && conditional::range_applies(headers, validators, now) {
            range::range(headers, len)
        } else {
            RangeOutcome::Whole
        };
        let (status, part) = match outcome {
            RangeOutcome::Unsatisfiable => {
                return Err(ApiError::of(Code::RangeNotSatisfiable)
                    .with_header(header::CONTENT_RANGE, range::unsatisfied_range(len)));
            }
            RangeOutcome::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
            RangeOutcome::Whole => {
                (StatusCode::OK, len.checked_sub(1).map(|last| ByteRange { first: 0, last }))
            }
        };
        let size = part.map_or(0, ByteRange::len);
        let body = match part {
            Some(part) if *method != Method::HEAD => Body::new(Chunks::new(Arc::new(source), part)),
            _ => Body::empty(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let out = response.headers_mut();
        self.describe(out, validators, complete);
        out.insert(header::CONTENT_TYPE, self.content_type.clone());
        out.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
        if let (StatusCode::PARTIAL_CONTENT, Some(part)) = (status, part) {
            out.insert(header::CONTENT_RANGE, range::content_range(part, complete));
        }
        Ok(response)
    }

    /// The headers that a 304 shares with a 200 (RFC 9110 15.4.5).
    fn describe(&self, out: &mut HeaderMap, validators: Validators<'_>, complete: Option<u64>) {
        out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(etag) = validators.etag
            && let Ok(value) = HeaderValue::from_str(etag.as_str())
        {
            out.insert(header::ETAG, value);
        }
        if let Some(at) = validators.last_modified {
            out.insert(header::LAST_MODIFIED, conditional::http_date(at));
        }
        if complete.is_none() {
            out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        } else if let Some(value) = &self.cache_control {
            out.insert(header::CACHE_CONTROL, value.clone());
        }
    }
}

/// Bytes that are in memory already.
impl ByteSource for Bytes {
    async fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(self.slice(start..start.saturating_add(len).min(self.len())))
    }
}

/// The body: one read at a time, each at most [`CHUNK_BYTES`].
struct Chunks<S> {
    source: Arc<S>,
    next: u64,
    remaining: u64,
    reading: Option<BoxFuture<'static, io::Result<Bytes>>>,
}

impl<S: ByteSource> Chunks<S> {
    fn new(source: Arc<S>, part: ByteRange) -> Self {
        Chunks { source, next: part.first, remaining: part.len(), reading: None }
    }

    /// How much the next read asks for.
    fn wanted(&self) -> usize {
        usize::try_from(self.remaining).map_or(CHUNK_BYTES, |remaining| remaining.min(CHUNK_BYTES))
    }
}

impl<S: ByteSource> http_body::Body for Chunks<S> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.remaining == 0 {
            return Poll::Ready(None);
        }
        let wanted = this.wanted();
        let reading = this.reading.get_or_insert_with(|| {
            let (source, offset) = (Arc::clone(&this.source), this.next);
            Box::pin(async move { source.read(offset, wanted).await })
        });
        let outcome = std::task::ready!(reading.as_mut().poll(cx));
        this.reading = None;
        let mut chunk = match outcome {
            Ok(chunk) if chunk.is_empty() => {
                this.remaining = 0;
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
            Ok(chunk) => chunk,
            Err(error) => {
                this.remaining = 0;
                return Poll::Ready(Some(Err(error)));
            }
        };
        chunk.truncate(wanted);
        let len = chunk.len() as u64;
        this.next = this.next.saturating_add(len);
        this.remaining = this.remaining.saturating_sub(len);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    /// Byte `n` of an endless file.
    fn byte_at(n: u64) -> u8 {
        (n % 251) as u8
    }

    /// Gives at most `most` bytes at a time and counts how often it is asked.
    struct Source {
        most: usize,
        reads: Arc<AtomicUsize>,
    }

    impl ByteSource for Source {
        async fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
            assert!(len <= CHUNK_BYTES);
            self.reads.fetch_add(1, Ordering::Relaxed);
            Ok((offset..offset + len.min(self.most) as u64).map(byte_at).collect())
        }
    }

    fn respond(fields: &HeaderMap, len: u64, source: Source) -> Response {
        let ranged = Ranged {
            content_type: HeaderValue::from_static("video/mp4"),
            length: Length::Final(len),
            etag: None,
            last_modified: None,
            cache_control: None,
        };
        ranged.respond(&Method::GET, fields, WallTime::EPOCH, source).unwrap()
    }

    #[tokio::test]
    async fn one_chunk_is_read_when_one_is_wanted() {
        let reads = Arc::new(AtomicUsize::new(0));
        let source = Source { most: usize::MAX, reads: Arc::clone(&reads) };
        let mut body = respond(&HeaderMap::new(), 100 << 30, source).into_body();
        for asked in 0..5 {
            assert_eq!(reads.load(Ordering::Relaxed), asked, "nothing is read ahead");
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.data_ref().map(Bytes::len), Some(CHUNK_BYTES));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_bytes_are_those_of_the_range(
            first in 0u64..700_000,
            len in 1u64..700_000,
            most in prop_oneof![1usize << 12..1 << 20, Just(usize::MAX)],
        ) {
            let value = HeaderValue::from_str(&format!("bytes={first}-{}", first + len - 1)).unwrap();
            let fields: HeaderMap = [(header::RANGE, value)].into_iter().collect();
            let response = respond(&fields, 1_500_000, Source { most, reads: Arc::default() });
            prop_assert_eq!(response.headers().get(header::CONTENT_LENGTH), Some(&HeaderValue::from(len)));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
            let expect: Vec<u8> = (first..first + len).map(byte_at).collect();
            prop_assert_eq!(&body[..], &expect[..]);
        }
    }
}
