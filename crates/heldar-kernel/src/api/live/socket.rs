//! Fragmented MP4 over a WebSocket, for Media Source Extensions.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::Method;
use axum::response::Response;
use heldar_base::{Capability, Micros};
use heldar_http::{Access, ApiError, Camera, Client, Code, Doc, Path, Query, RouteTable};
use heldar_live::{Cut, Feed, Fragment, Init, Received, Seat, Transport};
use serde_json::json;
use tokio::time::Instant;

use super::{Ticket, admit, find, name_in, playable, still_runs, take_in, view};
use crate::api::Api;
use crate::api::requester::Requester;

/// A viewer this far behind is moved to the newest sync sample.
const BEHIND: Micros = Micros::from_millis(1500);
/// Without a picture for so long it is said that the camera stalls.
const STALLED: Duration = Duration::from_secs(3);
/// A viewer that takes nothing for so long has gone.
const GONE: Duration = Duration::from_secs(30);
/// Bytes that wait in the socket's own buffer at most.
const WRITE_BUFFER: usize = 16 * 1024;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/live/ws/{path}",
        Access::live_in("path", Capability::VideoLive),
        watch,
        Doc::new("watchWebSocket", "live", "Watch a camera over a WebSocket, as fragmented MP4")
            .details(
                "Text messages `init` (`mime`, `codec_string`, `width`, `height`, `started_at`), `stalled`, `resumed` and \
                 `bye` (`reason_class`). After each `init` the init segment follows as a binary message, then \
                 fragments of one picture each. Media time 0 was captured at `started_at`.",
            )
            .query::<Ticket>()
            .empty(101, "The WebSocket.")
            .fails(&[Code::CameraDisabled, Code::NoStreamUrl, Code::CodecNotPlayable, Code::Busy]),
    );
}

async fn watch(
    State(kernel): State<Api>,
    who: Requester,
    client: Client,
    Camera(id): Camera,
    Path(path): Path<String>,
    Query(ticket): Query<Ticket>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let name = name_in(&path)?;
    admit(&kernel, &who.caller, &client, &name, &ticket)?;
    let upgrade =
        upgrade.map_err(|_| ApiError::new(Code::Validation, "this path speaks WebSocket (RFC 6455)"))?;
    let camera = find(&kernel, &who.caller, &id).await?;
    let view = view(&kernel, &camera, name.kind)?;
    let (stream, feed) = match ticket.codec {
        // It takes what comes, whenever that comes.
        None => {
            kernel.demand(&view.stream);
            (view.stream, view.feed)
        }
        Some(_) => {
            playable(&kernel, view, |tracks| tracks.video().is_some_and(|v| ticket.plays(v.codec))).await?
        }
    };
    let seat = take_in(&kernel, &who, &client, &stream, Transport::WebSocket);
    still_runs(&kernel, &stream)?;
    let upgrade =
        upgrade.write_buffer_size(0).max_write_buffer_size(WRITE_BUFFER + (8 << 20)).max_message_size(1024);
    Ok(upgrade.on_upgrade(move |socket| serve(socket, feed, seat)))
}

/// Feeds a viewer until it leaves or is cut off.
async fn serve(socket: WebSocket, feed: Feed, mut seat: Seat) {
    let mut viewer = Viewer { socket, init: None, is_stalled: false };
    // The seat lends its figures to the loop while it waits for the cut.
    let mut cut = seat.watch_cut();
    let why = tokio::select! {
        why = cut.is_cut() => why,
        _left = viewer.follow(&feed, &mut seat) => return,
    };
    // A viewer that takes nothing does not get its last words.
    let _said = tokio::time::timeout(Duration::from_secs(1), viewer.say_bye(why)).await;
}

struct Viewer {
    socket: WebSocket,
    init: Option<Arc<Init>>,
    is_stalled: bool,
}

/// The viewer has left.
struct Left;

impl Viewer {
    async fn follow(&mut self, feed: &Feed, seat: &mut Seat) -> Result<(), Left> {
        let mut fragments = feed.fragments();
        let mut late = Instant::now() + STALLED;
        loop {
            let received = tokio::select! {
                received = fragments.recv() => Some(received),
                () = tokio::time::sleep_until(late), if !self.is_stalled => None,
                message = self.socket.recv() => match message {
                    // What viewers say is of no concern; pings are answered below.
                    Some(Ok(message)) if !matches!(message, Message::Close(_)) => continue,
                    _ => return Err(Left),
                },
            };
            match received {
                Some(Received::Piece(fragment)) => {
                    self.show(&fragment, seat).await?;
                    // Some cameras send a picture every few seconds.
                    late = Instant::now() + STALLED.max(fragment.duration.to_std() * 3);
                    if fragments.behind() > BEHIND
                        && let Some(missed) = fragments.skip()
                    {
                        seat.skipped(missed);
                    }
                }
                Some(Received::Lagged(missed)) => seat.skipped(missed),
                Some(Received::Interrupted) | None => self.stalled().await?,
                Some(Received::Closed) => return Err(Left),
            }
        }
    }

    async fn stalled(&mut self) -> Result<(), Left> {
        if std::mem::replace(&mut self.is_stalled, true) {
            return Ok(());
        }
        self.send(text(&json!({ "type": "stalled" }))).await
    }

    async fn show(&mut self, fragment: &Fragment, seat: &Seat) -> Result<(), Left> {
        if std::mem::take(&mut self.is_stalled) && self.init.is_some() {
            self.send(text(&json!({ "type": "resumed" }))).await?;
        }
        if self.init.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &fragment.init)) {
            let init = &fragment.init;
            self.send(text(&json!({
                "type": "init",
                "mime": format!("video/mp4; codecs=\"{}\"", init.codec_string),
                "codec_string": init.codec_string,
                "width": init.width,
                "height": init.height,
                "started_at": init.origin,
            })))
            .await?;
            self.send(Message::Binary(init.bytes.clone())).await?;
            seat.audio(init.audio);
            self.init = Some(init.clone());
        }
        let bytes = fragment.bytes.len();
        self.send(Message::Binary(fragment.bytes.clone())).await?;
        seat.sent(bytes);
        seat.shown();
        Ok(())
    }

    /// Says why it is over, and closes: 4403 where the right to watch has ended (auth-system.md 14).
    async fn say_bye(&mut self, why: Cut) -> Result<(), Left> {
        self.send(text(&json!({ "type": "bye", "reason_class": "closed", "reason": why.as_str() }))).await?;
        let code = match why {
            Cut::Stopping => 1001,
            Cut::CredentialEnded => 4401,
            _ => 4403,
        };
        self.send(Message::Close(Some(CloseFrame { code, reason: why.as_str().into() }))).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Left> {
        match tokio::time::timeout(GONE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Left),
        }
    }
}

fn text(value: &serde_json::Value) -> Message {
    Message::Text(value.to_string().into())
}
