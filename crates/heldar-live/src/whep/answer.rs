//! What is answered to an offer: the payload types that are used, and the session description that says so.
//!
//! Owns: the match of codecs (RFC 6184 8.2.2, RFC 7798 7.2.2) and the text of answers (RFC 8829 5.3). Never: a socket or a
//! clock. Whatever the offer holds, an answer names each of its sections in its order.

use std::fmt::Write;

use heldar_media::g711::Law;
use heldar_media::{AudioCodec, VideoCodec, VideoParams};

use super::offer::{Offer, Payload, Section, Transport};
use crate::bus::Tracks;

/// URI of the header extension that carries `a=mid` (RFC 9143 15).
pub(super) const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// URI of the header extension by which viewers estimate their path.
pub(super) const SEND_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// Feedback that is answered: retransmission, requests for a sync sample, the viewer's estimate.
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "goog-remb"];
/// Profile of H.264 where an offer names none (RFC 6184 8.1).
const BASELINE: [u8; 2] = [66, 0];

/// What both sides can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Index of the section that carries pictures.
    pub(super) video: usize,
    /// Payload types for pictures; the first is used first.
    pub(super) pictures: Vec<(VideoCodec, Payload)>,
    /// What could carry sound.
    pub(super) sound: Option<Sound>,
}

/// The section that could carry sound, on the same path as the pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sound {
    /// Its index.
    pub(super) section: usize,
    /// Payload types; what the camera sends comes first.
    pub(super) payloads: Vec<(SoundCodec, Payload)>,
}

/// Codings of sound that viewers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SoundCodec {
    Opus,
    G711(Law),
}

impl SoundCodec {
    /// Its name, as viewers are listed with it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            SoundCodec::Opus => "opus",
            SoundCodec::G711(Law::Mu) => "pcmu",
            SoundCodec::G711(Law::A) => "pcma",
        }
    }

    /// How descriptions name it (RFC 7587 7, RFC 3551 6).
    fn coding(self) -> &'static str {
        match self {
            SoundCodec::Opus => "opus/48000/2",
            SoundCodec::G711(Law::Mu) => "PCMU/8000",
            SoundCodec::G711(Law::A) => "PCMA/8000",
        }
    }
}

impl Sound {
    /// The payload type for a codec.
    pub(super) fn payload(&self, codec: SoundCodec) -> Option<&Payload> {
        self.payloads.iter().find(|(known, _)| *known == codec).map(|(_, payload)| payload)
    }

    /// How the sound of a stream is sent. Only Opus and what became Opus can be.
    pub(super) fn codec(&self, tracks: &Tracks) -> Option<SoundCodec> {
        tracks.audio().filter(|audio| audio.codec == AudioCodec::Opus)?;
        let codecs = [tracks.law.map(SoundCodec::G711), Some(SoundCodec::Opus)];
        codecs.into_iter().flatten().find(|codec| self.payload(*codec).is_some())
    }
}

impl Match {
    /// The sections that are used.
    pub(super) fn sections(&self) -> impl Iterator<Item = usize> {
        [Some(self.video), self.sound.as_ref().map(|sound| sound.section)].into_iter().flatten()
    }

    /// The payload type for a codec.
    pub(super) fn picture(&self, codec: VideoCodec) -> Option<&Payload> {
        self.pictures.iter().find(|(known, _)| *known == codec).map(|(_, payload)| payload)
    }
}

/// The section that takes pictures: the first that has not been left out.
pub(super) fn video_section(offer: &Offer) -> Option<usize> {
    offer.sections.iter().position(|section| section.media == "video" && !section.is_off && section.receives)
}

/// The section that takes sound on the same path as the pictures: Opus, and G.711 as the camera sends it.
pub(super) fn sound(offer: &Offer, video: usize, law: Option<Law>) -> Option<Sound> {
    offer.sections.iter().enumerate().find_map(|(index, section)| {
        let shares_path = offer.is_bundled(section) && offer.is_bundled(&offer.sections[video]);
        if section.media != "audio" || section.is_off || !section.receives || !shares_path {
            return None;
        }
        let codecs = [law.map(SoundCodec::G711), Some(SoundCodec::Opus)];
        let payloads = codecs.into_iter().flatten().filter_map(|codec| {
            let is_it = |payload: &&Payload| payload.coding.eq_ignore_ascii_case(codec.coding());
            Some((codec, section.payloads.iter().find(is_it)?.clone()))
        });
        let payloads: Vec<_> = payloads.collect();
        (!payloads.is_empty()).then_some(Sound { section: index, payloads })
    })
}

/// The payload type of a section that fits a stream best.
pub(super) fn best(section: &Section, params: &VideoParams) -> Option<Payload> {
    match params.codec {
        VideoCodec::H264 => best_h264(section, params),
        VideoCodec::H265 => best_h265(section, params),
    }
}

/// Nearest profile at or above the stream's, else the nearest below: browsers decode what they did not offer.
fn best_h264(section: &Section, params: &VideoParams) -> Option<Payload> {
    let profile = match *params.config {
        [_, profile, constraints, ..] => [profile, constraints],
        _ => BASELINE,
    };
    let wanted = h264_rank(profile);
    let distance = |payload: &Payload| {
        let offered = payload.parameter("profile-level-id").map_or(Some(BASELINE), h264_profile)?;
        let rank = h264_rank(offered);
        Some(if rank >= wanted { rank - wanted } else { 10 + wanted - rank })
    };
    // Large pictures are only sent in fragments, which mode 0 forbids (RFC 6184 6.2).
    let usable = |payload: &&Payload| {
        payload.coding == "h264/90000" && payload.parameter("packetization-mode") == Some("1")
    };
    let ranked =
        section.payloads.iter().filter(usable).filter_map(|payload| Some((distance(payload)?, payload)));
    ranked.min_by_key(|(distance, _)| *distance).map(|(_, payload)| payload.clone())
}

fn h264_profile(level_id: &str) -> Option<[u8; 2]> {
    let [_, profile, constraints, _] = u32::from_str_radix(level_id, 16).ok()?.to_be_bytes();
    Some([profile, constraints])
}

/// Constrained baseline, baseline, main, high, and what is above.
fn h264_rank([profile, constraints]: [u8; 2]) -> u8 {
    match profile {
        66 if constraints & 0x40 != 0 => 0,
        66 => 1,
        77 => 2,
        100 => 3,
        _ => 4,
    }
}

/// A profile at or above the stream's: decoders of 8 bits per sample do not show 10.
fn best_h265(section: &Section, params: &VideoParams) -> Option<Payload> {
    let wanted = params.config.get(1).map_or(1, |byte| byte & 0x1f);
    let profile =
        |payload: &Payload| payload.parameter("profile-id").map_or(Some(1), |id| id.parse::<u8>().ok());
    let usable = section.payloads.iter().filter(|payload| payload.coding == "h265/90000");
    let ranked = usable.filter_map(|payload| Some((profile(payload)?.checked_sub(wanted)?, payload)));
    ranked.min_by_key(|(distance, _)| *distance).map(|(_, payload)| payload.clone())
}

/// The header extensions of a section that are used.
pub(super) fn extensions(section: &Section) -> impl Iterator<Item = (u8, &str)> {
    let known = |uri: &str| uri == MID_URI || uri == SEND_TIME_URI;
    section.extensions.iter().filter(move |(_, uri)| known(uri)).map(|(number, uri)| (*number, uri.as_str()))
}

/// What this side brings to an answer.
#[derive(Clone, Debug)]
pub(super) struct Local {
    /// ICE user name and password, fingerprint and role in DTLS.
    pub(super) transport: Transport,
    /// Lines of candidates, without `a=`.
    pub(super) candidates: Vec<String>,
    /// SSRC of pictures and of their retransmissions.
    pub(super) picture_ssrcs: (u32, Option<u32>),
    /// SSRC of the sound, if any is sent.
    pub(super) sound_ssrc: Option<u32>,
    /// Names the session.
    pub(super) session: u64,
}

/// Writes the answer.
pub(super) fn write(offer: &Offer, agreed: &Match, local: &Local) -> String {
    let mut out = String::with_capacity(4096);
    let used = |index: usize| agreed.sections().any(|at| at == index);
    line(&mut out, format_args!("v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0", local.session >> 2));
    let mids = offer
        .sections
        .iter()
        .enumerate()
        .filter(|(index, section)| used(*index) && offer.is_bundled(section));
    let mids: Vec<&str> = mids.filter_map(|(_, section)| section.mid.as_deref()).collect();
    if !mids.is_empty() {
        line(&mut out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }
    if offer.mixed_extensions {
        line(&mut out, format_args!("a=extmap-allow-mixed"));
    }
    line(&mut out, format_args!("a=msid-semantic: WMS heldar\r\na=ice-lite"));
    for (index, section) in offer.sections.iter().enumerate() {
        match &agreed.sound {
            _ if index == agreed.video => video(&mut out, section, agreed, local),
            Some(sound) if sound.section == index => audio(&mut out, section, sound, local),
            _ => refuse(&mut out, section),
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // reason: writing to a string cannot fail.
    let _ = out.write_fmt(text);
    out.push_str("\r\n");
}

/// A section that is not used (RFC 3264 6).
fn refuse(out: &mut String, section: &Section) {
    let formats = section.formats.join(" ");
    line(
        out,
        format_args!(
            "m={} 0 {} {formats}\r\nc=IN IP4 0.0.0.0\r\na=inactive",
            section.media, section.protocol
        ),
    );
    if let Some(mid) = &section.mid {
        line(out, format_args!("a=mid:{mid}"));
    }
}

fn video(out: &mut String, section: &Section, agreed: &Match, local: &Local) {
    let numbers =
        agreed.pictures.iter().flat_map(|(_, payload)| [Some(payload.number), payload.repair]).flatten();
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    open(out, section, &numbers.join(" "), local);
    line(out, format_args!("a=sendonly"));
    for (codec, payload) in &agreed.pictures {
        let name = match codec {
            VideoCodec::H264 => "H264",
            VideoCodec::H265 => "H265",
        };
        describe(out, payload, &format!("{name}/90000"));
        if let Some(repair) = payload.repair {
            line(out, format_args!("a=rtpmap:{repair} rtx/90000\r\na=fmtp:{repair} apt={}", payload.number));
        }
    }
    line(out, format_args!("a=msid:heldar video"));
    let (ssrc, repair) = local.picture_ssrcs;
    if let Some(repair) = repair {
        line(out, format_args!("a=ssrc-group:FID {ssrc} {repair}"));
    }
    for ssrc in [Some(ssrc), repair].into_iter().flatten() {
        line(out, format_args!("a=ssrc:{ssrc} cname:heldar\r\na=ssrc:{ssrc} msid:heldar video"));
    }
}

fn audio(out: &mut String, section: &Section, sound: &Sound, local: &Local) {
    let numbers: Vec<String> = sound.payloads.iter().map(|(_, payload)| payload.number.to_string()).collect();
    open(out, section, &numbers.join(" "), local);
    // Without sound the section stays: it may be the first of the bundle, whose path is everyone's.
    line(out, format_args!("a={}", if local.sound_ssrc.is_some() { "sendonly" } else { "inactive" }));
    for (codec, payload) in &sound.payloads {
        describe(out, payload, codec.coding());
    }
    if let Some(ssrc) = local.sound_ssrc {
        line(
            out,
            format_args!(
                "a=msid:heldar audio\r\na=ssrc:{ssrc} cname:heldar\r\na=ssrc:{ssrc} msid:heldar audio"
            ),
        );
    }
}

/// What every section that is used begins with.
fn open(out: &mut String, section: &Section, numbers: &str, local: &Local) {
    line(out, format_args!("m={} 9 {} {numbers}\r\nc=IN IP4 0.0.0.0", section.media, section.protocol));
    let transport = &local.transport;
    let lines = [
        ("mid", &section.mid),
        ("ice-ufrag", &transport.ufrag),
        ("ice-pwd", &transport.password),
        ("fingerprint", &transport.fingerprint),
        ("setup", &transport.setup),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            line(out, format_args!("a={name}:{value}"));
        }
    }
    for candidate in &local.candidates {
        line(out, format_args!("a={candidate}"));
    }
    line(out, format_args!("a=end-of-candidates\r\na=rtcp-mux\r\na=rtcp-rsize"));
    for (number, uri) in extensions(section) {
        line(out, format_args!("a=extmap:{number} {uri}"));
    }
}

/// A payload type with the feedback and the parameters that were offered for it.
fn describe(out: &mut String, payload: &Payload, coding: &str) {
    let number = payload.number;
    line(out, format_args!("a=rtpmap:{number} {coding}"));
    for feedback in FEEDBACK.iter().filter(|known| payload.feedback.iter().any(|offered| offered == *known)) {
        line(out, format_args!("a=rtcp-fb:{number} {feedback}"));
    }
    if !payload.parameters.is_empty() {
        line(out, format_args!("a=fmtp:{number} {}", payload.parameters));
    }
}

#[cfg(test)]
mod tests {
    use super::super::offer::tests::BROWSER;
    use super::*;
    use bytes::Bytes;

    fn params(codec: VideoCodec, config: &'static [u8]) -> VideoParams {
        VideoParams {
            codec,
            codec_string: String::new(),
            width: 640,
            height: 360,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::from_static(config),
        }
    }

    fn chosen(offer: &str, codec: VideoCodec, config: &'static [u8]) -> Option<u8> {
        let offer = Offer::parse(offer).unwrap();
        let section = &offer.sections[video_section(&offer)?];
        best(section, &params(codec, config)).map(|payload| payload.number)
    }

    #[test]
    fn the_nearest_profile_is_chosen() {
        let h264 = VideoCodec::H264;
        assert_eq!(chosen(BROWSER, h264, &[1, 0x42, 0xc0, 0x1f]), Some(102));
        assert_eq!(chosen(BROWSER, h264, &[1, 0x4d, 0x00, 0x28]), Some(116));
        assert_eq!(chosen(BROWSER, h264, &[1, 0x64, 0x00, 0x28]), Some(116));
        // Nothing but baseline offered: sent all the same.
        let modest = BROWSER.replace("64001f", "42e01f");
        assert_eq!(chosen(&modest, h264, &[1, 0x64, 0x00, 0x28]), Some(102));
        // Mode 0 is of no use, nonsense neither.
        assert_eq!(
            chosen(
                &BROWSER.replace("packetization-mode=1", "packetization-mode=0"),
                h264,
                &[1, 0x42, 0, 0x1f]
            ),
            None
        );
        assert_eq!(
            chosen(&BROWSER.replace("profile-level-id=", "profile-level-id=x"), h264, &[1, 0x42, 0, 0x1f]),
            None
        );
    }

    #[test]
    fn h265_needs_a_profile_at_or_above() {
        assert_eq!(chosen(BROWSER, VideoCodec::H265, &[1, 0x01]), Some(105));
        assert_eq!(chosen(BROWSER, VideoCodec::H265, &[1, 0x02]), None);
        assert_eq!(chosen(&BROWSER.replace("H265", "AV1"), VideoCodec::H265, &[1, 0x01]), None);
    }

    fn local(sound_ssrc: Option<u32>) -> Local {
        let transport = Transport {
            ufrag: Some("us".to_owned()),
            password: Some("secret".to_owned()),
            fingerprint: Some("sha-256 AA:BB".to_owned()),
            setup: Some("passive".to_owned()),
        };
        let candidates = vec!["candidate:1 1 udp 1 127.0.0.1 8189 typ host".to_owned()];
        Local { transport, candidates, picture_ssrcs: (1, Some(2)), sound_ssrc, session: 8 }
    }

    fn agreed(offer: &Offer) -> Match {
        let video = video_section(offer).unwrap();
        let picture =
            best(&offer.sections[video], &params(VideoCodec::H264, &[1, 0x42, 0xc0, 0x1f])).unwrap();
        Match {
            video,
            pictures: vec![(VideoCodec::H264, picture)],
            sound: sound(offer, video, Some(Law::Mu)),
        }
    }

    #[test]
    fn each_section_is_answered_in_its_place() {
        let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
        let offer = Offer::parse(&format!("{BROWSER}{data}")).unwrap();
        let text = write(&offer, &agreed(&offer), &local(Some(3)));
        let lines: Vec<&str> = text.split("\r\n").filter(|line| line.starts_with("m=")).collect();
        assert_eq!(
            lines,
            [
                // The camera's own G.711 first.
                "m=audio 9 UDP/TLS/RTP/SAVPF 0 111",
                "m=video 9 UDP/TLS/RTP/SAVPF 102 103",
                "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            ]
        );
        assert!(text.contains("a=group:BUNDLE 0 1\r\n"));
        assert!(text.contains("a=rtcp-fb:102 goog-remb\r\n") && !text.contains("transport-cc"));
        assert_eq!(text.matches("a=sendonly").count(), 2);
        assert!(!text.contains("video-orientation"));
    }

    #[test]
    fn without_sound_its_section_is_silent_and_without_a_coding_it_is_refused() {
        let offer = Offer::parse(BROWSER).unwrap();
        let text = write(&offer, &agreed(&offer), &local(None));
        assert!(text.contains("m=audio 9 ") && text.contains("a=inactive"));
        let offer = Offer::parse(&BROWSER.replace("opus", "speex").replace("PCMU", "G722")).unwrap();
        let text = write(&offer, &agreed(&offer), &local(None));
        assert!(text.contains("m=audio 0 ") && text.contains("a=group:BUNDLE 1\r\n"));
    }
}
