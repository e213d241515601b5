//! What a viewer offers (RFC 8866, RFC 8829) and trickles (RFC 8840), read without trust.
//!
//! Owns: reading session descriptions. Contract: any text gives an offer or a reason, never a panic; sizes and counts are
//! bounded. Never: chooses; see [`super::answer`].

use super::OfferError;

/// Longest offer that is read.
const MAX_LEN: usize = 64 << 10;
/// Most media sections that are read.
const MAX_SECTIONS: usize = 32;
/// Longest name of a media section: what a one-byte header extension carries (RFC 8285 4.2).
const MAX_MID: usize = 16;
/// Payload types (RFC 3551) and header extensions of the one-byte form (RFC 8285 4.2).
const MAX_PAYLOAD_TYPE: u8 = 127;
const MAX_EXTENSION: u8 = 14;
/// Most candidates taken from one fragment.
const MAX_CANDIDATES: usize = 32;

/// A viewer's offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// Names of the sections that share one path.
    pub(super) bundle: Vec<String>,
    /// Whether both forms of header extensions may come in one stream.
    pub(super) mixed_extensions: bool,
    /// One per `m=` line.
    pub(super) sections: Vec<Section>,
    transport: Transport,
}

/// How to reach and know the viewer; each line stands in a section or before all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transport {
    pub(super) ufrag: Option<String>,
    pub(super) password: Option<String>,
    pub(super) fingerprint: Option<String>,
    pub(super) setup: Option<String>,
}

/// One `m=` line and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// `video`, `audio` or another word.
    pub(super) media: String,
    /// Such as `UDP/TLS/RTP/SAVPF`.
    pub(super) protocol: String,
    /// Formats as offered.
    pub(super) formats: Vec<String>,
    /// Whether the viewer itself leaves it out.
    pub(super) is_off: bool,
    pub(super) mid: Option<String>,
    /// Whether the viewer takes media here.
    pub(super) receives: bool,
    /// Whether RTCP may come on the port of RTP (RFC 5761 5.1.1).
    pub(super) muxes_rtcp: bool,
    pub(super) payloads: Vec<Payload>,
    /// Header extensions: number and URI.
    pub(super) extensions: Vec<(u8, String)>,
    /// Lines `a=candidate`, without their name.
    pub(super) candidates: Vec<String>,
    transport: Transport,
}

/// One format of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) number: u8,
    /// As in `a=rtpmap`, lower case: `h264/90000`.
    pub(super) coding: String,
    /// Rest of `a=fmtp`.
    pub(super) parameters: String,
    /// Rests of `a=rtcp-fb`.
    pub(super) feedback: Vec<String>,
    /// The payload type of its retransmissions (RFC 4588).
    pub(super) repair: Option<u8>,
}

impl Payload {
    /// A parameter of the format by its name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.trim(), value.trim()))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

fn malformed(reason: &str) -> OfferError {
    OfferError::Malformed(reason.to_owned())
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`OfferError::Malformed`].
    pub(super) fn parse(text: &str) -> Result<Offer, OfferError> {
        if text.len() > MAX_LEN {
            return Err(malformed("longer than 64 KiB"));
        }
        if text.lines().next().map(str::trim_end) != Some("v=0") {
            return Err(malformed("it does not begin with v=0"));
        }
        let mut offer = Offer::default();
        for line in text.lines() {
            let Some((kind, value)) = line.trim_end().split_once('=') else { continue };
            match kind {
                "m" if offer.sections.len() == MAX_SECTIONS => return Err(malformed("too many m= lines")),
                "m" => offer.sections.push(Section::parse(value)?),
                "a" => match offer.sections.last_mut() {
                    Some(section) => section.attribute(value)?,
                    None => offer.attribute(value),
                },
                _ => {}
            }
        }
        offer.sections.iter_mut().for_each(Section::settle);
        if offer.has_twins() {
            return Err(malformed("two sections have the same a=mid"));
        }
        Ok(offer)
    }

    /// Whether a name stands for two sections (RFC 5888 4).
    fn has_twins(&self) -> bool {
        let mut names: Vec<&str> =
            self.sections.iter().filter_map(|section| section.mid.as_deref()).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    fn attribute(&mut self, line: &str) {
        match split(line) {
            ("group", value) => {
                if let Some(mids) = value.strip_prefix("BUNDLE ") {
                    self.bundle = mids.split_ascii_whitespace().map(str::to_owned).collect();
                }
            }
            ("extmap-allow-mixed", _) => self.mixed_extensions = true,
            (name, value) => self.transport.attribute(name, value),
        }
    }

    /// How to reach the viewer for a section: what the section says, else what stands before all.
    pub(super) fn transport(&self, section: &Section) -> Transport {
        let (own, common) = (section.transport.clone(), self.transport.clone());
        Transport {
            ufrag: own.ufrag.or(common.ufrag),
            password: own.password.or(common.password),
            fingerprint: own.fingerprint.or(common.fingerprint),
            setup: own.setup.or(common.setup),
        }
    }

    /// Whether a section shares the path of another.
    pub(super) fn is_bundled(&self, section: &Section) -> bool {
        section.mid.as_ref().is_some_and(|mid| self.bundle.contains(mid))
    }
}

fn is_sha256(fingerprint: &str) -> bool {
    fingerprint.split_ascii_whitespace().next().is_some_and(|hash| hash.eq_ignore_ascii_case("sha-256"))
}

impl Transport {
    fn attribute(&mut self, name: &str, value: &str) {
        let slot = match name {
            "ice-ufrag" => &mut self.ufrag,
            "ice-pwd" => &mut self.password,
            // One certificate may have several, each by another hash (RFC 8122 5); SHA-256 is the one to check.
            "fingerprint" if self.fingerprint.as_deref().is_some_and(is_sha256) => return,
            "fingerprint" => &mut self.fingerprint,
            "setup" => &mut self.setup,
            _ => return,
        };
        *slot = Some(value.to_owned());
    }
}

impl Section {
    /// Reads the rest of an `m=` line: `video 9 UDP/TLS/RTP/SAVPF 96 97`.
    fn parse(line: &str) -> Result<Section, OfferError> {
        let mut words = line.split_ascii_whitespace();
        let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err(malformed("an m= line is too short"));
        };
        if ![media, protocol].into_iter().all(is_token) {
            return Err(malformed("an m= line has odd letters"));
        }
        let formats: Vec<String> = words.map(str::to_owned).collect();
        if formats.is_empty() || !formats.iter().all(|format| is_token(format)) {
            return Err(malformed("an m= line has no formats"));
        }
        Ok(Section {
            media: media.to_owned(),
            protocol: protocol.to_owned(),
            formats,
            is_off: port == "0",
            receives: true,
            ..Section::default()
        })
    }

    fn attribute(&mut self, line: &str) -> Result<(), OfferError> {
        match split(line) {
            ("mid", mid) => {
                if mid.is_empty() || mid.len() > MAX_MID || !is_token(mid) {
                    return Err(malformed("a=mid is no short word"));
                }
                self.mid = Some(mid.to_owned());
            }
            // A section with port 0 that only exists in the bundle is not left out (RFC 9143 6).
            ("bundle-only", _) => self.is_off = false,
            ("rtcp-mux", _) => self.muxes_rtcp = true,
            ("recvonly" | "sendrecv", _) => self.receives = true,
            ("sendonly" | "inactive", _) => self.receives = false,
            ("rtpmap", value) => {
                if let Some((payload, coding)) = self.payload(value) {
                    payload.coding = coding.to_ascii_lowercase();
                }
            }
            ("fmtp", value) => {
                if let Some((payload, parameters)) = self.payload(value) {
                    payload.parameters = parameters.to_owned();
                }
            }
            ("rtcp-fb", value) => self.feedback(value),
            ("extmap", value) => self.extension(value),
            ("candidate", value) if self.candidates.len() < MAX_CANDIDATES => {
                self.candidates.push(value.to_owned());
            }
            (name, value) => self.transport.attribute(name, value),
        }
        Ok(())
    }

    /// The payload that a line `96 rest` is about, if it is among the formats of the section.
    fn payload<'a>(&mut self, line: &'a str) -> Option<(&mut Payload, &'a str)> {
        let (number, rest) = line.split_once(' ')?;
        if !self.formats.iter().any(|format| format == number) {
            return None;
        }
        let number = number.parse().ok().filter(|number| *number <= MAX_PAYLOAD_TYPE)?;
        let at = self.payloads.iter().position(|payload| payload.number == number).unwrap_or_else(|| {
            self.payloads.push(Payload { number, ..Payload::default() });
            self.payloads.len() - 1
        });
        Some((&mut self.payloads[at], rest.trim()))
    }

    fn feedback(&mut self, line: &str) {
        if let Some(everywhere) = line.strip_prefix("* ") {
            self.payloads.iter_mut().for_each(|payload| payload.feedback.push(everywhere.trim().to_owned()));
        } else if let Some((payload, kind)) = self.payload(line) {
            payload.feedback.push(kind.to_owned());
        }
    }

    /// Reads `3 urn:...` or `3/sendonly urn:...`.
    fn extension(&mut self, line: &str) {
        let Some((number, rest)) = line.split_once(' ') else { return };
        let number = number.split('/').next().unwrap_or_default().parse().ok();
        let Some(number) = number.filter(|number| (1..=MAX_EXTENSION).contains(number)) else { return };
        let uri = rest.split_ascii_whitespace().next().unwrap_or_default();
        if !self.extensions.iter().any(|(known, _)| *known == number) {
            self.extensions.push((number, uri.to_owned()));
        }
    }

    /// Joins retransmissions with what they repeat, and puts payloads in the order of preference.
    fn settle(&mut self) {
        let is_repair = |payload: &Payload| payload.coding.starts_with("rtx/");
        let repairs: Vec<(u8, u8)> = self
            .payloads
            .iter()
            .filter(|payload| is_repair(payload))
            .filter_map(|payload| Some((payload.parameter("apt")?.parse().ok()?, payload.number)))
            .collect();
        self.payloads.retain(|payload| !is_repair(payload));
        for payload in &mut self.payloads {
            let repair = repairs.iter().find(|(repeated, _)| *repeated == payload.number);
            payload.repair = repair.map(|(_, number)| *number);
        }
        let formats = &self.formats;
        let rank =
            |payload: &Payload| formats.iter().position(|format| *format == payload.number.to_string());
        self.payloads.sort_by_key(rank);
    }
}

/// A fragment that a viewer trickles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trickle {
    pub(super) ufrag: Option<String>,
    /// Lines `a=candidate`, without their name.
    pub(super) candidates: Vec<String>,
}

impl Trickle {
    /// Reads a fragment; `None` for text of another form.
    pub(super) fn parse(text: &str) -> Option<Trickle> {
        if text.len() > MAX_LEN {
            return None;
        }
        let mut trickle = Trickle::default();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let (kind, value) = line.split_once('=')?;
            if kind.len() != 1 {
                return None;
            }
            match (kind, split(value)) {
                ("a", ("ice-ufrag", ufrag)) => trickle.ufrag = Some(ufrag.to_owned()),
                ("a", ("candidate", line)) => {
                    if trickle.candidates.len() == MAX_CANDIDATES || line.split_ascii_whitespace().count() < 8
                    {
                        return None;
                    }
                    trickle.candidates.push(line.to_owned());
                }
                _ => {}
            }
        }
        Some(trickle)
    }
}

/// Name and value of an attribute.
fn split(line: &str) -> (&str, &str) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.trim(), value.trim())
}

/// A token of RFC 8866 9, and the slash that separates the words of a protocol.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-./^_`{|}~".contains(&byte))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As browsers write it.
    pub(crate) const BROWSER: &str = "v=0\r\no=- 46117317 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F\r\n\
        a=setup:actpass\r\na=mid:0\r\na=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
        a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
        a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 116 117\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\n\
        a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F\r\n\
        a=setup:actpass\r\na=mid:1\r\na=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
        a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:13 urn:3gpp:video-orientation\r\na=recvonly\r\n\
        a=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 goog-remb\r\na=rtcp-fb:102 transport-cc\r\na=rtcp-fb:102 ccm fir\r\n\
        a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
        a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=rtpmap:104 H264/90000\r\n\
        a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r\n\
        a=rtpmap:105 H265/90000\r\na=fmtp:105 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST\r\n\
        a=rtpmap:116 H264/90000\r\na=rtcp-fb:116 nack\r\n\
        a=fmtp:116 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f\r\n\
        a=rtpmap:117 rtx/90000\r\na=fmtp:117 apt=116\r\n";

    #[test]
    fn a_browsers_offer_is_read() {
        let offer = Offer::parse(BROWSER).unwrap();
        assert_eq!((offer.bundle.len(), offer.mixed_extensions, offer.sections.len()), (2, true, 2));
        let video = &offer.sections[1];
        assert_eq!((video.mid.as_deref(), video.receives, video.is_off), (Some("1"), true, false));
        let numbers: Vec<_> = video.payloads.iter().map(|payload| (payload.number, payload.repair)).collect();
        assert_eq!(numbers, [(96, Some(97)), (102, Some(103)), (104, None), (105, None), (116, Some(117))]);
        assert_eq!(video.payloads[1].feedback.len(), 5);
        assert_eq!(video.payloads[1].parameter("Profile-Level-Id"), Some("42001f"));
        assert_eq!((video.extensions.len(), video.muxes_rtcp), (3, true));
        assert_eq!(offer.transport(video).setup.as_deref(), Some("actpass"));
    }

    #[test]
    fn what_stands_before_all_sections_counts_for_each() {
        let text = "v=0\r\na=ice-ufrag:all\r\na=setup:active\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=setup:passive\r\n";
        let offer = Offer::parse(text).unwrap();
        let transport = offer.transport(&offer.sections[0]);
        assert_eq!((transport.ufrag.as_deref(), transport.setup.as_deref()), (Some("all"), Some("passive")));
    }

    #[test]
    fn of_several_fingerprints_the_one_by_sha_256_is_taken() {
        let check = |hashes: &[&str], expect: &str| {
            let lines: String = hashes.iter().map(|hash| format!("a=fingerprint:{hash} AA\r\n")).collect();
            let offer = Offer::parse(&format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n{lines}")).unwrap();
            let fingerprint = offer.transport(&offer.sections[0]).fingerprint.unwrap();
            assert_eq!(fingerprint, format!("{expect} AA"), "{hashes:?}");
        };
        check(&["sha-256", "sha-384", "sha-512"], "sha-256");
        check(&["sha-512", "SHA-256"], "SHA-256");
        check(&["sha-1"], "sha-1");
    }

    #[test]
    fn nonsense_is_refused() {
        let long_mid = "v=0\r\nm=video 9 X 96\r\na=mid:01234567890123456\r\n";
        let many = format!("v=0\r\n{}", "m=video 9 X 96\r\n".repeat(33));
        for text in [
            "",
            "hello",
            "v=0\nm=video",
            "v=0\nm=video 9 X",
            "v=0\nm=vi\u{e4} 9 X 96",
            long_mid,
            "v=0\nm=video 9 X 96\na=mid:0\nm=audio 0 X 0\na=mid:0\n",
            &many,
            &"v=0\n".repeat(20_000),
        ] {
            assert!(matches!(Offer::parse(text), Err(OfferError::Malformed(_))), "{text:.40}");
        }
    }

    #[test]
    fn a_fragment_is_read() {
        let text = "a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
            a=candidate:1 1 udp 2113929471 203.0.113.1 10100 typ host\r\na=end-of-candidates\r\n";
        let trickle = Trickle::parse(text).unwrap();
        assert_eq!((trickle.ufrag.as_deref(), trickle.candidates.len()), (Some("abcd"), 1));
        assert_eq!(Trickle::parse("a=candidate:1 1 udp"), None);
        assert_eq!(Trickle::parse("{}"), None);
        assert_eq!(Trickle::parse(""), Some(Trickle::default()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,200}") {
            let _ = Offer::parse(&format!("v=0\r\n{text}"));
            let _ = Trickle::parse(&text);
        }
    }
}
