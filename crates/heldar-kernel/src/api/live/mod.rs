//! Live view (media.md 11): where to watch a camera, and the transports that go over HTTP.

mod entry;
mod hls;
mod sessions;
mod socket;
mod whep;

use heldar_base::{CameraId, Clock as _, Interval, StreamId, StreamKind};
use heldar_http::{ApiError, AuthorisedBy, Caller, Client, Code, RouteTable};
use heldar_live::{Bus, Newcomer, Seat, Tracks, Transport};
use heldar_media::VideoCodec;
use heldar_store::Camera;
use serde::Deserialize;
use utoipa::IntoParams;

use super::requester::Requester;
use super::{Api, errors};
use crate::accounts::Standing;
use crate::kernel::Kernel;
use crate::live::{LiveName, NotWatchable, TokenFault, View, Watching, is_private};
use crate::reads::Read;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    entry::routes(table);
    sessions::routes(table);
    socket::routes(table);
    whep::routes(table);
    hls::routes(table);
}

/// What every transport takes in its query.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
struct Ticket {
    /// A live token for this very path, instead of another credential.
    token: Option<String>,
    /// What the viewer plays: `h264`, `hevc`, or both with a comma between. Where the stream is of another coding, the
    /// camera's other stream is taken if it fits.
    codec: Option<String>,
}

impl Ticket {
    /// Whether the viewer plays a coding; one that says nothing plays all.
    fn plays(&self, codec: VideoCodec) -> bool {
        self.codec.as_deref().is_none_or(|list| {
            list.split(',').any(|word| match word.trim().to_ascii_lowercase().as_str() {
                "h264" | "avc" => codec == VideoCodec::H264,
                "h265" | "hevc" => codec == VideoCodec::H265,
                _ => false,
            })
        })
    }
}

/// How long a viewer waits for a camera's first picture, where an answer cannot do without.
const FIRST_PICTURE: std::time::Duration = std::time::Duration::from_secs(30);

/// A camera that is in use.
async fn find(kernel: &Kernel, caller: &Caller, id: &CameraId) -> Result<Camera, ApiError> {
    let camera = kernel.store.camera(caller.scope(), id).await.map_err(errors::store)?;
    camera.filter(|camera| camera.removed_at.is_none()).ok_or_else(|| ApiError::not_found("camera"))
}

/// The streams behind a name.
fn view(kernel: &Kernel, camera: &Camera, kind: Option<StreamKind>) -> Result<View, ApiError> {
    kernel.view(camera, kind).map_err(|why| match why {
        NotWatchable::Disabled => ApiError::of(Code::CameraDisabled),
        NotWatchable::NoStreamUrl => ApiError::of(Code::NoStreamUrl),
    })
}

/// Decides whether a request may watch what it names, beyond what its route asks. A token that is sent must hold; and while
/// access control is off nobody watches from outside the private networks (auth-system.md 14).
fn admit(
    kernel: &Kernel,
    caller: &Caller,
    client: &Client,
    name: &LiveName,
    ticket: &Ticket,
) -> Result<(), ApiError> {
    if caller.authorised_by() == AuthorisedBy::OpenAccess && !is_private(client.address) {
        return Err(ApiError::open_access_refused());
    }
    match ticket.token.as_deref().map(|token| kernel.watching.tokens.check(token, name)) {
        None => Ok(()),
        Some(Ok(credential)) => {
            // Who comes with a credential of its own may show a token of another, which must hold too.
            match kernel.accounts.may_watch(&credential, client.address, &name.camera) {
                Standing::Holds(_) => Ok(()),
                Standing::CredentialEnded => Err(ApiError::invalid_credential()),
                Standing::RightEnded => Err(ApiError::out_of_scope()),
            }
        }
        Some(Err(TokenFault::Invalid | TokenFault::Expired(_))) => Err(ApiError::invalid_credential()),
    }
}

/// Somebody comes to watch: it is listed from now on, and the audit has a row.
fn take_in(
    kernel: &Kernel,
    who: &Requester,
    client: &Client,
    stream: &StreamId,
    transport: Transport,
) -> Seat {
    let now = kernel.clock.wall();
    kernel.read(&who.author, &stream.camera, Read::Live, Interval::new(now, now));
    kernel.watching.viewers.admit(Newcomer {
        id: Watching::viewer_id(),
        stream: stream.clone(),
        transport,
        principal: who.caller.principal().id.clone(),
        credential: who.caller.principal().credential.clone(),
        remote: client.address,
        at: now,
    })
}

/// Looks once more whether there is something to watch, once a viewer is listed.
fn still_runs(kernel: &Kernel, stream: &StreamId) -> Result<(), ApiError> {
    if kernel.still_runs(stream) { Ok(()) } else { Err(ApiError::of(Code::CameraDisabled)) }
}

/// What a stream carries; waits for its first picture.
async fn described(bus: &Bus) -> Result<Tracks, ApiError> {
    // Who waits counts as a viewer: the stream is not closed meanwhile.
    let _waiting = bus.follow();
    let mut tracks = bus.tracks();
    let known = tokio::time::timeout(FIRST_PICTURE, tracks.wait_for(|tracks| tracks.video.is_some())).await;
    match known {
        Ok(Ok(tracks)) => Ok(tracks.clone()),
        Ok(Err(_)) => Err(ApiError::not_found("camera")),
        Err(_elapsed) => {
            Err(ApiError::new(Code::Busy, "the camera has sent no picture yet; its health says why"))
        }
    }
}

/// The stream that a viewer gets: what it asked for if it plays that, else the camera's other stream.
async fn playable(
    kernel: &Kernel,
    view: View,
    plays: impl Fn(&Tracks) -> bool,
) -> Result<(StreamId, heldar_live::Feed), ApiError> {
    kernel.demand(&view.stream);
    let wanted = described(view.feed.bus()).await?;
    if plays(&wanted) {
        return Ok((view.stream, view.feed));
    }
    if let Some((stream, feed)) = view.other {
        kernel.demand(&stream);
        if described(feed.bus()).await.is_ok_and(|tracks| plays(&tracks)) {
            return Ok((stream, feed));
        }
    }
    Err(not_playable(&wanted))
}

/// 406 that names what the camera sends and what to set on it.
fn not_playable(tracks: &Tracks) -> ApiError {
    let sends = tracks.video().map_or("another coding", |video| match video.codec {
        VideoCodec::H264 if video.reorder_depth > 0 => "H.264 with B-frames",
        VideoCodec::H264 => "H.264",
        VideoCodec::H265 => "H.265",
    });
    let text = format!(
        "the camera sends {sends}, which this viewer cannot play; set one of its streams to H.264 without B-frames"
    );
    ApiError::new(Code::CodecNotPlayable, text)
}

/// The name in a path; the route's rule has found a camera in it.
fn name_in(path: &str) -> Result<LiveName, ApiError> {
    LiveName::parse(path).ok_or_else(|| ApiError::not_found("live view"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_viewer_plays() {
        let plays =
            |list: Option<&str>, codec| Ticket { codec: list.map(str::to_owned), token: None }.plays(codec);
        assert!(plays(None, VideoCodec::H265) && plays(None, VideoCodec::H264));
        assert!(plays(Some("h264"), VideoCodec::H264) && !plays(Some("h264"), VideoCodec::H265));
        assert!(plays(Some("vp8, HEVC"), VideoCodec::H265) && !plays(Some(""), VideoCodec::H264));
    }
}
