//! Requests of one connection and what is answered (RFC 2326 10 and 11).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::auth::Credentials;
use super::host::{AccessRequest, Guest, OpenError, Playing, Verdict};
use super::listen::Shared;
use super::manners::{Control, RtpInfo, Transports};
use super::message::{Method, Request, Response};
use super::random;
use super::sdp::{Description, track_url};
use super::session::{Route, Session, Slot};
use super::stream::Stream;
use super::target::{self, Target};
use super::transport::{self, Wanted};

/// Methods the server implements.
const PUBLIC: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN";

/// What follows a request.
pub(super) enum Next {
    /// These bytes.
    Respond(Bytes),
    /// Nothing: the connection is closed.
    HangUp,
}

/// Refusal of a request: a response, or none at all.
enum Refusal {
    Response(Response),
    HangUp,
}

impl Refusal {
    fn status(status: u16) -> Refusal {
        Refusal::Response(Response::new(status))
    }
}

type Answer = Result<Response, Refusal>;

/// State of one connection beyond its bytes: at most one session, and the path it was granted.
pub(super) struct Dialogue {
    peer: SocketAddr,
    shared: Arc<Shared>,
    session: Option<Session>,
    granted: Option<Grant>,
}

/// A path that the connection was granted.
struct Grant {
    path: String,
    to: Option<String>,
}

impl Dialogue {
    pub(super) fn new(peer: SocketAddr, shared: Arc<Shared>) -> Self {
        Dialogue { peer, shared, session: None, granted: None }
    }

    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// What the host keeps of the session, once it plays.
    pub(super) fn guest(&self) -> Option<Arc<dyn Guest>> {
        self.session.as_ref().and_then(|session| session.guest.clone())
    }

    /// Notes interleaved data from the client.
    pub(super) fn heard_traffic(&self) {
        if let Some(session) = &self.session {
            session.heard_traffic();
        }
    }

    /// Answers a request.
    pub(super) async fn handle(&mut self, request: &Request) -> Next {
        // RFC 2326 12.17: every request has a CSeq.
        let Some(cseq) = request.header("CSeq") else {
            return Next::Respond(Response::new(400).encode(None));
        };
        let response = match Box::pin(self.answer(request)).await {
            Ok(response) | Err(Refusal::Response(response)) => response,
            Err(Refusal::HangUp) => return Next::HangUp,
        };
        Next::Respond(response.encode(Some(cseq)))
    }

    async fn answer(&mut self, request: &Request) -> Answer {
        if let Some(option) = request.header("Require") {
            return Ok(Response::new(551).header("Unsupported", option));
        }
        self.check_session(request)?;
        let target = target::parse(&request.uri).ok_or_else(|| Refusal::status(400))?;
        match request.method {
            Method::Options => {
                self.heard_request();
                return Ok(Response::new(200).header("Public", PUBLIC));
            }
            Method::NotAllowed => return Ok(Response::new(405).header("Allow", PUBLIC)),
            Method::Unknown => return Ok(Response::new(501)),
            _ => {}
        }
        self.authorize(request, &target).await?;
        self.heard_request();
        match request.method {
            Method::Describe => self.describe(request, &target).await,
            Method::Setup => self.set_up(request, target).await,
            Method::Play => self.play(request.header("User-Agent")),
            Method::Pause => self.pause(),
            Method::Teardown => self.tear_down(),
            // Without parameters both are signs of life (10.8); none are defined.
            _ if request.body.is_empty() => Ok(self.with_session(Response::new(200))),
            _ => Ok(Response::new(451)),
        }
    }

    fn heard_request(&self) {
        if let Some(session) = &self.session {
            session.activity.touch();
        }
    }

    /// 12.37: a request that names a session must name that of the connection.
    fn check_session(&self, request: &Request) -> Result<(), Refusal> {
        let named = request.header("Session").map(|value| value.split(';').next().unwrap_or_default().trim());
        match (named, &self.session) {
            (Some(named), Some(session)) if named != session.id => Err(Refusal::status(454)),
            (Some(_), None) => Err(Refusal::status(454)),
            _ => Ok(()),
        }
    }

    async fn authorize(&mut self, request: &Request, target: &Target) -> Result<(), Refusal> {
        let credentials = request.header("Authorization").and_then(Credentials::parse);
        // A request on a session may name the session alone (`*`).
        let path = match &self.session {
            Some(session) if request.uri == "*" => session.path.as_str(),
            _ => target.path.as_str(),
        };
        let grant = self.granted.as_ref().filter(|grant| grant.path == path);
        let access = AccessRequest {
            peer: self.peer,
            method: &request.method_token,
            uri: &request.uri,
            path,
            query: target.query.as_deref(),
            credentials: credentials.as_ref(),
            granted: grant.is_some(),
            granted_to: grant.and_then(|grant| grant.to.as_deref()),
        };
        match self.shared.host.authorize(&access).await {
            // What was granted to somebody before stays so.
            Verdict::Granted if access.granted => Ok(()),
            Verdict::Granted => {
                self.granted = Some(Grant { path: path.to_owned(), to: None });
                Ok(())
            }
            Verdict::GrantedTo(to) => {
                self.granted = Some(Grant { path: path.to_owned(), to: Some(to) });
                Ok(())
            }
            Verdict::Challenge(challenges) => {
                let with = |response: Response, value| response.header("WWW-Authenticate", value);
                Err(Refusal::Response(challenges.into_iter().fold(Response::new(401), with)))
            }
            Verdict::Forbidden => Err(Refusal::status(403)),
            Verdict::NotFound => Err(Refusal::status(404)),
            Verdict::HangUp => Err(Refusal::HangUp),
        }
    }

    async fn open(&self, path: &str) -> Result<Arc<Stream>, Refusal> {
        self.shared.host.open(path).await.map_err(refusal)
    }

    /// 10.2.
    async fn describe(&self, request: &Request, target: &Target) -> Answer {
        if let Some(accept) = request.header("Accept")
            && !accept.contains("application/sdp")
            && !accept.contains("*/*")
        {
            return Ok(Response::new(406));
        }
        let stream = self.open(&target.path).await?;
        let manners = stream.manners();
        let full = request.uri.trim_end_matches('/');
        let bare = full.split('?').next().unwrap_or(full).trim_end_matches('/');
        let text = Description {
            formats: &stream.formats(),
            control: manners.control,
            sets: manners.sdp_sets,
            base: bare,
            id: random::number(),
        }
        .text();
        let response = match manners.control {
            Control::Relative => Response::new(200).header("Content-Base", format!("{bare}/")),
            Control::AfterQuery => Response::new(200).header("Content-Base", format!("{full}/")),
            Control::Absolute | Control::AbsoluteSlash => Response::new(200),
        };
        Ok(response.body("application/sdp", text))
    }

    /// 10.4. The first one makes the session, further ones add tracks to it.
    async fn set_up(&mut self, request: &Request, target: Target) -> Answer {
        let stream = self.open(&target.path).await?;
        let formats = stream.formats();
        let track = match target.track {
            Some(track) => track,
            // Clients set up a description's only track by the aggregate URL.
            None if formats.len() == 1 => 0,
            None => return Ok(Response::new(459)),
        };
        if track >= formats.len() {
            return Ok(Response::new(404));
        }
        let wanted = transport::parse(request.header("Transport").unwrap_or_default());
        if let Some(session) = &self.session
            && (session.path != target.path || session.viewer.is_playing())
        {
            return Ok(Response::new(455));
        }
        let Some(wanted) = wanted.into_iter().find(|&wanted| self.serves(&stream, wanted)) else {
            return Ok(Response::new(461));
        };
        if self.session.is_none() {
            let slot = Slot::take(&self.shared.sessions, self.shared.config.max_sessions);
            let base = base_of(&request.uri);
            let session = slot
                .and_then(|slot| Session::open(stream, &target.path, base, self.shared.udp.clone(), slot))
                .ok_or_else(|| Refusal::status(453))?;
            self.session = Some(session);
        }
        let transport = self.route(track, wanted).ok_or_else(|| Refusal::status(461))?;
        Ok(self.with_session(Response::new(200).header("Transport", transport)))
    }

    fn serves(&self, stream: &Stream, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Interleaved(_) => true,
            Wanted::Udp { .. } => {
                self.shared.udp.is_some() && stream.manners().transports == Transports::Both
            }
        }
    }

    /// Sends a track of the session where the client wants it; returns the `Transport` header of the answer.
    fn route(&mut self, track: usize, wanted: Wanted) -> Option<String> {
        let session = self.session.as_mut()?;
        let ssrc = session.stream.ssrc(track)?;
        let (route, channels, transport) = match wanted {
            Wanted::Interleaved(asked) => {
                let (rtp, rtcp) = free_channels(session, track, asked)?;
                let transport = format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp};ssrc={ssrc:08X}");
                (Route::Interleaved, (rtp, rtcp), transport)
            }
            Wanted::Udp { rtp, rtcp } => {
                let (server_rtp, server_rtcp) = self.shared.udp.as_ref()?.ports().ok()?;
                let to = |port| SocketAddr::new(self.peer.ip(), port);
                let transport = format!(
                    "RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={server_rtp}-{server_rtcp};ssrc={ssrc:08X}"
                );
                // The framing goes no further than our own sockets; these are the channels of shared packets.
                let channel = u8::try_from(track * 2).unwrap_or(0) & 0x7e;
                (Route::Udp { rtp: to(rtp), rtcp: to(rtcp) }, (channel, channel + 1), transport)
            }
        };
        session.viewer.set_up(track, session.stream.viewer_track(channels.0, channels.1));
        session.set_route(track, route);
        Some(transport)
    }

    /// 10.5.
    fn play(&mut self, user_agent: Option<&str>) -> Answer {
        let peer = self.peer;
        let session = self.session.as_mut().ok_or_else(|| Refusal::status(454))?;
        if session.viewer.is_playing() {
            return Ok(self.with_session(Response::new(200)));
        }
        if session.guest.is_none() {
            let tracks = session.viewer.tracks();
            let tracks: Vec<usize> = (0..tracks.len()).filter(|at| tracks[*at].is_some()).collect();
            let (path, stream) = (session.path.as_str(), &session.stream);
            let grant = self.granted.as_ref().filter(|grant| grant.path == path);
            let granted_to = grant.and_then(|grant| grant.to.as_deref());
            let playing = Playing { peer, path, stream, tracks: &tracks, granted_to, user_agent };
            session.guest = Some(self.shared.host.plays(&playing).map_err(refusal)?);
        }
        let session = &*session;
        let numbers = session.stream.play(&session.viewer);
        let response = Response::new(200).header("Range", "npt=now-");
        let urls = numbers.iter().map(|first| (first, track_url(&session.base, first.track)));
        let info: Vec<String> = match session.manners.rtp_info {
            RtpInfo::Missing => return Ok(self.with_session(response)),
            RtpInfo::UrlsOnly => urls.map(|(_, url)| format!("url={url}")).collect(),
            RtpInfo::Wrong => urls
                .map(|(_, url)| {
                    format!("url={url};seq={};rtptime={}", random::number() as u16, random::number())
                })
                .collect(),
            RtpInfo::Exact => urls
                .map(|(first, url)| {
                    let time = first.rtp_time.map_or(String::new(), |time| format!(";rtptime={time}"));
                    format!("url={url};seq={}{time}", first.sequence_number)
                })
                .collect(),
        };
        Ok(self.with_session(response.header("RTP-Info", info.join(","))))
    }

    /// 10.6. Live streams have no position: what comes meanwhile is not kept.
    fn pause(&mut self) -> Answer {
        let session = self.session.as_ref().ok_or_else(|| Refusal::status(454))?;
        if !session.viewer.is_playing() {
            return Ok(Response::new(455));
        }
        session.viewer.pause();
        Ok(self.with_session(Response::new(200)))
    }

    /// 10.7.
    fn tear_down(&mut self) -> Answer {
        match self.session.take() {
            Some(_) => Ok(Response::new(200)),
            None => Ok(Response::new(454)),
        }
    }

    fn with_session(&self, response: Response) -> Response {
        match &self.session {
            Some(session) => {
                response.header("Session", format!("{};timeout={}", session.id, session.timeout().as_secs()))
            }
            None => response,
        }
    }
}

fn refusal(error: OpenError) -> Refusal {
    Refusal::status(match error {
        OpenError::NotFound => 404,
        OpenError::Unavailable => 503,
    })
}

/// A control URL without its track.
fn base_of(uri: &str) -> &str {
    match uri.rsplit_once('/') {
        Some((base, last)) if last.starts_with(target::TRACK_PREFIX) => base,
        _ => uri.trim_end_matches('/'),
    }
}

/// The channels asked for if no other track of the session has them, else the first free pair.
fn free_channels(session: &Session, track: usize, asked: Option<(u8, u8)>) -> Option<(u8, u8)> {
    let others: Vec<u8> = session
        .viewer
        .tracks()
        .into_iter()
        .enumerate()
        .filter(|(index, _)| *index != track)
        .filter_map(|(_, other)| other)
        .flat_map(|other| [other.channel, other.report_channel])
        .collect();
    let is_free = |pair: &(u8, u8)| !others.contains(&pair.0) && !others.contains(&pair.1);
    asked.filter(is_free).or_else(|| (0..=127u8).map(|n| (n * 2, n * 2 + 1)).find(is_free))
}
