//! The feed over a WebSocket (RFC 6455).

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::http::Method;
use axum::response::Response;
use futures_util::SinkExt as _;
use heldar_base::{Capability, Scope};
use heldar_http::{Access, ApiError, Caller, Client, Code, Doc, Query, RouteTable};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Wish, shape};
use crate::accounts::Standing;
use crate::api::{Api, errors, events};
use crate::feed::{Given, Kind, Listener, Outlook, Rights, Start};

/// A client that gave no parameter may say first what it wants, for so long.
const FIRST_WORD: Duration = Duration::from_millis(250);
/// A ping is sent this often.
const BEAT: Duration = Duration::from_secs(15);
/// How long a client may take for its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A client that takes nothing for so long has gone.
const GONE: Duration = Duration::from_secs(30);
/// Largest message of a client, in bytes.
const LARGEST: usize = 64 << 10;
/// Bytes that wait in the socket's own buffer before they are written.
const BUFFER: usize = 16 << 10;
/// Messages that are written between two looks at what the client says.
const BURST: usize = 64;
/// Most messages that may be ahead of an acknowledgement.
const WINDOW: i64 = 1000;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/events/ws",
        Access::filter(Capability::EventsRead),
        follow,
        Doc::new("followEvents", events::TAG, "Follow events over a WebSocket")
            .details(
                "Parameters come in the query or in `{\"type\": \"subscribe\", ...}`, which may be sent again: it replaces the \
                 wish before it, and goes on from there unless it has `since_seq`. The server sends `ready` (`seq`), \
                 `event` (`seq`, `event`), `detections` (`seq`, `entry`), `gap` (`from_seq`, `first_seq`), `ping`, and \
                 `error` for what it does not understand. With `window`, at most so many messages are ahead of the client's \
                 `{\"type\": \"ack\", \"seq\": ...}`. Closed with 4401 when the credential has ended, 4403 when the right has.",
            )
            .query::<Wish>()
            .empty(101, "The WebSocket."),
    );
}

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    /// It wants something else.
    Subscribe(Box<Wish>),
    /// It has everything up to here.
    Ack { seq: i64 },
    /// Anything else.
    #[serde(other)]
    Other,
}

/// Why a client is let go.
enum Over {
    /// It has left, or takes nothing.
    Left,
    /// It is too slow.
    Slow,
    /// Its right has ended.
    Ended(Standing),
    /// The server stops.
    Stopping,
    /// The store cannot be read.
    Broken,
}

async fn follow(
    State(kernel): State<Api>,
    caller: Caller,
    client: Client,
    Query(wish): Query<Wish>,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let filter = wish.filter()?;
    let upgrade =
        upgrade.map_err(|_| ApiError::new(Code::Validation, "this path speaks WebSocket (RFC 6455)"))?;
    let start = wish.start().unwrap_or(Start::Now);
    let rights = Rights::of(&kernel, &caller, &client, &filter);
    let scope = caller.scope().clone();
    let listener = kernel.feed.listen(Kind::WebSocket, scope, filter, start).await;
    let listener = listener.map_err(errors::store)?;
    let speaks_first = query.is_none_or(|query| query.is_empty());
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let window = wish.window.map(window);
    let upgrade = upgrade.write_buffer_size(BUFFER).max_message_size(LARGEST);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let ahead = Ahead { window, sent: VecDeque::new() };
        let mut seat = Seat { kernel, socket, listener, rights, beat, ahead };
        let over = seat.serve(speaks_first).await;
        seat.close(over).await;
    }))
}

fn window(messages: i64) -> usize {
    usize::try_from(messages.clamp(1, WINDOW)).unwrap_or(1)
}

/// Messages that were sent and not acknowledged, where the client bounds them.
struct Ahead {
    window: Option<usize>,
    sent: VecDeque<i64>,
}

impl Ahead {
    fn is_full(&self) -> bool {
        self.window.is_some_and(|window| self.sent.len() >= window)
    }

    fn sent(&mut self, seq: i64) {
        if self.window.is_some() {
            self.sent.push_back(seq);
        }
    }

    fn acknowledged(&mut self, seq: i64) {
        while self.sent.front().is_some_and(|sent| *sent <= seq) {
            self.sent.pop_front();
        }
    }
}

/// One client.
struct Seat {
    kernel: Api,
    socket: WebSocket,
    listener: Listener,
    rights: Rights,
    beat: Interval,
    ahead: Ahead,
}

/// What happens next.
enum Next {
    Heard(Option<Result<Message, axum::Error>>),
    Beat,
    Look,
}

impl Seat {
    async fn serve(&mut self, speaks_first: bool) -> Over {
        match self.run(speaks_first).await {
            Ok(never) => match never {},
            Err(over) => over,
        }
    }

    async fn run(&mut self, speaks_first: bool) -> Result<std::convert::Infallible, Over> {
        let cut = self.listener.cut();
        let mut cut = std::pin::pin!(cut);
        let first =
            if speaks_first { tokio::time::timeout(FIRST_WORD, self.socket.recv()).await.ok() } else { None };
        let has_subscribed = match first {
            Some(message) => self.hear(message).await?,
            None => false,
        };
        if !has_subscribed {
            self.ready().await?;
        }
        loop {
            if self.kernel.feed.is_stopping() {
                return Err(Over::Stopping);
            }
            if self.rights.is_stale() {
                self.look()?;
            }
            self.give().await?;
            let is_full = self.ahead.is_full();
            if is_full {
                self.listener.gather();
            }
            let listener = &mut self.listener;
            let more = async { if is_full { listener.changed().await } else { listener.wait().await } };
            let next = tokio::select! {
                biased;
                () = cut.as_mut() => return Err(Over::Slow),
                () = self.rights.stale() => Next::Look,
                message = self.socket.recv() => Next::Heard(message),
                () = more => Next::Look,
                _beat = self.beat.tick() => Next::Beat,
            };
            match next {
                Next::Look => {}
                Next::Beat => self.say(&json!({ "type": "ping" })).await?,
                Next::Heard(message) => {
                    self.hear(message).await?;
                }
            }
        }
    }

    /// Looks at what the client may see now.
    fn look(&mut self) -> Result<(), Over> {
        match self.rights.look(self.listener.filter()) {
            Outlook::Sees(scope) => {
                self.listener.limit(scope);
                Ok(())
            }
            Outlook::Ended(standing) => Err(Over::Ended(standing)),
        }
    }

    /// Sends what is there, as far as the window lets it.
    async fn give(&mut self) -> Result<(), Over> {
        let mut count = 0;
        while count < BURST && !self.ahead.is_full() {
            let Some(given) = self.listener.try_next() else { break };
            self.put(&given).await?;
            count += 1;
        }
        if count > 0 { self.flush().await } else { Ok(()) }
    }

    async fn put(&mut self, given: &Given) -> Result<(), Over> {
        match given {
            Given::Message(row) => {
                self.ahead.sent(row.seq());
                let own_site = self.kernel.settings.site_id.as_deref();
                let text = Utf8Bytes::try_from(shape::socket(row, self.listener.filter(), own_site));
                // Made of text.
                let text = text.map_err(|_not_text| Over::Broken)?;
                self.write(Message::Text(text)).await
            }
            Given::Gap { from_seq, first_seq } => {
                self.say(&json!({ "type": "gap", "from_seq": from_seq, "first_seq": first_seq })).await
            }
        }
    }

    async fn ready(&mut self) -> Result<(), Over> {
        let seq = self.listener.seq();
        self.say(&json!({ "type": "ready", "seq": seq })).await
    }

    async fn say(&mut self, value: &Value) -> Result<(), Over> {
        self.write(Message::Text(value.to_string().into())).await?;
        self.flush().await
    }

    /// Hears a message; true when it subscribes anew.
    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<bool, Over> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over::Left),
            Some(Ok(_)) => return Ok(false),
        };
        match serde_json::from_str::<Said>(&text) {
            Ok(Said::Subscribe(wish)) => self.subscribe(&wish).await,
            Ok(Said::Ack { seq }) => {
                self.ahead.acknowledged(seq);
                Ok(false)
            }
            Ok(Said::Other) => Ok(false),
            Err(error) => {
                let error = ApiError::new(Code::Validation, format!("message not understood: {error}"));
                self.say(&shape::refusal(&error)).await?;
                Ok(false)
            }
        }
    }

    async fn subscribe(&mut self, wish: &Wish) -> Result<bool, Over> {
        let filter = match wish.filter() {
            Ok(filter) => filter,
            Err(error) => {
                self.say(&shape::refusal(&error)).await?;
                return Ok(false);
            }
        };
        let scope: Scope = self.listener.scope().clone();
        self.rights.with_filter(&scope, &filter);
        let changed = self.listener.change(filter, wish.start()).await;
        changed.map_err(|_unreadable| Over::Broken)?;
        self.ahead = Ahead { window: wish.window.map(window), sent: VecDeque::new() };
        self.ready().await?;
        Ok(true)
    }

    async fn write(&mut self, message: Message) -> Result<(), Over> {
        let (listener, rights) = (&self.listener, &self.rights);
        bounded(self.socket.feed(message), listener, rights).await
    }

    async fn flush(&mut self) -> Result<(), Over> {
        let (listener, rights) = (&self.listener, &self.rights);
        bounded(self.socket.flush(), listener, rights).await
    }

    /// Says why it is over (auth-system.md 14). A client that takes nothing does not get its last words.
    async fn close(mut self, over: Over) {
        let (code, reason) = match over {
            Over::Left => return,
            Over::Slow => (1013, "too slow: resume by the last seq"),
            Over::Ended(Standing::CredentialEnded) => (4401, "credential_ended"),
            Over::Ended(_) => (4403, "right_ended"),
            Over::Stopping => (1001, "server_stopped"),
            Over::Broken => (1011, "try again"),
        };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _said = tokio::time::timeout(LAST_WORDS, self.socket.send(close)).await;
    }
}

/// A write, for as long as its client may listen and takes what it is sent.
async fn bounded(
    write: impl Future<Output = Result<(), axum::Error>>,
    listener: &Listener,
    rights: &Rights,
) -> Result<(), Over> {
    let mut write = std::pin::pin!(write);
    // Mostly it is done at once.
    if let Some(done) = futures_util::FutureExt::now_or_never(write.as_mut()) {
        return done.map_err(|_gone| Over::Left);
    }
    tokio::select! {
        done = write => done.map_err(|_gone| Over::Left),
        () = listener.cut() => Err(Over::Slow),
        standing = rights.beside().ended(listener.filter().clone()) => Err(Over::Ended(standing)),
        () = tokio::time::sleep(GONE) => Err(Over::Left),
    }
}
