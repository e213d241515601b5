//! The feed as server-sent events (HTML, 9.2).

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use heldar_base::{Capability, Scope};
use heldar_http::{Access, ApiError, Caller, Client, Doc, Ending, Query, RouteTable};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Wish, shape};
use crate::accounts::Standing;
use crate::api::{Api, errors, events};
use crate::feed::{Given, Kind, Listener, Outlook, Rights, Start};
use crate::kernel::Kernel;

/// A comment is sent this often.
const BEAT: Duration = Duration::from_secs(15);
/// How long a client whose right has ended may take for its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks proxies to pass on what comes at once.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/events/stream",
        Access::filter(Capability::EventsRead),
        stream,
        Doc::new("streamEvents", events::TAG, "Follow events as server-sent events")
            .details(
                "Events come without an `event:` line, with their number as `id:`. Named: `ready` (`seq`), `detections` (an \
                 entry of the outbox), `gap` (`from_seq`, `first_seq`: rows between are gone), `revoked` (the last one). The \
                 header `Last-Event-ID` wins over `since_seq`: a number, or the UUID of an event. A client 1000 messages \
                 behind is cut, and goes on from its last id. Filters by type, severity and zone are about events alone.",
            )
            .query::<Wish>()
            .content(200, "text/event-stream", "The feed, for as long as the client stays."),
    );
}

/// Where a client goes on, as its header says.
async fn resumed(kernel: &Kernel, headers: &HeaderMap) -> Result<Option<Start>, ApiError> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let id = id.to_str().unwrap_or("?").trim();
    if id.is_empty() {
        return Ok(None);
    }
    if let Ok(seq) = id.parse() {
        return Ok(Some(Start::After(seq)));
    }
    // Its place in the sequence says nothing that is worth hiding.
    let event = kernel.store.event(&Scope::All, &id.to_ascii_lowercase()).await.map_err(errors::store)?;
    Ok(Some(event.map_or(Start::Lost, |event| Start::After(event.seq))))
}

async fn stream(
    State(kernel): State<Api>,
    caller: Caller,
    client: Client,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let filter = wish.filter()?;
    let start = resumed(&kernel, &headers).await?.or(wish.start()).unwrap_or(Start::Now);
    let rights = Rights::of(&kernel, &caller, &client, &filter);
    let listening = kernel.feed.listen(Kind::Sse, caller.scope().clone(), filter.clone(), start).await;
    let listener = listening.map_err(errors::store)?;
    let (cut, ended) = (listener.cut(), rights.beside().ended(filter));
    // Whatever its reader does: the body below says why, if it is read.
    let ending = async move {
        tokio::select! {
            () = cut => {}
            _standing = ended => tokio::time::sleep(LAST_WORDS).await,
        }
    };
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seq = listener.seq();
    let ready = shape::sse_named("ready", seq, &json!({ "seq": seq }));
    let first = [Bytes::from_static(b"retry: 2000\n"), ready].concat().into();
    let feed = Feed { kernel, listener, rights, beat, first: Some(first), is_over: false };
    let body = stream::unfold(feed, |mut feed| async move {
        let bytes = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), feed))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    let mut response = (headers, Body::from_stream(body)).into_response();
    response.extensions_mut().insert(Ending::new(ending.boxed()));
    Ok(response)
}

/// One client.
struct Feed {
    kernel: Api,
    listener: Listener,
    rights: Rights,
    beat: Interval,
    first: Option<Bytes>,
    is_over: bool,
}

impl Feed {
    /// What is sent next.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.is_over {
            if self.kernel.feed.is_stopping() {
                return None;
            }
            if self.rights.is_stale() {
                match self.rights.look(self.listener.filter()) {
                    Outlook::Sees(scope) => self.listener.limit(scope),
                    Outlook::Ended(standing) => {
                        self.is_over = true;
                        return Some(self.revoked(standing));
                    }
                }
            }
            if let Some(given) = self.listener.try_next() {
                return Some(self.form(&given));
            }
            tokio::select! {
                biased;
                () = self.rights.stale() => {}
                () = self.listener.wait() => {}
                _beat = self.beat.tick() => return Some(self.comment()),
            }
        }
        None
    }

    fn form(&self, given: &Given) -> Bytes {
        match given {
            Given::Message(message) => {
                shape::sse(message, self.listener.filter(), self.kernel.settings.site_id.as_deref())
            }
            gap => shape::sse_named("gap", self.listener.seq(), &shape::gap(gap).unwrap_or_default()),
        }
    }

    /// Keeps the connection alive, and tells how far the client is when nothing was for it.
    fn comment(&self) -> Bytes {
        format!(": keep-alive\nid: {}\n\n", self.listener.seq()).into()
    }

    fn revoked(&self, standing: Standing) -> Bytes {
        let reason = if standing == Standing::CredentialEnded { "credential" } else { "right" };
        shape::sse_named("revoked", self.listener.seq(), &json!({ "reason": reason }))
    }
}
