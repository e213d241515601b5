//! WebRTC playback by WHEP: one UDP socket, one task per viewer, pictures as the camera codes them.
//!
//! Owns: sessions from the offer to their end, the socket they share and the certificate of this process. Never: a route,
//! a right, an encoder; a stream that a viewer cannot decode is refused with what the camera sends. Contract: no text and no
//! datagram reaches a panic; a session holds less than 1 MiB of its own.

mod answer;
mod backlog;
mod judge;
mod offer;
mod outbox;
mod payload;
mod peer;
mod session;
mod socket;
mod stun;
mod table;
#[cfg(test)]
mod tests;
mod timeline;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use heldar_media::{VideoCodec, VideoParams};
use str0m::IceCreds;
use str0m::config::DtlsCert;
use tokio::task::JoinHandle;

use self::answer::{Match, SoundCodec};
use self::offer::{Offer, Payload, Section, Trickle};
use self::peer::Plan;
use self::session::{Parts, Session};
use self::socket::{Socket, host_addresses};
use self::table::{Mail, Names, Table};
use crate::bus::Bus;
use crate::viewers::Seat;

/// Sessions at a time, unless configured otherwise.
const MAX_SESSIONS: usize = 256;
/// Longest series of datagrams that the kernel hands over at once.
const RECEIVE_BUFFER: usize = 65_535;
/// After an error of the socket it is left alone for so long.
const RECOVER: Duration = Duration::from_millis(50);

/// How viewers reach this machine.
#[derive(Clone, Debug)]
pub struct WebRtcConfig {
    /// Address and port of the socket; port 0 takes any.
    pub bind: SocketAddr,
    /// Addresses under which viewers reach it; without any those of this machine's interfaces are told.
    pub public_addresses: Vec<IpAddr>,
    /// Sessions at a time.
    pub max_sessions: usize,
}

impl WebRtcConfig {
    /// On an address, with defaults for the rest.
    pub fn new(bind: SocketAddr) -> Self {
        WebRtcConfig { bind, public_addresses: Vec::new(), max_sessions: MAX_SESSIONS }
    }
}

/// The streams of one camera, the one that the viewer wants first.
#[derive(Clone, Debug)]
pub struct Feeds {
    /// What is sent, if the viewer can play it.
    pub wanted: Bus,
    /// What is sent otherwise, and while the viewer's path is too narrow.
    pub other: Option<Bus>,
}

/// Which of a camera's streams is sent at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one that the viewer wants.
    Wanted,
    /// The other one, since the viewer cannot play the first.
    Other,
}

/// A session that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Names the session: 32 hexadecimal digits that nobody can guess.
    pub resource: String,
    /// Version of its description, in quotes as the header `ETag` has it.
    pub etag: String,
    /// The answer, `application/sdp`.
    pub sdp: String,
    /// Coding of the pictures, as the API names it.
    pub video: &'static str,
    /// Coding of the sound, if any is sent.
    pub audio: Option<&'static str>,
}

/// Why an offer is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// It is no offer that could be answered.
    #[error("the offer cannot be answered: {0}")]
    Malformed(String),
    /// The camera has sent no picture yet.
    #[error("the camera has sent no picture yet")]
    NoPicture,
    /// The viewer cannot play what the camera sends.
    #[error("the viewer cannot play what the camera sends: {sends}")]
    NotPlayable {
        /// Such as `hevc` or `h264 with B-frames`.
        sends: String,
    },
    /// There are as many sessions as may be, all with a viewer, or the machine cannot open another now.
    #[error("there are too many sessions")]
    Busy,
}

/// Why a fragment is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// There is no such session.
    #[error("there is no such session")]
    Unknown,
    /// `If-Match` is missing.
    #[error("If-Match is missing")]
    EtagMissing,
    /// `If-Match` names another version.
    #[error("If-Match names another version")]
    EtagDiffers,
    /// It is no fragment of a session description.
    #[error("not a fragment of a session description")]
    Malformed,
    /// It asks for a restart of ICE.
    #[error("a restart of ICE is not supported")]
    RestartUnsupported,
}

/// WebRTC playback; clones share it. All sessions end with the last clone.
#[derive(Clone, Debug)]
pub struct WebRtc {
    server: Arc<Server>,
}

#[derive(Debug)]
struct Server {
    socket: Arc<Socket>,
    table: Table,
    public_addresses: Vec<IpAddr>,
    certificate: &'static DtlsCert,
    reader: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.reader.abort();
        self.table.end_all();
    }
}

impl WebRtc {
    /// Binds the socket and starts to read it. To be called on a runtime.
    ///
    /// # Errors
    /// Those of the socket, and of making a certificate.
    pub fn bind(config: WebRtcConfig) -> io::Result<WebRtc> {
        let certificate = certificate().ok_or_else(|| io::Error::other("no certificate can be made"))?;
        let socket = Arc::new(Socket::bind(config.bind)?);
        let table = Table::new(config.max_sessions);
        let reader = tokio::spawn(read(socket.clone(), table.clone()));
        let public_addresses = config.public_addresses;
        Ok(WebRtc { server: Arc::new(Server { socket, table, public_addresses, certificate, reader }) })
    }

    /// The address the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.socket.local()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.server.table.len()
    }

    /// Opens a session for an offer; `seat` admits its viewer to the stream that is sent. To be called on a runtime, and
    /// when the stream is known to have brought a picture.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn answer(
        &self,
        offer: &str,
        feeds: Feeds,
        seat: impl FnOnce(Choice) -> Seat,
    ) -> Result<Answer, OfferError> {
        let offer = Offer::parse(offer)?;
        let video = answer::video_section(&offer)
            .ok_or_else(|| OfferError::Malformed("it asks for no pictures".to_owned()))?;
        let chosen = Chosen::of(&offer.sections[video], feeds)?;
        let agreed = chosen.agree(&offer, video);
        if agreed.sections().any(|at| !offer.sections[at].muxes_rtcp) {
            let reason = "a=rtcp-mux is missing: RTP and RTCP come on one port here";
            return Err(OfferError::Malformed(reason.to_owned()));
        }
        let audio = agreed.sound.as_ref().and_then(|sound| sound.codec(&chosen.bus.tracks().borrow()));
        let now = Instant::now();
        let server = &self.server;
        let addresses = host_addresses(server.socket.local(), &server.public_addresses);
        let creds = IceCreds { ufrag: token()?, pass: token()? };
        let names = Names {
            resource: token()?,
            etag: format!("\"{}\"", token()?),
            ufrag: creds.ufrag.clone(),
            viewer: offer.transport(&offer.sections[video]).ufrag.unwrap_or_default(),
        };
        let (certificate, seed) = (server.certificate, random::<28>()?);
        let plan = Plan {
            offer: &offer,
            agreed: &agreed,
            has_sound: audio.is_some(),
            creds,
            certificate,
            addresses: &addresses,
            seed,
        };
        let (peer, local) = plan.build(now)?;
        let (resource, etag) = (names.resource.clone(), names.etag.clone());
        let ticket = server.table.open(names).ok_or(OfferError::Busy)?;
        let audio = audio.map(SoundCodec::as_str);
        let seat = seat(chosen.choice);
        seat.audio(audio);
        let sdp = answer::write(&offer, &agreed, &local);
        let video = chosen.params.codec.as_str();
        let Chosen { bus, other, .. } = chosen;
        let parts = Parts { peer, ticket, seat, socket: server.socket.clone(), addresses, bus, other };
        tokio::spawn(Box::pin(Session::new(parts, now).run()));
        Ok(Answer { resource, etag, sdp, video, audio })
    }

    /// Takes candidates that the viewer found after its offer (RFC 8840). `if_match` is the header of that name.
    ///
    /// # Errors
    /// See [`PatchError`].
    pub fn patch(&self, resource: &str, if_match: Option<&str>, fragment: &str) -> Result<(), PatchError> {
        let session = self.server.table.find(resource).ok_or(PatchError::Unknown)?;
        let if_match = if_match.ok_or(PatchError::EtagMissing)?;
        let trickle = Trickle::parse(fragment).ok_or(PatchError::Malformed)?;
        // A restart comes with `*`, since it makes a new version.
        if trickle.ufrag.is_some_and(|ufrag| ufrag != session.viewer) {
            return Err(PatchError::RestartUnsupported);
        }
        let is_same = |tag: &str| tag.trim() == "*" || tag.trim() == session.etag;
        if !if_match.split(',').any(is_same) {
            return Err(PatchError::EtagDiffers);
        }
        if !trickle.candidates.is_empty() {
            // reason: a session that is flooded does without: it hears from where its viewer checks.
            let _ = session.mailbox.try_send(Mail::Candidates(trickle.candidates));
        }
        Ok(())
    }

    /// Ends a session; tells whether there was one.
    pub fn end(&self, resource: &str) -> bool {
        self.server.table.end(resource)
    }
}

/// Reads the socket until it is aborted.
async fn read(socket: Arc<Socket>, table: Table) {
    let mut buffer = vec![0; RECEIVE_BUFFER];
    loop {
        let received =
            socket.receive(&mut buffer, |route, datagram| table.deliver(Instant::now(), route, datagram));
        if let Err(error) = received.await {
            // Such as a datagram that was answered with "unreachable": no reason to stop, but never to spin.
            tracing::debug!(%error, "the WebRTC socket fails");
            tokio::time::sleep(RECOVER).await;
        }
    }
}

/// The stream that is sent, and how.
#[derive(Debug)]
struct Chosen {
    choice: Choice,
    bus: Bus,
    other: Option<Bus>,
    params: VideoParams,
    payload: Payload,
}

impl Chosen {
    /// The wanted stream if the viewer can play it, else the other one.
    fn of(section: &Section, feeds: Feeds) -> Result<Chosen, OfferError> {
        let Feeds { wanted, other } = feeds;
        let playable = |bus: &Bus| {
            let params = bus.tracks().borrow().video().cloned()?;
            let payload = answer::best(section, &params).filter(|_| params.reorder_depth == 0)?;
            Some((params, payload))
        };
        if let Some((params, payload)) = playable(&wanted) {
            return Ok(Chosen { choice: Choice::Wanted, bus: wanted, other, params, payload });
        }
        if let Some(bus) = other
            && let Some((params, payload)) = playable(&bus)
        {
            return Ok(Chosen { choice: Choice::Other, bus, other: Some(wanted), params, payload });
        }
        let tracks = wanted.tracks();
        let tracks = tracks.borrow();
        let params = tracks.video().ok_or(OfferError::NoPicture)?;
        let order = if params.reorder_depth > 0 { " with B-frames" } else { "" };
        Err(OfferError::NotPlayable { sends: format!("{}{order}", params.codec.as_str()) })
    }

    /// What both sides can do. The codec that the other stream may need is kept at hand.
    fn agree(&self, offer: &Offer, video: usize) -> Match {
        let codec = self.params.codec;
        let mut pictures = vec![(codec, self.payload.clone())];
        let spare = match codec {
            VideoCodec::H264 => VideoCodec::H265,
            VideoCodec::H265 => VideoCodec::H264,
        };
        if let Some(other) = &self.other {
            // Not seen yet means an ordinary one: 8 bits per sample, constrained baseline.
            let ordinary = VideoParams { codec: spare, config: bytes::Bytes::new(), ..self.params.clone() };
            let params = other.tracks().borrow().video().filter(|video| video.codec == spare).cloned();
            let payload = answer::best(&offer.sections[video], &params.unwrap_or(ordinary));
            pictures.extend(payload.map(|payload| (spare, payload)));
        }
        let is_taken = |number: u8| {
            pictures.iter().any(|(_, payload)| payload.number == number || payload.repair == Some(number))
        };
        let mut sound = answer::sound(offer, video, self.bus.tracks().borrow().law);
        if let Some(sound) = &mut sound {
            sound.payloads.retain(|(_, payload)| !is_taken(payload.number));
        }
        let sound = sound.filter(|sound| !sound.payloads.is_empty());
        Match { video, pictures, sound }
    }
}

/// The certificate of this process: making one takes longer than all the rest of opening a session.
fn certificate() -> Option<&'static DtlsCert> {
    static CERTIFICATE: OnceLock<Option<DtlsCert>> = OnceLock::new();
    let make = || str0m::crypto::from_feature_flags().dtls_provider.generate_certificate();
    CERTIFICATE.get_or_init(make).as_ref()
}

/// 128 random bits in hexadecimal digits, which are letters of ICE (RFC 8839 5.4) and of URLs.
fn token() -> Result<String, OfferError> {
    Ok(random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Random bytes, which a system that has booted always has.
fn random<const N: usize>() -> Result<[u8; N], OfferError> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            tracing::error!(%error, "the operating system gives no random numbers");
            Err(OfferError::Busy)
        }
    }
}
