//! Session descriptions (RFC 8866, RFC 2326 C).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::format::{Format, ParameterSets};
use super::manners::{Control, SdpSets};
use super::random::to_hex;
use super::target::TRACK_PREFIX;

/// What a description needs to know.
pub(super) struct Description<'a> {
    pub(super) formats: &'a [Format],
    pub(super) control: Control,
    pub(super) sets: SdpSets,
    /// The described URL without a slash at its end.
    pub(super) base: &'a str,
    /// Unique number of this description.
    pub(super) id: u32,
}

impl Description<'_> {
    /// Control URL of a track as it stands in the description.
    fn track_control(&self, track: usize) -> String {
        match self.control {
            Control::Relative | Control::AfterQuery => format!("{TRACK_PREFIX}{track}"),
            Control::Absolute | Control::AbsoluteSlash => track_url(self.base, track),
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let id = self.id;
        let aggregate = match self.control {
            Control::Relative | Control::AfterQuery => "*".to_owned(),
            Control::Absolute => self.base.to_owned(),
            Control::AbsoluteSlash => format!("{}/", self.base),
        };
        // Writing to a string can't fail.
        let mut line = |text: std::fmt::Arguments<'_>| {
            let _infallible = write!(out, "{text}\r\n");
        };
        line(format_args!("v=0"));
        line(format_args!("o=- {id} 1 IN IP4 127.0.0.1"));
        line(format_args!("s=Heldar"));
        line(format_args!("c=IN IP4 0.0.0.0"));
        line(format_args!("t=0 0"));
        line(format_args!("a=control:{aggregate}"));
        line(format_args!("a=range:npt=now-"));
        for (track, format) in self.formats.iter().enumerate() {
            let number = format.payload_type(u8::try_from(track).unwrap_or(0));
            let media = match format {
                Format::H264(_) | Format::H265(_) => "video",
                Format::Other { media, .. } => media,
                _ => "audio",
            };
            line(format_args!("m={media} 0 RTP/AVP {number}"));
            line(format_args!("a=rtpmap:{number} {}", encoding(format)));
            if let Some(parameters) = parameters(format, self.sets) {
                line(format_args!("a=fmtp:{number} {parameters}"));
            }
            line(format_args!("a=control:{}", self.track_control(track)));
        }
        out
    }
}

/// Absolute URL of a track.
pub(super) fn track_url(base: &str, track: usize) -> String {
    format!("{}/{TRACK_PREFIX}{track}", base.trim_end_matches('/'))
}

/// Value of `rtpmap` behind the payload type.
fn encoding(format: &Format) -> String {
    match format {
        Format::H264(_) => "H264/90000".to_owned(),
        Format::H265(_) => "H265/90000".to_owned(),
        Format::Aac { sample_rate, channels, .. } => format!("MPEG4-GENERIC/{sample_rate}/{channels}"),
        Format::Pcmu => "PCMU/8000".to_owned(),
        Format::Pcma => "PCMA/8000".to_owned(),
        // RFC 7587 7: always 2 channels here, whatever is coded.
        Format::Opus { .. } => "opus/48000/2".to_owned(),
        Format::Other { encoding, clock_rate, .. } => format!("{encoding}/{clock_rate}"),
    }
}

/// Value of `fmtp` behind the payload type.
fn parameters(format: &Format, sdp_sets: SdpSets) -> Option<String> {
    let announced = sdp_sets == SdpSets::Announced;
    match format {
        Format::H264(sets) => Some(h264_parameters(sets, announced)),
        Format::H265(sets) if announced => h265_parameters(sets),
        Format::Aac { config, .. } => Some(format!(
            "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={}",
            to_hex(config)
        )),
        Format::Opus { channels } => Some(format!("sprop-stereo={}", u8::from(*channels > 1))),
        Format::H265(_) | Format::Pcmu | Format::Pcma | Format::Other { .. } => None,
    }
}

/// RFC 6184 8.1.
fn h264_parameters(sets: &ParameterSets, announced: bool) -> String {
    let mut out = "packetization-mode=1".to_owned();
    if !announced {
        return out;
    }
    if let Some(profile) = sets.sps.first().and_then(|sps| sps.get(1..4)) {
        out.push_str(";profile-level-id=");
        out.push_str(&to_hex(profile));
    }
    if !sets.sps.is_empty() && !sets.pps.is_empty() {
        let all: Vec<String> = sets.iter().map(|set| STANDARD.encode(set)).collect();
        out.push_str(";sprop-parameter-sets=");
        out.push_str(&all.join(","));
    }
    out
}

/// RFC 7798 7.1.
fn h265_parameters(sets: &ParameterSets) -> Option<String> {
    let join =
        |sets: &[bytes::Bytes]| sets.iter().map(|set| STANDARD.encode(set)).collect::<Vec<_>>().join(",");
    let complete = !sets.vps.is_empty() && !sets.sps.is_empty() && !sets.pps.is_empty();
    complete.then(|| {
        format!("sprop-vps={};sprop-sps={};sprop-pps={}", join(&sets.vps), join(&sets.sps), join(&sets.pps))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn check(control: Control, sets: SdpSets, formats: &[Format], expect: &[&str], never: &[&str]) {
        let text = Description { formats, control, sets, base: "rtsp://h/cam1", id: 7 }.text();
        let lines: Vec<&str> = text.split("\r\n").collect();
        for line in expect {
            assert!(lines.contains(line), "{line} is not in\n{text}");
        }
        for part in never {
            assert!(!text.contains(part), "{part} is in\n{text}");
        }
    }

    #[test]
    fn descriptions() {
        let h264 = Format::H264(ParameterSets {
            vps: vec![],
            sps: vec![Bytes::from_static(&[0x67, 0x64, 0, 0x1f])],
            pps: vec![Bytes::from_static(&[0x68, 1])],
        });
        let aac = Format::Aac { config: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 };
        check(
            Control::Relative,
            SdpSets::Announced,
            &[h264.clone(), aac, Format::Pcma, Format::Opus { channels: 1 }],
            &[
                "a=control:*",
                "m=video 0 RTP/AVP 96",
                "a=rtpmap:96 H264/90000",
                "a=fmtp:96 packetization-mode=1;profile-level-id=64001f;sprop-parameter-sets=Z2QAHw==,aAE=",
                "a=control:trackID=0",
                "a=rtpmap:97 MPEG4-GENERIC/48000/2",
                "a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190",
                "m=audio 0 RTP/AVP 8",
                "a=fmtp:99 sprop-stereo=0",
                "a=control:trackID=3",
            ],
            &[],
        );
        check(
            Control::AbsoluteSlash,
            SdpSets::Omitted,
            &[h264],
            &[
                "a=control:rtsp://h/cam1/",
                "a=control:rtsp://h/cam1/trackID=0",
                "a=fmtp:96 packetization-mode=1",
            ],
            &["sprop", "profile-level-id"],
        );
        let metadata =
            Format::Other { media: "application", encoding: "vnd.onvif.metadata", clock_rate: 90_000 };
        check(
            Control::Absolute,
            SdpSets::Announced,
            &[metadata],
            &[
                "a=control:rtsp://h/cam1",
                "m=application 0 RTP/AVP 96",
                "a=rtpmap:96 vnd.onvif.metadata/90000",
            ],
            &["fmtp"],
        );
    }
}
