//! One RTSP session with a camera.
//!
//! Owns: connecting, choosing tracks and transport, and turning what the RTSP library yields into [`Item`]s. The same
//! client serves recorder, stream test and live view, so that they agree. A track that cannot be carried is left out and
//! named; it never stops the video. A damaged packet is skipped and counted; a session ends only when the library can go
//! no further.
//! Never: maps time, assembles segments, retries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use heldar_base::{ReasonClass, Secret, WallTime};
use heldar_media::VideoCodec;
use retina::client::{
    Credentials, Demuxed, Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions,
    Session, SessionGroup, SessionOptions, SetupOptions, Transport, UnknownRtcpSsrcPolicy,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef};

use crate::SessionError;

/// Longest time for each of connect, DESCRIBE, SETUP and PLAY.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Damaged packets in a row after which a session is given up.
const MAX_DAMAGED: u32 = 200;

/// How RTP is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportPolicy {
    /// TCP first, UDP if the camera cannot.
    Auto,
    /// Interleaved in the RTSP connection.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where a stream comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `rtsp://host[:port]/path`, without userinfo.
    pub url: url::Url,
    /// Name for the camera, where it asks.
    pub username: Option<String>,
    /// Password for it.
    pub password: Option<Secret<String>>,
    /// How RTP is carried.
    pub transport: TransportPolicy,
}

/// What a session carries RTP over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportUsed {
    /// Interleaved in the RTSP connection.
    Tcp,
    /// Datagrams.
    Udp,
}

impl TransportUsed {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            TransportUsed::Tcp => "tcp",
            TransportUsed::Udp => "udp",
        }
    }
}

/// Coding of an audio track as the camera sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioSource {
    /// AAC, carried as it is.
    Aac,
    /// G.711 µ-law, to be converted.
    Pcmu,
    /// G.711 A-law, to be converted.
    Pcma,
}

/// A track that the camera offers and that is not carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// `video`, `audio` or `application`.
    pub media: String,
    /// The camera's name for its coding.
    pub encoding: String,
}

/// Raw codec configuration as the library knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawParams {
    /// Body of an `avcC` box.
    H264(Vec<u8>),
    /// Body of an `hvcC` box.
    H265(Vec<u8>),
}

/// One thing that a session yields.
#[derive(Debug)]
pub enum Item {
    /// A picture.
    Video {
        /// NAL units behind lengths of four bytes.
        data: Vec<u8>,
        /// RTP time, unrolled by the library.
        rtp_time: i64,
        /// When its last packet arrived.
        received: Instant,
        /// Parameters that hold from this picture on, when they changed with it.
        params: Option<RawParams>,
        /// Packets lost before it.
        lost: u16,
    },
    /// An audio frame.
    Audio {
        /// Coded bytes.
        data: Vec<u8>,
        /// RTP time.
        rtp_time: i64,
        /// When its last packet arrived.
        received: Instant,
        /// Packets lost before it.
        lost: u16,
    },
    /// A sender report of a track.
    SenderReport {
        /// Of the video track; else of the audio track.
        video: bool,
        /// RTP time of the report, modulo 2^32.
        rtp_time: u32,
        /// The same instant by the camera's clock.
        ntp: WallTime,
        /// When the report arrived.
        received: Instant,
    },
    /// A packet that made no sense was skipped.
    Damaged,
}

/// A session that is playing.
pub struct RtspSession {
    demuxed: Demuxed,
    video: usize,
    audio: Option<usize>,
    /// What it carries RTP over.
    pub transport: TransportUsed,
    /// Coding of its pictures.
    pub video_codec: VideoCodec,
    /// RTP clock rate of the video track.
    pub video_clock_rate: u32,
    /// Video parameters known from the session description.
    pub video_params: Option<RawParams>,
    /// The audio track.
    pub audio_track: Option<AudioTrack>,
    /// Tracks that are not carried.
    pub left_out: Vec<LeftOut>,
    /// Frame rate that the session description claims.
    pub frame_rate: Option<f32>,
    damaged_in_row: u32,
}

/// The audio track of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioTrack {
    /// Its coding.
    pub source: AudioSource,
    /// RTP clock rate.
    pub clock_rate: u32,
    /// Channels.
    pub channels: u8,
    /// AudioSpecificConfig for AAC, else empty.
    pub config: Vec<u8>,
}

impl std::fmt::Debug for RtspSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtspSession").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// Decides whether an address may be connected to.
pub trait AddressGuard: Send + Sync {
    /// True when a camera may be at this address and port.
    fn allows(&self, address: SocketAddr) -> bool;
}

/// Connects to a camera and starts its stream.
///
/// # Errors
/// Classified; credentials never appear in the detail.
pub async fn connect(
    source: &Source,
    group: &Arc<SessionGroup>,
    guard: &dyn AddressGuard,
) -> Result<RtspSession, SessionError> {
    let url = checked_url(&source.url, guard).await?;
    let first = match source.transport {
        TransportPolicy::Auto | TransportPolicy::Tcp => TransportUsed::Tcp,
        TransportPolicy::Udp => TransportUsed::Udp,
    };
    match open(&url, source, group, first).await {
        // RFC 2326 11.3.7: 461 Unsupported transport.
        Err((error, Some(461))) if source.transport == TransportPolicy::Auto => {
            tracing::debug!(%error, "camera refuses TCP, trying UDP");
            open(&url, source, group, TransportUsed::Udp).await
        }
        outcome => outcome,
    }
    .map_err(|(error, _)| error)
}

/// Resolves the host once, checks every answer, and puts the checked address into the URL.
async fn checked_url(url: &url::Url, guard: &dyn AddressGuard) -> Result<url::Url, SessionError> {
    let refuse = || SessionError::new(ReasonClass::Config, "the stream address is not allowed for cameras");
    if url.scheme() != "rtsp" {
        let text = format!("stream addresses with `{}://` cannot be pulled by this build", url.scheme());
        return Err(SessionError::new(ReasonClass::Config, text));
    }
    let port = url.port().unwrap_or(554);
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(url::Host::Ipv4(ip)) => vec![(ip, port).into()],
        Some(url::Host::Ipv6(ip)) => vec![(ip, port).into()],
        Some(url::Host::Domain(name)) => {
            let lookup = tokio::time::timeout(STEP_TIMEOUT, tokio::net::lookup_host((name, port)));
            match lookup.await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(_)) | Err(_) => {
                    return Err(SessionError::new(
                        ReasonClass::Unreachable,
                        "the camera's name could not be resolved",
                    ));
                }
            }
        }
        None => return Err(SessionError::new(ReasonClass::Config, "the stream address names no host")),
    };
    if addresses.is_empty() || addresses.iter().any(|address| !guard.allows(*address)) {
        return Err(refuse());
    }
    let mut checked = url.clone();
    // IPv4 first: many cameras answer AAAA by their router and listen on IPv4 alone.
    let chosen = addresses.iter().find(|a| a.is_ipv4()).or_else(|| addresses.first());
    let Some(chosen) = chosen else { return Err(refuse()) };
    checked.set_ip_host(chosen.ip()).map_err(|()| refuse())?;
    Ok(checked)
}

type Failure = (SessionError, Option<u16>);

fn failed(error: retina::Error) -> Failure {
    let status = error.status_code();
    (error.into(), status)
}

async fn step<T>(name: &str, step: impl Future<Output = Result<T, retina::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(STEP_TIMEOUT, step).await {
        Ok(outcome) => outcome.map_err(failed),
        Err(_) => {
            let text = format!("no answer to {name} within {} s", STEP_TIMEOUT.as_secs());
            Err((SessionError::new(ReasonClass::Timeout, text), None))
        }
    }
}

async fn open(
    url: &url::Url,
    source: &Source,
    group: &Arc<SessionGroup>,
    transport: TransportUsed,
) -> Result<RtspSession, Failure> {
    let credentials = source.username.clone().map(|username| Credentials {
        username,
        password: source.password.as_ref().map(|p| p.expose().clone()).unwrap_or_default(),
    });
    let options = SessionOptions::default()
        .creds(credentials)
        .user_agent("Heldar".to_owned())
        .session_group(group.clone());
    let mut session = step("DESCRIBE", Session::describe(url.clone(), options)).await?;
    let tracks = Tracks::choose(&session)?;
    step("SETUP", session.setup(tracks.video, setup(transport))).await?;
    let mut audio = tracks.audio.clone();
    let mut left_out = tracks.left_out;
    if let Some((index, _)) = &audio
        && let Err((error, _)) = step("SETUP", session.setup(*index, setup(transport))).await
    {
        tracing::debug!(%error, "audio track cannot be set up");
        left_out.push(LeftOut {
            media: "audio".to_owned(),
            encoding: session.streams()[*index].encoding_name().to_owned(),
        });
        audio = None;
    }
    let video = &session.streams()[tracks.video];
    let video_clock_rate = video.clock_rate_hz();
    let video_codec = if video.encoding_name() == "h265" { VideoCodec::H265 } else { VideoCodec::H264 };
    let frame_rate = video.framerate();
    let video_params = raw_params(video.parameters());
    let play = PlayOptions::default()
        .initial_timestamp(InitialTimestampPolicy::Permissive)
        // Many cameras announce a sequence number that they do not send.
        .initial_seq(InitialSequenceNumberPolicy::Ignore)
        .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::DropPackets);
    let playing = step("PLAY", session.play(play)).await?;
    let demuxed = playing.demuxed().map_err(failed)?;
    Ok(RtspSession {
        demuxed,
        video: tracks.video,
        audio: audio.as_ref().map(|(index, _)| *index),
        transport,
        video_codec,
        video_clock_rate,
        video_params,
        audio_track: audio.map(|(_, track)| track),
        left_out,
        frame_rate,
        damaged_in_row: 0,
    })
}

fn setup(transport: TransportUsed) -> SetupOptions {
    let transport = match transport {
        TransportUsed::Tcp => Transport::Tcp(retina::client::TcpTransportOptions::default()),
        TransportUsed::Udp => Transport::Udp(retina::client::UdpTransportOptions::default()),
    };
    SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4)
}

fn raw_params(params: Option<ParametersRef<'_>>) -> Option<RawParams> {
    match params {
        Some(ParametersRef::Video(video)) if video.rfc6381_codec().starts_with("avc") => {
            Some(RawParams::H264(video.extra_data().to_vec()))
        }
        Some(ParametersRef::Video(video)) => Some(RawParams::H265(video.extra_data().to_vec())),
        _ => None,
    }
}

struct Tracks {
    video: usize,
    audio: Option<(usize, AudioTrack)>,
    left_out: Vec<LeftOut>,
}

impl Tracks {
    fn choose(session: &Session<Described>) -> Result<Tracks, Failure> {
        let mut video = None;
        let mut audio = None;
        let mut left_out = Vec::new();
        for (index, stream) in session.streams().iter().enumerate() {
            let known = match (stream.media(), stream.encoding_name()) {
                ("video", "h264" | "h265") if video.is_none() => {
                    video = Some(index);
                    true
                }
                ("audio", encoding) if audio.is_none() => {
                    audio = audio_track(encoding, stream).map(|track| (index, track));
                    audio.is_some()
                }
                _ => false,
            };
            if !known {
                left_out.push(LeftOut {
                    media: stream.media().to_owned(),
                    encoding: stream.encoding_name().to_owned(),
                });
            }
        }
        let Some(video) = video else {
            let offered: Vec<&str> =
                session.streams().iter().map(retina::client::Stream::encoding_name).collect();
            let text =
                format!("the camera sends no H.264 or H.265 video (it offers: {})", offered.join(", "));
            return Err((SessionError::new(ReasonClass::Codec, text), None));
        };
        Ok(Tracks { video, audio, left_out })
    }
}

fn audio_track(encoding: &str, stream: &retina::client::Stream) -> Option<AudioTrack> {
    // A track without parameters would fail the whole session when it is demultiplexed.
    let Some(ParametersRef::Audio(params)) = stream.parameters() else { return None };
    let source = match encoding {
        "mpeg4-generic" | "mp4a-latm" => AudioSource::Aac,
        "pcmu" => AudioSource::Pcmu,
        "pcma" => AudioSource::Pcma,
        _ => return None,
    };
    let channels = u8::try_from(params.channels().get()).ok()?;
    let config = if source == AudioSource::Aac { params.extra_data().to_vec() } else { Vec::new() };
    Some(AudioTrack { source, clock_rate: params.clock_rate(), channels, config })
}

impl RtspSession {
    /// The next item; waits for it as long as it takes.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn next(&mut self) -> Result<Item, SessionError> {
        loop {
            let Some(outcome) = self.demuxed.next().await else {
                return Err(SessionError::new(ReasonClass::Closed, "the camera ended the session"));
            };
            let item = match outcome {
                Ok(item) => item,
                Err(error) => return self.damaged(error),
            };
            if let Some(item) = self.accept(item) {
                self.damaged_in_row = 0;
                return Ok(item);
            }
        }
    }

    /// The library reports a packet it cannot use as an error and goes on, unless the connection itself is broken.
    fn damaged(&mut self, error: retina::Error) -> Result<Item, SessionError> {
        let text = error.to_string();
        let about_a_packet = text.contains("\npkt: ") && error.status_code().is_none();
        self.damaged_in_row += 1;
        if !about_a_packet || self.damaged_in_row > MAX_DAMAGED {
            return Err(error.into());
        }
        tracing::debug!(error = %SessionError::from(error), "skipped a damaged packet");
        Ok(Item::Damaged)
    }

    fn accept(&mut self, item: CodecItem) -> Option<Item> {
        match item {
            CodecItem::VideoFrame(frame) if frame.stream_id() == self.video => {
                let params = frame
                    .has_new_parameters()
                    .then(|| raw_params(self.demuxed.streams()[self.video].parameters()))
                    .flatten();
                let rtp_time = frame.timestamp().timestamp();
                let received = frame.end_ctx().received();
                let lost = frame.loss();
                Some(Item::Video { data: frame.into_data(), rtp_time, received, params, lost })
            }
            CodecItem::AudioFrame(frame) if Some(frame.stream_id()) == self.audio => Some(Item::Audio {
                rtp_time: frame.timestamp().timestamp(),
                received: frame.ctx().received(),
                lost: frame.loss(),
                data: frame.data().to_vec(),
            }),
            CodecItem::Rtcp(packet) => {
                let video = packet.stream_id() == self.video;
                let report = packet.pkts().find_map(|p| p.as_sender_report().ok().flatten())?;
                let ntp = ntp_to_wall(report.ntp_timestamp().0)?;
                Some(Item::SenderReport {
                    video,
                    rtp_time: report.rtp_timestamp(),
                    ntp,
                    received: packet.ctx().received(),
                })
            }
            _ => None,
        }
    }
}

/// NTP time (RFC 3550 4: seconds since 1900 in 32.32 fixed point) as UTC; `None` for cameras that have no clock.
fn ntp_to_wall(ntp: u64) -> Option<WallTime> {
    /// Seconds from 1900 to 1970.
    const UNIX_EPOCH: i64 = 2_208_988_800;
    let seconds = i64::try_from(ntp >> 32).ok()? - UNIX_EPOCH;
    let micros = i64::try_from(((ntp & 0xffff_ffff) * 1_000_000) >> 32).ok()?;
    (seconds > 0).then_some(WallTime(seconds * 1_000_000 + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp() {
        assert_eq!(ntp_to_wall(0), None);
        assert_eq!(ntp_to_wall((2_208_988_801 << 32) | 0x8000_0000), Some(WallTime(1_500_000)));
    }
}
