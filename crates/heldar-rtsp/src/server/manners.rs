//! How one stream is served: the choices that RFC 2326 leaves to servers, and the liberties that cameras take.

use std::time::Duration;

use heldar_base::Micros;

/// Where a viewer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next sync sample, as cameras do that can't make one on demand.
    NextSync,
    /// With the newest sync sample, held in memory, and all since.
    HeldGop,
    /// With whatever comes next.
    MidGop,
}

/// Form of the control URLs in descriptions (RFC 2326 C.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `*` for the aggregate and bare names for tracks, behind a base that ends in a slash.
    Relative,
    /// Absolute URLs throughout, no base.
    Absolute,
    /// Absolute URLs, and the aggregate's ends in a slash that the described URL does not have.
    AbsoluteSlash,
    /// Bare names behind a base that keeps the query of the described URL.
    AfterQuery,
}

/// What the `RTP-Info` header of a PLAY response tells (RFC 2326 12.33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpInfo {
    /// The first sequence number, and the RTP time of the moment.
    Exact,
    /// URLs alone.
    UrlsOnly,
    /// The header is left out.
    Missing,
    /// Numbers that have nothing to do with what follows.
    Wrong,
}

/// Sender reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// With the first packet and every 5 s, true.
    Regular,
    /// Never any.
    Never,
    /// Regular, their NTP times off by this much.
    Shifted(Micros),
}

/// What keeps a session alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// Requests, interleaved data or RTCP datagrams from the client.
    AnyTraffic,
    /// The connection being open.
    Connection,
    /// Requests that were granted.
    Requests,
}

/// Which transports SETUP grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transports {
    /// Interleaved and datagrams.
    Both,
    /// Interleaved alone.
    TcpOnly,
}

/// When parameter sets travel with the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InBandSets {
    /// Never; only the description has them.
    Never,
    /// Before each sync sample.
    EverySync,
}

/// Whether descriptions tell the parameter sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdpSets {
    /// In `sprop` parameters.
    Announced,
    /// Left out.
    Omitted,
}

/// How one stream is served. The default is what a restream server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Where a viewer starts.
    pub start: Start,
    /// Time between PLAY and the first packet.
    pub start_delay: Duration,
    /// Form of control URLs.
    pub control: Control,
    /// What PLAY tells of the numbers to come.
    pub rtp_info: RtpInfo,
    /// Whether descriptions tell the parameter sets.
    pub sdp_sets: SdpSets,
    /// When parameter sets travel with the pictures.
    pub in_band_sets: InBandSets,
    /// Sender reports.
    pub reports: Reports,
    /// Transports granted.
    pub transports: Transports,
    /// Silence after which a session ends; at least 1 s.
    pub session_timeout: Duration,
    /// What counts as a sign of life.
    pub keep_alive: KeepAlive,
    /// Sessions at a time; more get 453.
    pub max_sessions: usize,
    /// First sequence number of each viewer; random when `None`.
    pub first_sequence_number: Option<u16>,
    /// RTP time of the first unit each viewer gets of each track; that of the publisher when `None`.
    pub first_rtp_time: Option<u32>,
    /// Bytes that wait for one viewer before it is moved to the next sync sample.
    pub queue_bytes: usize,
}

impl Default for Manners {
    fn default() -> Self {
        Manners {
            start: Start::HeldGop,
            start_delay: Duration::ZERO,
            control: Control::Relative,
            rtp_info: RtpInfo::Exact,
            sdp_sets: SdpSets::Announced,
            in_band_sets: InBandSets::EverySync,
            reports: Reports::Regular,
            transports: Transports::Both,
            session_timeout: Duration::from_secs(60),
            keep_alive: KeepAlive::AnyTraffic,
            max_sessions: 256,
            first_sequence_number: None,
            first_rtp_time: None,
            queue_bytes: 4 * 1024 * 1024,
        }
    }
}
