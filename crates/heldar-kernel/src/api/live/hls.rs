//! LL-HLS: the live playlist, its segments and parts, and the list of both streams.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use heldar_base::{Capability, Clock as _, Credential, Micros, StreamKind};
use heldar_http::{Access, ApiError, Camera, Client, Code, Doc, Path, Query, RouteTable};
use heldar_live::hls::{Edge, Missing, TARGET_DURATION};
use heldar_live::{Cut, CutWatch, Feed, Transport};

use futures_util::stream;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded::byte_serialize;
use utoipa::IntoParams;

use super::{Ticket, admit, described, find, name_in, playable, still_runs, take_in, view};
use crate::api::Api;
use crate::api::requester::Requester;
use crate::kernel::Kernel;
use crate::live::{HlsKey, LiveName, View};

const PLAYLIST: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");
const MP4: HeaderValue = HeaderValue::from_static("video/mp4");
const NEVER: HeaderValue = HeaderValue::from_static("no-store");
/// Parts and segments never change; they are gone within a minute.
const SHORTLY: HeaderValue = HeaderValue::from_static("private, max-age=60");
/// How long the list of both streams waits for the one that was not asked for.
const OTHER_PICTURE: Duration = Duration::from_secs(5);
/// A request is kept waiting no longer than three target durations (media.md 11.3).
const LONGEST_WAIT: Micros = Micros(TARGET_DURATION.0 * 3);

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/live/hls/{path}/{file}",
        Access::live_in("path", Capability::VideoLive),
        file,
        Doc::new("watchHls", "live", "Watch a camera by HLS, with low latency where the player knows how")
            .details(
                "`index.m3u8` is the live playlist, `master.m3u8` lists the streams of the camera; all other names come \
                 from the playlist.",
            )
            .query::<Ticket>()
            .query::<Blocking>()
            .content(200, "application/vnd.apple.mpegurl", "A playlist.")
            .content(200, "video/mp4", "An init segment, a segment or a part.")
            .fails(&[
                Code::NotFound,
                Code::CameraDisabled,
                Code::NoStreamUrl,
                Code::CodecNotPlayable,
                Code::Busy,
            ]),
    );
}

/// What a playlist is to hold before it is sent (second edition of RFC 8216, 6.2.5.2).
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
struct Blocking {
    /// Segment of this number.
    #[serde(rename = "_HLS_msn", default)]
    #[param(rename = "_HLS_msn")]
    segment: Option<u64>,
    /// Part of it, from 0.
    #[serde(rename = "_HLS_part", default)]
    #[param(rename = "_HLS_part")]
    part: Option<u64>,
}

/// What a name in the playlist's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Live,
    Master,
    Init(u64),
    Segment(u64),
    Part(u64, usize),
}

impl File {
    fn parse(name: &str) -> Option<Self> {
        let number =
            |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match name {
            "index.m3u8" => return Some(File::Live),
            "master.m3u8" => return Some(File::Master),
            _ => {}
        }
        if let Some(text) = name.strip_prefix("init").and_then(|rest| rest.strip_suffix(".mp4")) {
            return number(text).map(File::Init);
        }
        let rest = name.strip_suffix(".m4s")?;
        match rest.split_once('.') {
            None => number(rest).map(File::Segment),
            Some((segment, part)) => Some(File::Part(number(segment)?, usize::try_from(number(part)?).ok()?)),
        }
    }
}

/// One request.
struct Request<'a> {
    kernel: &'a Kernel,
    ticket: &'a Ticket,
    credential: &'a Credential,
}

#[allow(clippy::too_many_arguments, reason = "the parts of one request")]
async fn file(
    State(kernel): State<Api>,
    who: Requester,
    client: Client,
    Camera(id): Camera,
    Path((path, file)): Path<(String, String)>,
    Query(ticket): Query<Ticket>,
    Query(blocking): Query<Blocking>,
) -> Result<Response, ApiError> {
    let name = name_in(&path)?;
    let file = File::parse(&file).ok_or_else(|| ApiError::not_found("file of a live playlist"))?;
    let token = ticket.token.clone().unwrap_or_default();
    let camera = find(&kernel, &who.caller, &id).await?;
    let view = view(&kernel, &camera, name.kind)?;
    // What a token has opened goes on when its time is over.
    if !kernel.watching.hls.knows(&name, client.address, &token) {
        admit(&kernel, &who.caller, &client, &name, &ticket)?;
    }
    let credential = &who.caller.principal().credential;
    let request = Request { kernel: &kernel, ticket: &ticket, credential };
    if file == File::Master {
        return request.master(&view).await;
    }
    let (stream, feed) =
        playable(&kernel, view, |tracks| tracks.video().is_some_and(|v| ticket.plays(v.codec))).await?;
    let who_asks = credential.clone();
    let key = HlsKey { name, stream: stream.clone(), who: who_asks, address: client.address, token };
    let seat = || take_in(&kernel, &who, &client, &stream, Transport::Hls);
    let mut cut = kernel.watching.hls.asks(key.clone(), kernel.clock.mono(), seat).map_err(ended)?;
    still_runs(&kernel, &stream)?;
    let found = async {
        Ok::<_, ApiError>(match file {
            File::Live | File::Master => {
                (vec![request.playlist(&feed, blocking).await?.into()], PLAYLIST, NEVER)
            }
            File::Init(number) => {
                drop(feed.hls());
                let init = feed.window().init(number);
                (vec![init.ok_or_else(gone)?], MP4, SHORTLY)
            }
            File::Segment(number) => {
                (wait_for(&feed, |feed| feed.window().segment(number)).await?, MP4, SHORTLY)
            }
            File::Part(number, part) => {
                (wait_for(&feed, |feed| feed.window().part(number, part)).await?, MP4, SHORTLY)
            }
        })
    };
    let (bytes, content_type, cache) = tokio::select! {
        biased;
        why = cut.is_cut() => return Err(ended(why)),
        found = found => found?,
    };
    let audio = feed.window().newest_init().and_then(|init| init.audio);
    kernel.watching.hls.audio(&key, audio);
    let shows = matches!(file, File::Segment(_) | File::Part(..));
    kernel.watching.hls.sent(&key, bytes.iter().map(Bytes::len).sum(), shows);
    let length = bytes.iter().map(|piece| piece.len() as u64).sum();
    Ok(answer(sent_until(bytes, cut), length, content_type, cache))
}

/// Hands pieces on one by one, none of them after the viewer was cut off: then the connection ends in the middle.
fn sent_until(pieces: Vec<Bytes>, cut: CutWatch) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(move |piece| match cut.cut() {
        None => Ok(piece),
        Some(why) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, why.as_str())),
    })))
}

fn ended(_why: Cut) -> ApiError {
    ApiError::new(Code::Forbidden, "this live view was ended")
}

fn answer(body: Body, length: u64, content_type: HeaderValue, cache: HeaderValue) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_LENGTH, length.into()),
        (header::CACHE_CONTROL, cache),
    ];
    (headers, body).into_response()
}

fn gone() -> ApiError {
    ApiError::not_found("part of a live playlist")
}

fn late() -> ApiError {
    ApiError::new(Code::Busy, "the camera sends no pictures at the moment")
}

/// What is there, or comes next.
async fn wait_for(
    feed: &Feed,
    look: impl Fn(&Feed) -> Result<Vec<Bytes>, Missing>,
) -> Result<Vec<Bytes>, ApiError> {
    let mut edge = feed.hls();
    let deadline = Instant::now() + LONGEST_WAIT.to_std();
    loop {
        edge.mark_unchanged();
        match look(feed) {
            Ok(bytes) => return Ok(bytes),
            Err(Missing::Gone) => return Err(gone()),
            Err(Missing::Expected) => {}
        }
        if !matches!(timeout_at(deadline, edge.changed()).await, Ok(Ok(()))) {
            return Err(late());
        }
    }
}

impl Request<'_> {
    /// The playlist, when it has what is asked for. Without a wish the first segment is waited for: plain players do not
    /// take a playlist without one.
    async fn playlist(&self, feed: &Feed, blocking: Blocking) -> Result<String, ApiError> {
        let mut edge = feed.hls();
        let query = |text: &str| ApiError::new(Code::BadQuery, text.to_owned());
        let deadline = Instant::now() + LONGEST_WAIT.to_std();
        let wanted = match (blocking.segment, blocking.part) {
            (None, None) => None,
            (None, Some(_)) => return Err(query("`_HLS_part` needs `_HLS_msn`").with_field("_HLS_part")),
            (Some(segment), _) if segment > edge.borrow().segment + 1 => {
                return Err(query("`_HLS_msn` lies too far ahead").with_field("_HLS_msn"));
            }
            (Some(segment), None) => Some(Edge { segment: segment + 1, parts: 0 }),
            (Some(segment), Some(part)) => {
                let part = usize::try_from(part).unwrap_or(usize::MAX);
                Some(Edge { segment, parts: part.saturating_add(1) })
            }
        };
        // Where the segment has ended without the part, the first part of the next one is meant (6.2.5.2).
        let is_there = |feed: &Feed, now: Edge, wanted: Edge| match now.segment.checked_sub(wanted.segment) {
            Some(1) if wanted.parts > 0 => {
                now.parts > 0 || feed.window().part(wanted.segment, wanted.parts - 1).is_ok()
            }
            _ => now >= wanted,
        };
        loop {
            let now = *edge.borrow_and_update();
            let is_there = match wanted {
                None => feed.window().has_segment(),
                Some(wanted) => is_there(feed, now, wanted),
            };
            if is_there {
                break;
            }
            if !matches!(timeout_at(deadline, edge.changed()).await, Ok(Ok(()))) {
                return Err(late());
            }
        }
        Ok(feed.window().playlist(&self.query()))
    }

    /// Goes behind every address: the same credential opens the children.
    fn query(&self) -> String {
        let pairs = [("token", &self.ticket.token), ("codec", &self.ticket.codec)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| {
            let value: String = byte_serialize(value.as_ref()?.as_bytes()).collect();
            Some(format!("{name}={value}"))
        });
        let text = pairs.collect::<Vec<_>>().join("&");
        if text.is_empty() { text } else { format!("?{text}") }
    }

    /// The camera's streams, the wanted one first. Each has a token of its own, for a token opens one path.
    async fn master(&self, view: &View) -> Result<Response, ApiError> {
        let mut text = "#EXTM3U\n#EXT-X-VERSION:9\n".to_owned();
        let wanted = (&view.stream, &view.feed);
        let streams = std::iter::once(wanted).chain(view.other.as_ref().map(|(stream, feed)| (stream, feed)));
        let mut listed = 0;
        for (index, (stream, feed)) in streams.enumerate() {
            self.kernel.demand(stream);
            let tracks = if index == 0 {
                described(feed.bus()).await?
            } else {
                // The list of one is better than none.
                match tokio::time::timeout(OTHER_PICTURE, described(feed.bus())).await {
                    Ok(Ok(tracks)) => tracks,
                    _ => continue,
                }
            };
            let Some(video) = tracks.video().filter(|video| self.ticket.plays(video.codec)) else { continue };
            let audio = tracks.audio().map(|audio| format!(",{}", audio.codec_string)).unwrap_or_default();
            let name = LiveName { camera: stream.camera.clone(), kind: Some(stream.kind) };
            let token = match &self.ticket.token {
                Some(_) => format!("?token={}", self.kernel.watching.tokens.issue(&name, self.credential).0),
                None => String::new(),
            };
            let bandwidth = self.kernel.bits_per_second(stream).unwrap_or(match stream.kind {
                StreamKind::Main => 4_000_000,
                StreamKind::Sub => 1_000_000,
            });
            text.push_str(&format!(
                "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},CODECS=\"{}{audio}\",RESOLUTION={}x{}\n../{name}/index.m3u8{token}\n",
                video.codec_string, video.width, video.height,
            ));
            listed += 1;
        }
        if listed == 0 {
            let tracks = described(view.feed.bus()).await?;
            return Err(super::not_playable(&tracks));
        }
        let length = text.len() as u64;
        Ok(answer(text.into(), length, PLAYLIST, NEVER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (name, expect) in [
            ("index.m3u8", Some(File::Live)),
            ("master.m3u8", Some(File::Master)),
            ("init3.mp4", Some(File::Init(3))),
            ("17.m4s", Some(File::Segment(17))),
            ("17.4.m4s", Some(File::Part(17, 4))),
            ("init.mp4", None),
            ("+1.m4s", None),
            ("1.2.3.m4s", None),
            ("x.m4s", None),
            ("99999999999999999999.m4s", None),
        ] {
            assert_eq!(File::parse(name), expect, "{name}");
        }
    }
}
