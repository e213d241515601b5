//! WebRTC by WHEP: the offer and its answer, candidates that come later, the end.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heldar_base::Capability;
use heldar_http::{Access, ApiError, Camera, Client, Code, Doc, Path, Query, RouteTable, Text, TextType};
use heldar_live::{Answer, Choice, Feeds, OfferError, PatchError, Transport};
use serde_json::Value;

use super::entry::{base, ice_servers};
use super::{Ticket, admit, described, find, name_in, not_playable, still_runs, take_in, view};
use crate::api::Api;
use crate::api::requester::Requester;
use crate::live::{LiveName, View};

const SDP: HeaderValue = HeaderValue::from_static("application/sdp");

/// An offer (RFC 9725 4.2).
#[derive(Debug)]
struct Offer;

impl TextType for Offer {
    const ESSENCE: &'static str = "application/sdp";
    const LIMIT_BYTES: usize = 64 << 10;
}

/// Candidates found after the offer (RFC 8840 9).
#[derive(Debug)]
struct Fragment;

impl TextType for Fragment {
    const ESSENCE: &'static str = "application/trickle-ice-sdpfrag";
    const LIMIT_BYTES: usize = 16 << 10;
}

const SESSION: &str = "/live/whep/{path}/session/{session}";

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let alike = [
        ("/live/whep/{path}", "openWhep", "whepOptions"),
        ("/live/whep/{path}/whep", "openWhepNamed", "whepNamedOptions"),
    ];
    for (path, id, options_id) in alike {
        table
            .add(
                Method::POST,
                path,
                Access::live_in("path", Capability::VideoLive),
                open,
                Doc::new(id, "live", "Watch a camera over WebRTC")
                    .details(
                        "The body is an SDP offer; a session exists from the answer on. H.264, H.265 where the offer has \
                         it, Opus. Other sound is left out. Candidates of the server are all in the answer.",
                    )
                    .query::<Ticket>()
                    .text::<Offer>()
                    .content(201, "application/sdp", "The answer.")
                    .headers(&[
                        ("Location", "The session, for its `PATCH` and `DELETE`."),
                        ("ETag", "Version of the session, for `If-Match`."),
                        ("Link", "ICE servers, `rel=\"ice-server\"`."),
                    ])
                    .fails(&[Code::CameraDisabled, Code::NoStreamUrl, Code::CodecNotPlayable, Code::Busy]),
            )
            .add(
                Method::OPTIONS,
                path,
                Access::public(),
                options,
                Doc::new(options_id, "live", "What a WHEP endpoint takes")
                    .empty(204, "`Accept-Post` tells.")
                    .headers(&[("Accept-Post", "`application/sdp`")]),
            );
    }
    table
        .add(
            Method::PATCH,
            SESSION,
            Access::public(),
            patch,
            Doc::new("patchWhep", "live", "Tell candidates that were found after the offer")
                .details("Whoever knows the session may do this. `If-Match` holds its `ETag`.")
                .text::<Fragment>()
                .empty(204, "They are tried.")
                .fails(&[Code::NotSupported, Code::PreconditionFailed, Code::PreconditionRequired]),
        )
        .add(
            Method::DELETE,
            SESSION,
            Access::public(),
            end,
            Doc::new("closeWhep", "live", "End a WebRTC session")
                .details("Whoever knows the session may do this.")
                .empty(200, "It has ended."),
        );
}

#[allow(clippy::too_many_arguments, reason = "the parts of one request")]
async fn open(
    State(kernel): State<Api>,
    who: Requester,
    client: Client,
    Camera(id): Camera,
    Path(path): Path<String>,
    Query(ticket): Query<Ticket>,
    Text(offer, _): Text<Offer>,
) -> Result<Response, ApiError> {
    let name = name_in(&path)?;
    admit(&kernel, &who.caller, &client, &name, &ticket)?;
    let camera = find(&kernel, &who.caller, &id).await?;
    let View { stream, feed, other } = view(&kernel, &camera, name.kind)?;
    let webrtc = kernel.watching.webrtc().ok_or_else(is_off)?;
    kernel.demand(&stream);
    let wanted = described(feed.bus()).await?;
    let feeds =
        Feeds { wanted: feed.bus().clone(), other: other.as_ref().map(|(_, feed)| feed.bus().clone()) };
    let seat = |choice| {
        let sent = match (choice, &other) {
            (Choice::Other, Some((other, _))) => other,
            _ => &stream,
        };
        take_in(&kernel, &who, &client, sent, Transport::Whep)
    };
    let mut answered = webrtc.answer(&offer, feeds.clone(), seat);
    if let (Err(OfferError::NotPlayable { .. }), Some((other, feed))) = (&answered, &other) {
        // Only now is it worth while to pull that one too.
        kernel.demand(other);
        if described(feed.bus()).await.is_ok() {
            answered = webrtc.answer(&offer, feeds, seat);
        }
    }
    match answered {
        Ok(answer) => {
            if let Err(error) = still_runs(&kernel, &stream) {
                webrtc.end(&answer.resource);
                return Err(error);
            }
            let location = format!("{}/live/whep/{name}/session/{}", base(&kernel, &client), answer.resource);
            created(answer, &location, &ice_servers(&kernel))
        }
        Err(OfferError::NotPlayable { .. }) => Err(not_playable(&wanted)),
        Err(OfferError::Malformed(why)) => {
            Err(ApiError::new(Code::Validation, format!("the offer cannot be answered: {why}")))
        }
        Err(error @ (OfferError::NoPicture | OfferError::Busy)) => {
            Err(ApiError::new(Code::Busy, error.to_string()))
        }
    }
}

/// The port is off or could not be opened; the log of the start says why.
fn is_off() -> ApiError {
    ApiError::new(Code::Busy, "WebRTC is not available; the WebSocket and HLS are")
}

fn created(answer: Answer, location: &str, ice_servers: &Value) -> Result<Response, ApiError> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(ApiError::internal);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, SDP);
    headers.insert(header::LOCATION, value(location)?);
    headers.insert(header::ETAG, value(&answer.etag)?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for link in links(ice_servers) {
        headers.append(header::LINK, value(&link)?);
    }
    Ok((StatusCode::CREATED, headers, answer.sdp).into_response())
}

/// ICE servers as links (RFC 9725 4.6). What is no server in the form of WebRTC's `RTCIceServer` is left out.
fn links(servers: &Value) -> Vec<String> {
    let text = |server: &Value, key: &str| {
        let value = server.get(key)?.as_str()?.replace('\\', "\\\\").replace('"', "\\\"");
        Some(value)
    };
    let mut links = Vec::new();
    for server in servers.as_array().into_iter().flatten() {
        let urls = match server.get("urls") {
            Some(Value::String(url)) => vec![url.as_str()],
            Some(Value::Array(urls)) => urls.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        for url in urls {
            let mut link = format!("<{url}>; rel=\"ice-server\"");
            if let (Some(user), Some(credential)) = (text(server, "username"), text(server, "credential")) {
                link.push_str(&format!(
                    "; username=\"{user}\"; credential=\"{credential}\"; credential-type=\"password\""
                ));
            }
            links.push(link);
        }
    }
    links
}

async fn options() -> Response {
    (StatusCode::NO_CONTENT, [(HeaderName::from_static("accept-post"), SDP)]).into_response()
}

async fn patch(
    State(kernel): State<Api>,
    Path((path, session)): Path<(String, String)>,
    headers: HeaderMap,
    Text(fragment, _): Text<Fragment>,
) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::not_found("WebRTC session");
    LiveName::parse(&path).ok_or_else(unknown)?;
    let webrtc = kernel.watching.webrtc().ok_or_else(unknown)?;
    // A list may be spread over several lines (RFC 9110 5.3).
    let if_match: Vec<_> =
        headers.get_all(header::IF_MATCH).iter().filter_map(|value| value.to_str().ok()).collect();
    let if_match = (!if_match.is_empty()).then(|| if_match.join(","));
    webrtc.patch(&session, if_match.as_deref(), &fragment).map_err(|error| match error {
        PatchError::Unknown => unknown(),
        PatchError::EtagMissing => ApiError::of(Code::PreconditionRequired),
        PatchError::EtagDiffers => ApiError::of(Code::PreconditionFailed),
        PatchError::Malformed => ApiError::new(Code::Validation, error.to_string()),
        PatchError::RestartUnsupported => ApiError::new(Code::NotSupported, error.to_string()),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end(
    State(kernel): State<Api>,
    Path((path, session)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let ended = LiveName::parse(&path)
        .and_then(|_| kernel.watching.webrtc())
        .is_some_and(|webrtc| webrtc.end(&session));
    if ended { Ok(StatusCode::OK) } else { Err(ApiError::not_found("WebRTC session")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ice_servers_as_links() {
        let servers = json!([
            { "urls": "stun:stun.example.org" },
            { "urls": ["turn:a.example.org?transport=udp", "turns:a.example.org"], "username": "u\"x", "credential": "p" },
            { "url": "stun:old.example.org" },
            7,
        ]);
        let named = "; username=\"u\\\"x\"; credential=\"p\"; credential-type=\"password\"";
        assert_eq!(
            links(&servers),
            [
                "<stun:stun.example.org>; rel=\"ice-server\"".to_owned(),
                format!("<turn:a.example.org?transport=udp>; rel=\"ice-server\"{named}"),
                format!("<turns:a.example.org>; rel=\"ice-server\"{named}"),
            ]
        );
        assert!(links(&json!({})).is_empty());
    }
}
