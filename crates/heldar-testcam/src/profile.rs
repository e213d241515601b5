//! The zoo: named habits of real cameras.

use std::time::Duration;

use heldar_base::Micros;
use heldar_rtsp::server::{
    Algorithm, Control, InBandSets, KeepAlive, Manners, Reports, RtpInfo, Scheme, SdpSets, Start, Transports,
};

use crate::tricks::Tricks;

/// What a camera hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audio {
    None,
    /// A clip of the media folder.
    Recipe(&'static str),
    Pcmu,
    Pcma,
    G726,
}

/// How a camera is put together.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Recipe of the main stream; `None` for the one all cameras have unless told otherwise.
    pub(crate) video: Option<&'static str>,
    pub(crate) audio: Audio,
    pub(crate) metadata: bool,
    pub(crate) manners: Manners,
    pub(crate) tricks: Tricks,
    pub(crate) faults: &'static [&'static str],
    pub(crate) schemes: Vec<Scheme>,
    pub(crate) nonce_lifetime: Duration,
    /// The profile is about passwords, so there is one even if none was asked for.
    pub(crate) wants_account: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            video: None,
            audio: Audio::None,
            metadata: false,
            manners: Manners {
                start: Start::NextSync,
                in_band_sets: InBandSets::Never,
                ..Manners::default()
            },
            tricks: Tricks::default(),
            faults: &[],
            schemes: vec![Scheme::Digest(Algorithm::Md5), Scheme::Basic],
            nonce_lifetime: Duration::from_secs(3600),
            wants_account: false,
        }
    }
}

/// A habit of real cameras that can be chosen by name.
#[derive(Clone, Copy)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// What real cameras do that.
    pub description: &'static str,
    pub(crate) apply: fn(&mut Setup),
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The profile of that name.
pub fn find(name: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.name == name)
}

/// All profiles.
pub fn all() -> &'static [Profile] {
    PROFILES
}

macro_rules! zoo {
    ($($name:ident: $description:literal => |$setup:ident| $body:expr;)*) => {
        &[$(Profile {
            name: stringify!($name),
            description: $description,
            apply: |$setup: &mut Setup| { $body; },
        }),*]
    };
}

#[rustfmt::skip] // One entry, one line or two: the list is read as a table.
const PROFILES: &[Profile] = zoo! {
    plain: "A well-behaved H.264 camera, GOP 2 s, no sound." => |s| s.video = Some("h264_plain");
    smart_codec: "Smart codecs (H.264+, Zipstream, Smart Stream) stretch the GOP to 12 s in quiet scenes." => |s| s.video = Some("h264_smart");
    smart_h265: "H.265+ does the same with H.265." => |s| s.video = Some("h265_smart");
    smart_mid_gop: "The same cameras begin in the middle of such a GOP: pictures come at once, and none can be decoded for up to 12 s." => |s| { s.video = Some("h264_smart"); s.manners.start = Start::MidGop };
    variable_frame_rate: "Cameras with dynamic frame rate drop from 25 to 5 pictures per second while nothing moves." => |s| s.video = Some("h264_vfr");
    variable_bitrate: "VBR cameras send ten times as much at night, when the sensor is noisy." => |s| s.video = Some("h264_vbr");
    filler: "CBR encoders of some SoCs fill quiet pictures up with filler NAL units." => |s| s.video = Some("h264_cbr");
    intra_refresh: "Low-latency encoders refresh by a moving intra column: recovery points and no IDR after the first." => |s| s.video = Some("h264_refresh");
    open_gop: "Broadcast-style encoders open GOPs with a recovery point instead of an IDR." => |s| s.video = Some("h264_open");
    b_frames: "Encoders in the main and high profile with B-frames, some of them references: decoding order differs from presentation order." => |s| s.video = Some("h264_b");
    h265: "An H.265 camera with IDR pictures." => |s| s.video = Some("h265_plain");
    h265_cra: "H.265 encoders with open GOPs: CRA pictures with leading RASL pictures." => |s| s.video = Some("h265_cra");
    h265_b_frames: "H.265 with a pyramid of B-frames." => |s| s.video = Some("h265_b");
    h265_in_band_only: "H.265 cameras whose description has no sprop parameters." => |s| { s.video = Some("h265_plain"); s.manners.sdp_sets = SdpSets::Omitted; s.manners.in_band_sets = InBandSets::EverySync };
    in_band_sets_only: "Cameras whose description has no sprop-parameter-sets; they come with the pictures." => |s| { s.video = Some("h264_plain"); s.manners.sdp_sets = SdpSets::Omitted; s.manners.in_band_sets = InBandSets::EverySync };
    sets_every_idr: "Most cameras repeat their parameter sets before every IDR." => |s| { s.video = Some("h264_plain"); s.manners.in_band_sets = InBandSets::EverySync };
    sei_heavy: "Cameras that put analytics or watermarks into SEI messages before every picture." => |s| { s.video = Some("h264_plain"); s.tricks.sei_bytes = 900 };
    access_unit_delimiters: "Encoders made for transport streams start every access unit with a delimiter." => |s| s.video = Some("h264_aud");
    slices: "Multi-core encoders cut each picture into slices." => |s| s.video = Some("h264_slices");
    all_intra: "Cameras set to a GOP of 1: every picture is an IDR." => |s| s.video = Some("h264_intra");
    baseline: "Old cameras send the baseline profile." => |s| s.video = Some("h264_baseline");
    odd_size: "Pictures whose size is no multiple of 16 are cropped by the SPS." => |s| s.video = Some("h264_crop");
    anamorphic: "D1 cameras send 704x576 pixels that are not square." => |s| s.video = Some("h264_sar");
    interlaced: "Video servers digitize analog cameras interlaced." => |s| s.video = Some("h264_interlaced");
    no_timing: "Encoders without timing information in the SPS: nothing tells the picture rate." => |s| s.video = Some("h264_no_timing");
    fps_5: "5 pictures per second, usual for cheap storage." => |s| s.video = Some("h264_5");
    fps_15: "15 pictures per second, the default of many cameras." => |s| s.video = Some("h264_15");
    fps_30: "30 pictures per second, NTSC countries." => |s| s.video = Some("h264_30");
    fps_50: "50 pictures per second, traffic cameras." => |s| s.video = Some("h264_50");
    zero_length_nals: "Some firmware sends fragments without content in the middle of a NAL unit." => |s| { s.video = Some("h264_plain"); s.tricks.empty_fragments = true };
    empty_packets: "Some firmware sends RTP packets without payload between pictures, as keep-alives." => |s| { s.video = Some("h264_plain"); s.tricks.empty_packets = true };
    huge_idr: "High-resolution cameras at high quality: sync samples beyond 1 MiB." => |s| s.video = Some("h264_huge");
    no_sender_reports: "Cameras that never send RTCP." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Pcmu; s.manners.reports = Reports::Never };
    wrong_ntp: "Cameras without NTP whose sender reports are years behind." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Recipe("aac"); s.manners.reports = Reports::Shifted(Micros::from_hours(-24 * 365 * 20)) };
    rtp_time_wraps: "RTP times that wrap around 4 s after PLAY; the start is random, so it happens." => |s| { s.video = Some("h264_plain"); s.manners.first_rtp_time = Some(u32::MAX - 4 * 90_000) };
    sequence_wraps: "Sequence numbers that wrap around within the first pictures." => |s| { s.video = Some("h264_plain"); s.manners.first_sequence_number = Some(65_530) };
    wrong_rtp_info: "Cameras whose RTP-Info has nothing to do with the packets that follow." => |s| { s.video = Some("h264_plain"); s.manners.rtp_info = RtpInfo::Wrong };
    no_rtp_info: "Cameras that leave RTP-Info out." => |s| { s.video = Some("h264_plain"); s.manners.rtp_info = RtpInfo::Missing };
    bare_rtp_info: "Cameras whose RTP-Info has URLs alone." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Pcma; s.manners.rtp_info = RtpInfo::UrlsOnly };
    absolute_urls: "Cameras with absolute control URLs and no Content-Base." => |s| { s.video = Some("h264_plain"); s.manners.control = Control::Absolute };
    slash_urls: "Cameras whose aggregate URL ends in a slash that the described one has not." => |s| { s.video = Some("h264_plain"); s.manners.control = Control::AbsoluteSlash };
    query_urls: "Cameras whose base keeps the query (channel=1&subtype=0) and gets track names appended to it." => |s| { s.video = Some("h264_plain"); s.manners.control = Control::AfterQuery; s.tricks.query = Some("channel=1&subtype=0") };
    basic_only: "Old cameras that know Basic authentication alone." => |s| { s.video = Some("h264_plain"); s.schemes = vec![Scheme::Basic]; s.wants_account = true };
    digest_md5: "Cameras that accept Digest authentication alone." => |s| { s.video = Some("h264_plain"); s.schemes = vec![Scheme::Digest(Algorithm::Md5)]; s.wants_account = true };
    digest_sha256: "Recent firmware that offers SHA-256 first and MD5 for others." => |s| { s.video = Some("h264_plain"); s.schemes = vec![Scheme::Digest(Algorithm::Sha256), Scheme::Digest(Algorithm::Md5)]; s.wants_account = true };
    stale_nonce: "Cameras whose nonces last 5 s: keep-alives are answered with stale=TRUE and a new one." => |s| { s.video = Some("h264_plain"); s.schemes = vec![Scheme::Digest(Algorithm::Md5)]; s.nonce_lifetime = Duration::from_secs(5); s.wants_account = true; s.manners.session_timeout = Duration::from_secs(12); s.manners.keep_alive = KeepAlive::Connection };
    single_session: "Cheap cameras that serve one client at a time." => |s| { s.video = Some("h264_plain"); s.manners.max_sessions = 1 };
    short_timeout: "Cameras that end sessions after 10 s without a request, whatever RTCP says." => |s| { s.video = Some("h264_plain"); s.manners.session_timeout = Duration::from_secs(10); s.manners.keep_alive = KeepAlive::Requests };
    tcp_only: "Cameras behind a gateway that refuse UDP." => |s| { s.video = Some("h264_plain"); s.manners.transports = Transports::TcpOnly };
    metadata_track: "ONVIF cameras with an analytics track beside the pictures." => |s| { s.video = Some("h264_plain"); s.metadata = true };
    pcmu_audio: "Cameras with G.711 mu-law audio." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Pcmu };
    pcma_audio: "Cameras with G.711 A-law audio." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Pcma };
    aac_audio: "Cameras with AAC audio at 48 kHz." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Recipe("aac") };
    b_frames_audio: "Encoders with B-frames beside a microphone: sound shows by how much pictures are put off for reordering." => |s| { s.video = Some("h264_b"); s.audio = Audio::Recipe("aac") };
    aac_16k_audio: "Cameras with AAC audio at 16 kHz." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Recipe("aac_16k") };
    opus_audio: "Doorbells with Opus audio." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Recipe("opus") };
    g726_audio: "Cameras with G.726 audio, which nobody stores." => |s| { s.video = Some("h264_plain"); s.audio = Audio::G726 };
    audio_stalls: "Cameras whose microphone driver hangs: sound stops for 15 s out of 25 while pictures go on." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Recipe("aac"); s.tricks.sound = Some((10, 15)) };
    audio_never: "Cameras that announce a sound track and never send any of it." => |s| { s.video = Some("h264_plain"); s.audio = Audio::Pcma; s.tricks.sound = Some((0, 1)) };
    repeated_times: "Cameras that give two pictures in a row the same RTP time now and then." => |s| { s.video = Some("h264_plain"); s.tricks.repeat_time_every = 40 };
    jittery_times: "Cameras that stamp pictures when the encoder hands them out: RTP times shake by up to 8 ms." => |s| { s.video = Some("h264_plain"); s.tricks.jitter_us = 8000 };
    backward_times: "Cameras whose RTP time steps back by 80 ms when NTP sets their clock." => |s| { s.video = Some("h264_plain"); s.faults = &["ts_jump:-80,after=7,every=11"] };
    jumping_times: "Cameras whose RTP time jumps by an hour when NTP sets their clock." => |s| { s.video = Some("h264_plain"); s.faults = &["ts_jump:3600000,after=8,every=20"] };
    drifting_clock: "Cheap oscillators: RTP time runs 200 ppm fast." => |s| { s.video = Some("h264_plain"); s.faults = &["ts_drift:200"] };
    bundles: "Wi-Fi cameras whose packets come together every 600 ms." => |s| { s.video = Some("h264_plain"); s.faults = &["burst:600"] };
    gop_at_once: "Cloud cameras that hand over a whole GOP when it is finished." => |s| { s.video = Some("h264_plain"); s.faults = &["burst:0"] };
    slow_start: "Battery cameras that take 4 s from PLAY to the first picture." => |s| { s.video = Some("h264_plain"); s.faults = &["slow_start:4000"] };
    held_gop: "Recorders and proxies that begin with the GOP they hold in memory, faster than real time." => |s| { s.video = Some("h264_plain"); s.manners.start = Start::HeldGop };
    mid_gop: "Cameras that begin in the middle of a GOP: nothing can be decoded until the next sync sample." => |s| { s.video = Some("h264_plain"); s.manners.start = Start::MidGop };
    resolution_changes: "Cameras that switch their picture size by time of day." => |s| s.faults = &["param_change:after=6,every=10"];
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultSpec;
    use crate::media;

    #[test]
    fn the_zoo_is_consistent() {
        let mut names = std::collections::HashSet::new();
        for profile in all() {
            assert!(names.insert(profile.name), "{} exists twice", profile.name);
            assert!(profile.description.ends_with('.'));
            let mut setup = Setup::default();
            (profile.apply)(&mut setup);
            for recipe in setup.video.into_iter().chain(match setup.audio {
                Audio::Recipe(name) => Some(name),
                _ => None,
            }) {
                assert!(media::find(recipe).is_some(), "{} has no recipe {recipe}", profile.name);
            }
            for fault in setup.faults {
                FaultSpec::parse(fault).unwrap();
            }
        }
        assert!(names.len() >= 30);
    }
}
