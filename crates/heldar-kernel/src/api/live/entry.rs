//! Where a camera can be watched: one address for each transport, and the token that opens them.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{Capability, StreamKind, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Client, Code, Doc, Json, Query, RouteTable, Scheme};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{find, view};
use crate::api::Api;
use crate::kernel::Kernel;
use crate::live::LiveName;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    for (method, id) in [(Method::GET, "getLiveView"), (Method::POST, "openLiveView")] {
        table.add(
            method,
            "/api/v1/cameras/{id}/liveview",
            Access::cam(Capability::VideoLive),
            entry,
            Doc::new(id, "live", "Where to watch a camera live")
                .details("Starts the stream if nobody watches or records it, and answers at once.")
                .query::<Which>()
                .json::<LiveUrls>(200, "Addresses and the token in them.")
                .fails(&[Code::CameraDisabled, Code::NoStreamUrl]),
        );
    }
}

/// Which stream.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// `auto`: the sub stream, or else what is recorded.
    #[serde(default)]
    #[param(inline)]
    stream: Wanted,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    #[default]
    Auto,
    Main,
    Sub,
}

impl Wanted {
    fn kind(self) -> Option<StreamKind> {
        match self {
            Wanted::Auto => None,
            Wanted::Main => Some(StreamKind::Main),
            Wanted::Sub => Some(StreamKind::Sub),
        }
    }
}

/// Addresses of a live view.
#[derive(Serialize, ToSchema)]
struct LiveUrls {
    /// Name of the view: `cam_<camera>`, with `.main` or `.sub` when that stream was asked for.
    name: String,
    /// LL-HLS playlist.
    hls_url: String,
    /// WHEP without its token.
    webrtc_url: String,
    /// RTSP; empty when the port is off.
    rtsp_url: String,
    /// Opens all of these.
    token: String,
    /// WHEP with its token.
    whep_url: String,
    /// Fragmented MP4 over a WebSocket.
    ws_url: String,
    /// When the token expires; what it has opened goes on.
    #[schema(value_type = String, format = DateTime)]
    expires_at: WallTime,
    /// Whether a picture is there.
    ready: bool,
    /// Coding of the pictures, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    codec: Option<&'static str>,
    /// Width of the pictures, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    width: Option<u32>,
    /// Height of the pictures, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    height: Option<u32>,
    /// Why WebRTC cannot carry these pictures, once known: `b_frames` come in an order that it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    not_for_webrtc: Option<&'static str>,
    /// ICE servers for WebRTC.
    #[schema(value_type = Vec<Object>)]
    ice_servers: Value,
}

async fn entry(
    State(kernel): State<Api>,
    caller: Caller,
    client: Client,
    Camera(id): Camera,
    Query(which): Query<Which>,
) -> Result<Json<LiveUrls>, ApiError> {
    let camera = find(&kernel, &caller, &id).await?;
    let kind = which.stream.kind();
    let view = view(&kernel, &camera, kind)?;
    kernel.demand(&view.stream);
    let name = LiveName { camera: camera.id, kind };
    let (token, expires_at) = kernel.watching.tokens.issue(&name, &caller.principal().credential);
    let tracks = view.feed.bus().tracks().borrow().clone();
    let video = tracks.video();
    let base = base(&kernel, &client);
    let socket_base = base.replacen("http", "ws", 1);
    Ok(Json(LiveUrls {
        hls_url: format!("{base}/live/hls/{name}/index.m3u8?token={token}"),
        webrtc_url: format!("{base}/live/whep/{name}"),
        whep_url: format!("{base}/live/whep/{name}?token={token}"),
        ws_url: format!("{socket_base}/live/ws/{name}?token={token}"),
        rtsp_url: rtsp_url(&kernel, &client, &name, &token),
        name: name.to_string(),
        token,
        expires_at,
        ready: tracks.flows,
        codec: video.map(|video| video.codec.as_str()),
        width: video.map(|video| video.width),
        height: video.map(|video| video.height),
        not_for_webrtc: video.filter(|video| video.reorder_depth > 0).map(|_| "b_frames"),
        ice_servers: ice_servers(&kernel),
    }))
}

/// Base of absolute URLs, without a slash at its end.
pub(super) fn base(kernel: &Kernel, client: &Client) -> String {
    if kernel.settings.live.same_origin {
        return String::new();
    }
    if let Some(url) = &kernel.settings.api.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let scheme = match client.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    client.host.as_ref().map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

fn rtsp_url(kernel: &Kernel, client: &Client, name: &LiveName, token: &str) -> String {
    let Some(port) = kernel.watching.rtsp_port() else { return String::new() };
    let public = kernel.settings.api.public_url.as_ref().and_then(|url| url.host_str()).map(str::to_owned);
    let host = public.or_else(|| client.host.as_deref().map(|host| without_port(host).to_owned()));
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    format!("rtsp://{host}:{port}/{name}?token={token}")
}

/// A host without its port; the brackets of an IPv6 address stay.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => {
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

/// What the configuration says, which is a JSON array.
pub(super) fn ice_servers(kernel: &Kernel) -> Value {
    let servers = kernel.settings.live.ice_servers.as_ref();
    let servers = servers.and_then(|text| serde_json::from_str(text.expose()).ok());
    servers.unwrap_or_else(|| Value::Array(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_ports() {
        for (host, expect) in [
            ("nvr", "nvr"),
            ("nvr:8000", "nvr"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]:8000", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), expect);
        }
    }
}
