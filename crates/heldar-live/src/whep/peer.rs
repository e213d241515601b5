//! The WebRTC machine of one session, set up from an offer.
//!
//! Owns: how str0m is configured: ICE-lite, one certificate for all, RTP packets made here, bounded buffers. Never: a socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heldar_media::g711::{self, Law};
use heldar_media::{AccessUnit, VideoCodec};
use str0m::config::{DtlsCert, Fingerprint};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::rtp::{Extension, RtpWrite, SeqNo, Ssrc};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::OfferError;
use super::answer::{self, Local, Match, SoundCodec};
use super::offer::{Offer, Section, Transport};
use crate::bus::Tracks;

/// Packets kept for retransmission: at most 460 kB, of one second at 3.7 Mbit/s.
const KEPT_PACKETS: usize = 400;
/// How long they are of use.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// Share of retransmissions beyond which they are given up: then a sync sample is the better repair.
const REPAIR_SHARE: f32 = 0.3;
/// How often the viewer's reports are summed up.
const REPORTS: Duration = Duration::from_secs(2);
/// Datagrams longer than this are worth a warning.
const MTU: std::ops::RangeInclusive<usize> = 1150..=1280;

/// Numbers of packets of one kind.
#[derive(Debug)]
struct Numbers {
    ssrc: Ssrc,
    next: u64,
    /// What RTP times begin at.
    offset: u32,
}

/// The machine of one session.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) rtc: Rtc,
    agreed: Match,
    pictures: Numbers,
    sound: Option<Numbers>,
}

/// What a peer is made from.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) offer: &'a Offer,
    pub(super) agreed: &'a Match,
    /// Whether sound is sent.
    pub(super) has_sound: bool,
    pub(super) creds: IceCreds,
    pub(super) certificate: &'a DtlsCert,
    pub(super) addresses: &'a [SocketAddr],
    /// Random numbers: SSRCs, beginnings of numbers and times.
    pub(super) seed: [u8; 28],
}

impl Plan<'_> {
    /// Sets the machine up, and tells what to answer.
    ///
    /// # Errors
    /// [`OfferError::Malformed`] when the offer lacks what a connection needs.
    pub(super) fn build(self, now: Instant) -> Result<(Peer, Local), OfferError> {
        let section = &self.offer.sections[self.agreed.video];
        let viewer = Viewer::read(&self.offer.transport(section))?;
        let mut rtc = self.config(section).build(now);
        let candidates: Vec<String> = self
            .addresses
            .iter()
            .filter_map(|address| Candidate::host(*address, "udp").ok())
            .filter_map(|candidate| rtc.add_local_candidate(candidate).map(Candidate::to_sdp_string))
            .collect();
        for line in &section.candidates {
            add_candidate(&mut rtc, line);
        }
        let fingerprint = connect(&mut rtc, &viewer)?;
        let (pictures, repair, sound) = self.declare(&mut rtc, section);
        let local = Local {
            transport: Transport {
                ufrag: Some(self.creds.ufrag.clone()),
                password: Some(self.creds.pass.clone()),
                fingerprint: Some(fingerprint),
                setup: Some(if viewer.is_passive { "active" } else { "passive" }.to_owned()),
            },
            candidates,
            picture_ssrcs: (*pictures.ssrc, repair.map(|ssrc| *ssrc)),
            sound_ssrc: sound.as_ref().map(|numbers| *numbers.ssrc),
            session: u64::from(self.words()[0]) << 32 | u64::from(self.words()[1]),
        };
        Ok((Peer { rtc, agreed: self.agreed.clone(), pictures, sound }, local))
    }

    fn config(&self, section: &Section) -> RtcConfig {
        let mut config = Rtc::builder()
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_local_ice_credentials(self.creds.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_stats_interval(Some(REPORTS))
            .set_mtu(MTU)
            .clear_codecs()
            .clear_extension_map();
        for (number, uri) in answer::extensions(section) {
            let extension = match uri {
                answer::MID_URI => Extension::RtpMid,
                _ => Extension::AbsoluteSendTime,
            };
            config = config.set_extension(number, extension);
        }
        let codecs = config.codec_config();
        for (codec, payload) in &self.agreed.pictures {
            let codec = match codec {
                VideoCodec::H264 => Codec::H264,
                VideoCodec::H265 => Codec::H265,
            };
            let (number, repair) = (payload.number.into(), payload.repair.map(Pt::from));
            codecs.add_config(number, repair, codec, Frequency::NINETY_KHZ, None, FormatParams::default());
        }
        for (codec, payload) in self.agreed.sound.iter().flat_map(|sound| &sound.payloads) {
            let (codec, rate, channels) = match codec {
                SoundCodec::Opus => (Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2)),
                SoundCodec::G711(Law::Mu) => (Codec::PCMU, Frequency::EIGHT_KHZ, None),
                SoundCodec::G711(Law::A) => (Codec::PCMA, Frequency::EIGHT_KHZ, None),
            };
            codecs.add_config(payload.number.into(), None, codec, rate, channels, FormatParams::default());
        }
        config
    }

    fn words(&self) -> [u32; 7] {
        let mut words = [0; 7];
        for (word, bytes) in words.iter_mut().zip(self.seed.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        words
    }

    /// Declares what is sent: pictures, where they are repaired, sound.
    fn declare(&self, rtc: &mut Rtc, section: &Section) -> (Numbers, Option<Ssrc>, Option<Numbers>) {
        let [_, _, a, b, c, number, offset] = self.words();
        // Distinct, and never 0, which stands for probes.
        let [picture, repair, sound] = [a << 2 | 1, b << 2 | 2, c << 2 | 3].map(Ssrc::from);
        // Numbers begin low enough for the rollover counter to begin at 0 (RFC 3711 3.3.1).
        let next = u64::from(number & 0x7fff);
        let mut api = rtc.direct_api();
        let is_repaired = self.agreed.pictures.iter().any(|(_, payload)| payload.repair.is_some());
        let repair = is_repaired.then_some(repair);
        let mid = mid_of(section, "video");
        api.declare_media(mid, MediaKind::Video);
        let stream = api.declare_stream_tx(picture, repair, mid, None);
        stream.set_rtx_cache(KEPT_PACKETS, KEPT_FOR, Some(REPAIR_SHARE));
        let pictures = Numbers { ssrc: picture, next, offset };
        let section = self
            .agreed
            .sound
            .as_ref()
            .filter(|_| self.has_sound)
            .map(|sound| &self.offer.sections[sound.section]);
        let sound = section.map(|section| {
            let mid = mid_of(section, "audio");
            api.declare_media(mid, MediaKind::Audio);
            api.declare_stream_tx(sound, None, mid, None);
            Numbers { ssrc: sound, next, offset }
        });
        (pictures, repair, sound)
    }
}

impl Peer {
    /// Whether pictures of a codec can be sent.
    pub(super) fn takes(&self, codec: VideoCodec) -> bool {
        self.agreed.picture(codec).is_some()
    }

    /// Whether sound is sent.
    pub(super) fn has_sound(&self) -> bool {
        self.sound.is_some()
    }

    /// Sends a packet of a picture.
    pub(super) fn write_picture(&mut self, packet: super::outbox::Packet, captured: Instant) {
        let Some(payload) = self.agreed.picture(packet.codec) else { return };
        let number = payload.number;
        let (sequence, time) = self.pictures.take(packet.ticks);
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx(&self.pictures.ssrc) {
            let write = RtpWrite::new(number.into(), sequence, time, captured, packet.payload);
            stream.write_rtp(write.marker(packet.is_last).nackable(true));
        }
    }

    /// Nothing sent so far is sent once more: it belongs to a stream that is no longer shown.
    pub(super) fn forget_pictures(&mut self) {
        if let Some(stream) = self.rtc.direct_api().stream_tx(&self.pictures.ssrc) {
            stream.set_rtx_cache(KEPT_PACKETS, KEPT_FOR, Some(REPAIR_SHARE));
        }
    }

    /// How the sound of a stream is sent, if it is.
    pub(super) fn sound_codec(&self, tracks: &Tracks) -> Option<SoundCodec> {
        self.sound.as_ref()?;
        self.agreed.sound.as_ref()?.codec(tracks)
    }

    /// Sends a frame of sound, as the camera sent it where that was agreed on. `ticks` are at 48 kHz.
    pub(super) fn write_sound(&mut self, ticks: i64, captured: Instant, unit: &AccessUnit) {
        let (Some(numbers), Some(sound)) = (&mut self.sound, &self.agreed.sound) else { return };
        let original = unit.original.as_ref().and_then(|original| {
            let payload = sound.payload(SoundCodec::G711(original.law))?;
            Some((payload, ticks / (48_000 / i64::from(g711::SAMPLE_RATE)), &original.samples))
        });
        let converted = || Some((sound.payload(SoundCodec::Opus)?, ticks, &unit.payload));
        let Some((payload, ticks, frame)) = original.or_else(converted) else { return };
        let (sequence, time) = numbers.take(ticks);
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx(&numbers.ssrc) {
            stream.write_rtp(RtpWrite::new(payload.number.into(), sequence, time, captured, &frame[..]));
        }
    }
}

impl Numbers {
    fn take(&mut self, ticks: i64) -> (SeqNo, u32) {
        let sequence = self.next.into();
        self.next += 1;
        // RTP times go round (RFC 3550 5.1).
        (sequence, self.offset.wrapping_add(ticks as u32))
    }
}

/// What a connection needs to know of the viewer.
struct Viewer {
    creds: IceCreds,
    fingerprint: Fingerprint,
    is_passive: bool,
}

impl Viewer {
    fn read(transport: &Transport) -> Result<Viewer, OfferError> {
        let malformed = |reason: &str| OfferError::Malformed(reason.to_owned());
        let (Some(ufrag), Some(pass)) = (&transport.ufrag, &transport.password) else {
            return Err(malformed("a=ice-ufrag or a=ice-pwd is missing"));
        };
        let text = transport.fingerprint.as_ref().ok_or_else(|| malformed("a=fingerprint is missing"))?;
        let fingerprint: Fingerprint = text.parse().map_err(|_| malformed("a=fingerprint cannot be read"))?;
        let is_known =
            ["sha-256", "sha-1"].iter().any(|name| fingerprint.hash_func.eq_ignore_ascii_case(name));
        if !is_known {
            return Err(malformed("a=fingerprint is of an unknown kind"));
        }
        let is_passive = match transport.setup.as_deref() {
            Some("passive") => true,
            Some("actpass" | "active") | None => false,
            Some(_) => return Err(malformed("a=setup cannot be answered")),
        };
        Ok(Viewer { creds: IceCreds { ufrag: ufrag.clone(), pass: pass.clone() }, fingerprint, is_passive })
    }
}

/// Makes the machine ready for its viewer; tells its own fingerprint.
fn connect(rtc: &mut Rtc, viewer: &Viewer) -> Result<String, OfferError> {
    let mut api = rtc.direct_api();
    api.set_ice_controlling(false);
    api.set_remote_ice_credentials(viewer.creds.clone());
    api.set_remote_fingerprint(viewer.fingerprint.clone());
    let fingerprint = api.local_dtls_fingerprint().to_string();
    // Active only where the viewer insists on waiting (RFC 5763 5).
    api.start_dtls(viewer.is_passive).map_err(|error| OfferError::Malformed(error.to_string()))?;
    Ok(fingerprint)
}

/// Takes a candidate of the viewer. Names that only the viewer's network knows, and TCP, are of no use here; an ICE-lite
/// side hears from where the viewer checks anyway.
pub(super) fn add_candidate(rtc: &mut Rtc, line: &str) {
    let is_udp =
        line.split_ascii_whitespace().nth(2).is_some_and(|protocol| protocol.eq_ignore_ascii_case("udp"));
    if let Some(candidate) =
        is_udp.then(|| Candidate::from_sdp_string(&format!("candidate:{line}")).ok()).flatten()
    {
        rtc.add_remote_candidate(candidate);
    }
}

/// The name of a section as str0m keeps it; offers without names have but one section of a kind.
fn mid_of(section: &Section, otherwise: &str) -> Mid {
    let mut name = [b' '; 16];
    let mid = section.mid.as_deref().unwrap_or(otherwise).as_bytes();
    let len = mid.len().min(name.len());
    name[..len].copy_from_slice(&mid[..len]);
    Mid::from_array(name)
}
