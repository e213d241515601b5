//! One viewer's session: a task that follows a stream and sends it.
//!
//! Owns: what is sent when: the group of pictures held in memory at once, then each picture as it comes; the next sync
//! sample when the path is too slow; the camera's smaller stream while the path is too narrow. Invariant: nothing waits here
//! but pictures shared with everyone and one picture's packets. Never: makes the stream wait.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heldar_base::Micros;
use heldar_media::{AccessUnit, AudioCodec, TrackKind, TrackParams, VideoParams};
use str0m::bwe::BweKind;
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::{Event, IceConnectionState, Input, Output};
use tokio::sync::{mpsc, oneshot};

use super::answer::SoundCodec;
use super::backlog::{Backlog, Lateness};
use super::judge::{Change, Judge};
use super::outbox::{Outbox, Packet};
use super::peer::{self, Peer};
use super::socket::{Batch, Route, Sent, Socket};
use super::stun;
use super::table::{Mail, Place, Ticket};
use super::timeline::Timeline;
use crate::bus::{Bus, Units};
use crate::ring::Received;
use crate::viewers::{Cut, Seat};

/// A viewer that was not heard from within this never comes.
const HEAR_WITHIN: Duration = Duration::from_secs(10);
/// One that was heard from must be connected within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Longest group of pictures that is sent again at once.
const MAX_REPLAY: Micros = Micros::from_secs(3);
/// Most bytes of such a group.
const MAX_REPLAY_BYTES: usize = 2 << 20;
/// Requests for a sync sample are answered once in so long.
const REPLAY_EVERY: Duration = Duration::from_secs(1);
/// A viewer for whom the socket was full so often in a row is moved ahead.
const MAX_BLOCKED: u32 = 3;
/// A stream that is to be changed to must bring a sync sample within this.
const CHANGE_WITHIN: Duration = Duration::from_secs(20);
/// Rounds of the machine without a pause; more means that it never comes to rest.
const MAX_ROUNDS: usize = 4_096;

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The viewer took leave, or was heard from no more.
    Left,
    /// It never connected.
    NeverCame,
    /// It was ended by its name, or gave way to another.
    Ended,
    /// It was cut off.
    Cut(Cut),
    /// The stream is over.
    Over,
    /// Neither stream can be sent any more.
    NotPlayable,
    /// The machine failed.
    Broken,
}

/// What a session is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) peer: Peer,
    pub(super) ticket: Ticket,
    pub(super) seat: Seat,
    pub(super) socket: Arc<Socket>,
    /// Addresses that the viewer was told.
    pub(super) addresses: Vec<SocketAddr>,
    /// The stream that is sent.
    pub(super) bus: Bus,
    /// The other stream of the camera.
    pub(super) other: Option<Bus>,
}

/// A stream that is to be changed to.
#[derive(Debug)]
struct Next {
    units: Units,
    until: Instant,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    peer: Box<Peer>,
    place: Place,
    mail: mpsc::Receiver<Mail>,
    is_over: oneshot::Receiver<()>,
    seat: Seat,
    path: Path,
    bus: Bus,
    units: Units,
    other: Option<Bus>,
    next: Option<Next>,
    /// Whether the smaller stream is sent for the sake of the path.
    is_reduced: bool,
    /// Whether the stream that is followed cannot be sent.
    is_stuck: bool,
    /// Parameters that were found to be fit.
    params: Option<Arc<TrackParams>>,
    timeline: Option<Timeline>,
    outbox: Outbox,
    backlog: Backlog,
    judge: Judge,
    opened: Instant,
    is_connected: bool,
    is_gone: bool,
    has_written: bool,
    has_shown: bool,
    is_asked: bool,
    /// When a sync sample was last sent again, or looked for in vain.
    answered_at: Option<Instant>,
}

/// The way to the viewer.
#[derive(Debug)]
struct Path {
    socket: Arc<Socket>,
    addresses: Vec<SocketAddr>,
    /// This side's address as the viewer reaches it.
    local: Option<IpAddr>,
    batch: Batch,
    /// How often in a row the socket would take nothing.
    blocked: u32,
    sent: usize,
}

impl Path {
    /// Sends a datagram, together with others of its length.
    async fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        let most = self.socket.batch();
        if !self.batch.push(to, datagram, most) {
            self.flush().await;
            self.batch.push(to, datagram, most);
        }
    }

    async fn flush(&mut self) {
        if let Some((remote, bytes, size)) = self.batch.gathered() {
            match self.socket.send(Route { remote, local: self.local }, bytes, size).await {
                Sent::Yes => {
                    self.blocked = 0;
                    self.sent += bytes.len();
                }
                Sent::Blocked => self.blocked += 1,
            }
        }
        self.batch.clear();
    }

    /// The address that the viewer was told for where a datagram came in. Behind a translation of addresses the kernel
    /// names another; then it is the first one told of that family.
    fn told(&self, route: Route) -> Option<SocketAddr> {
        let local = route.local.map(|ip| ip.to_canonical());
        let named = self.addresses.iter().find(|address| Some(address.ip()) == local);
        let family = || self.addresses.iter().find(|address| address.is_ipv4() == route.remote.is_ipv4());
        named.or_else(family).or(self.addresses.first()).copied()
    }
}

impl Session {
    /// Begins to follow the stream; nothing is sent before the viewer is connected.
    pub(super) fn new(parts: Parts, now: Instant) -> Self {
        let Ticket { place, mail, is_over } = parts.ticket;
        let units = parts.bus.follow();
        Session {
            peer: Box::new(parts.peer),
            place,
            mail,
            is_over,
            seat: parts.seat,
            path: Path {
                socket: parts.socket,
                addresses: parts.addresses,
                local: None,
                batch: Batch::default(),
                blocked: 0,
                sent: 0,
            },
            bus: parts.bus,
            units,
            other: parts.other,
            next: None,
            is_reduced: false,
            is_stuck: false,
            params: None,
            timeline: None,
            outbox: Outbox::new(now),
            backlog: Backlog::default(),
            judge: Judge::new(now),
            opened: now,
            is_connected: false,
            is_gone: false,
            has_written: false,
            has_shown: false,
            is_asked: false,
            answered_at: None,
        }
    }

    /// Runs until the viewer leaves or is made to.
    pub(super) async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        tracing::debug!(viewer = %self.seat.id(), ?end, "WebRTC session ends");
        self.take_leave().await;
    }

    /// One round: sends what the machine has, gives it what there is, waits for the next thing.
    async fn step(&mut self) -> Result<(), End> {
        let machine_due = self.pump().await?;
        let now = Instant::now();
        self.feed(now)?;
        if std::mem::take(&mut self.has_written) {
            return Ok(());
        }
        self.consider_change(now)?;
        let mut due = self.outbox.due(now).map_or(machine_due, |due| due.min(machine_due));
        if !self.is_connected {
            due = due.min(self.comes_until());
        }
        if let Some(next) = &self.next {
            due = due.min(next.until);
        }
        tokio::select! {
            biased;
            _ = &mut self.is_over => Err(End::Ended),
            why = self.seat.is_cut() => Err(End::Cut(why)),
            Some(mail) = self.mail.recv() => self.take_mail(mail),
            received = next_of(&mut self.next), if self.is_connected => self.take_next(received),
            received = self.units.recv(), if self.is_connected && self.outbox.is_empty() => {
                self.take(received, Instant::now())
            }
            () = tokio::time::sleep_until(due.into()) => self.check_patience(),
        }
    }

    fn check_patience(&self) -> Result<(), End> {
        let is_late = !self.is_connected && self.comes_until() <= Instant::now();
        if is_late { Err(End::NeverCame) } else { Ok(()) }
    }

    /// Until when the viewer must connect, as far as it has come.
    fn comes_until(&self) -> Instant {
        self.opened + if self.place.is_heard() { CONNECT_WITHIN } else { HEAR_WITHIN }
    }

    /// Takes all out of the machine and lets its time go on; tells when it must be looked at again.
    async fn pump(&mut self) -> Result<Instant, End> {
        let mut due = Instant::now();
        for _ in 0..MAX_ROUNDS {
            match self.peer.rtc.poll_output().map_err(broken)? {
                Output::Transmit(transmit) => self.path.send(transmit.destination, &transmit.contents).await,
                Output::Event(event) => self.take_event(&event)?,
                Output::Timeout(at) => {
                    let now = Instant::now();
                    due = at;
                    if at > now {
                        break;
                    }
                    self.peer.rtc.handle_input(Input::Timeout(now)).map_err(broken)?;
                }
            }
        }
        self.path.flush().await;
        self.note_sent();
        if self.is_gone || !self.peer.rtc.is_alive() {
            return Err(End::Left);
        }
        Ok(due)
    }

    fn note_sent(&mut self) {
        let bytes = std::mem::take(&mut self.path.sent);
        if bytes > 0 {
            self.seat.sent(bytes);
            self.judge.sent(Instant::now(), bytes);
        }
        if std::mem::take(&mut self.has_shown) {
            self.seat.shown();
        }
    }

    fn take_event(&mut self, event: &Event) -> Result<(), End> {
        let now = Instant::now();
        match event {
            Event::Connected => {
                self.is_connected = true;
                self.judge = Judge::new(now);
                self.replay(now)?;
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.is_gone |= self.is_connected
            }
            Event::Closed => self.is_gone = true,
            Event::KeyframeRequest(_) => self.is_asked = true,
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) => {
                self.judge.estimate(now, estimate.as_u64());
            }
            Event::MediaEgressStats(stats) => {
                if let Some(share) = stats.loss {
                    self.judge.loss(now, share);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take_mail(&mut self, mail: Mail) -> Result<(), End> {
        match mail {
            Mail::Candidates(lines) => {
                lines.iter().for_each(|line| peer::add_candidate(&mut self.peer.rtc, line))
            }
            Mail::Datagram { at, route, bytes } => self.take_datagram(at, route, &bytes),
        }
        Ok(())
    }

    /// Gives the machine a datagram. One from an address that is not known as the viewer's must prove, by its password,
    /// to be from the viewer. So must each binding request that names this session, by which the viewer has its address
    /// back from whoever claimed it since.
    fn take_datagram(&mut self, at: Instant, route: Route, bytes: &[u8]) {
        let (Ok(contents), Some(destination)) = (DatagramRecv::try_from(bytes), self.path.told(route)) else {
            return;
        };
        let receive = Receive { proto: Protocol::Udp, source: route.remote, destination, contents };
        let input = Input::Receive(at, receive);
        let is_claim = stun::addressee(bytes) == Some(self.place.ufrag());
        if is_claim || !self.place.knows(route.remote) {
            if !self.peer.rtc.accepts(&input) {
                return;
            }
            self.place.learn(route.remote);
        }
        self.path.local = route.local;
        if let Err(error) = self.peer.rtc.handle_input(input) {
            tracing::debug!(viewer = %self.seat.id(), %error, "a datagram is no use");
        }
    }

    /// Writes what may go now.
    fn feed(&mut self, now: Instant) -> Result<(), End> {
        if !self.is_connected {
            return Ok(());
        }
        if std::mem::take(&mut self.is_asked) {
            self.answer_request(now)?;
        }
        loop {
            while let Some(packet) = self.outbox.next(now) {
                self.write(packet, now);
            }
            if !self.outbox.is_empty() {
                break;
            }
            match self.units.try_recv() {
                Some(received) => self.take(received, now)?,
                None => break,
            }
        }
        let behind = (!self.outbox.is_empty()).then(|| self.units.behind());
        match self.backlog.note(now, behind) {
            _ if self.path.blocked >= MAX_BLOCKED => self.catch_up(now),
            Lateness::TooLate => self.catch_up(now),
            Lateness::Late => self.units.skip().map_or(Ok(()), |missed| self.move_ahead(missed, now)),
            Lateness::InTime => Ok(()),
        }
    }

    fn write(&mut self, packet: Packet, now: Instant) {
        let Some(timeline) = &self.timeline else { return };
        let captured = timeline.picture_instant(packet.ticks, now);
        self.has_shown |= packet.is_last;
        self.has_written = true;
        self.peer.write_picture(packet, captured);
    }

    /// Takes what the stream brings.
    fn take(&mut self, received: Received<Arc<AccessUnit>>, now: Instant) -> Result<(), End> {
        match received {
            Received::Piece(unit) if unit.track == TrackKind::Audio => self.take_sound(&unit, now),
            Received::Piece(unit) => self.take_picture(unit, now)?,
            Received::Lagged(missed) => {
                self.seat.skipped(missed);
                self.replay(now)?;
            }
            Received::Interrupted => {
                if let Some(timeline) = &mut self.timeline {
                    timeline.interrupt();
                }
            }
            Received::Closed => return Err(End::Over),
        }
        Ok(())
    }

    fn take_picture(&mut self, unit: Arc<AccessUnit>, now: Instant) -> Result<(), End> {
        if !self.is_fit(&unit.params) {
            return self.get_stuck(now);
        }
        self.is_stuck = false;
        let timeline = self.timeline.get_or_insert_with(|| Timeline::new(unit.captured_at, now));
        let ticks = timeline.picture(unit.captured_at);
        self.outbox.push(unit, ticks);
        Ok(())
    }

    fn take_sound(&mut self, unit: &AccessUnit, now: Instant) {
        let opus = unit.params.audio().filter(|params| params.codec == AudioCodec::Opus);
        // Sound before the first picture has nothing to be in step with.
        if let (Some(params), Some(timeline), true) = (opus, &mut self.timeline, self.peer.has_sound()) {
            let ticks = timeline.sound(unit.captured_at, params.frame_samples);
            let captured = timeline.sound_instant(ticks, now);
            self.peer.write_sound(ticks, captured, unit);
            self.has_written = true;
        }
    }

    /// Whether pictures of these parameters can be sent.
    fn is_fit(&mut self, params: &Arc<TrackParams>) -> bool {
        if self.params.as_ref().is_some_and(|known| Arc::ptr_eq(known, params)) {
            return true;
        }
        let is_fit = params.video().is_some_and(|video| fits(&self.peer, video));
        if is_fit {
            self.params = Some(params.clone());
        }
        is_fit
    }

    /// The stream has become one that cannot be sent: the other one takes its place, if it can.
    fn get_stuck(&mut self, now: Instant) -> Result<(), End> {
        self.is_stuck = true;
        self.units.await_start();
        if self.next.is_none() && !self.prepare_change(now) {
            return Err(End::NotPlayable);
        }
        Ok(())
    }

    /// Sends the group of pictures that is held, so that the present picture is shown at once. One that is too large is
    /// left out: the next sync sample is near.
    fn replay(&mut self, now: Instant) -> Result<(), End> {
        self.outbox.clear();
        self.backlog.clear();
        self.units = self.bus.follow();
        let pictures = drain(&mut self.units)?;
        let Some(newest) = pictures.last() else { return Ok(()) };
        if !is_short(&pictures) {
            self.units.await_start();
            return Ok(());
        }
        if !self.is_fit(&newest.params) {
            return self.get_stuck(now);
        }
        self.is_stuck = false;
        self.answered_at = Some(now);
        let at = newest.captured_at;
        let timeline = self.timeline.get_or_insert_with(|| Timeline::new(at, now));
        let times = timeline.squeezed(pictures.len(), at);
        for (picture, ticks) in pictures.into_iter().zip(times) {
            self.outbox.push(picture, ticks);
        }
        Ok(())
    }

    /// The viewer cannot decode on: it gets the group that is held once more, if that is short; else the next sync sample
    /// comes by itself, and on a path that is bad nothing before it.
    fn answer_request(&mut self, now: Instant) -> Result<(), End> {
        let is_early = self.answered_at.is_some_and(|at| now.saturating_duration_since(at) < REPLAY_EVERY);
        if is_early || !self.outbox.is_empty() {
            return Ok(());
        }
        self.answered_at = Some(now);
        if self.judge.is_bad(now) {
            // The same once more is what the path does not carry.
            self.units.await_start();
            return Ok(());
        }
        if is_short(&drain(&mut self.bus.follow())?) { self.replay(now) } else { Ok(()) }
    }

    /// The path is too slow: what waits is left out, up to the newest sync sample or the next.
    fn catch_up(&mut self, now: Instant) -> Result<(), End> {
        self.path.blocked = 0;
        if let Some(missed) = self.units.skip() {
            return self.move_ahead(missed, now);
        }
        let left = self.outbox.clear();
        self.backlog.clear();
        self.seat.skipped(left.max(1));
        self.units.await_start();
        Ok(())
    }

    /// Goes on at the newest sync sample, so many units further on.
    fn move_ahead(&mut self, missed: u64, now: Instant) -> Result<(), End> {
        let left = self.outbox.clear();
        self.seat.skipped(missed + left);
        self.replay(now)
    }

    /// Changes over to the camera's other stream, or back, when the path asks for it.
    fn consider_change(&mut self, now: Instant) -> Result<(), End> {
        if let Some(next) = &self.next {
            return if next.until <= now { self.give_up_change(now) } else { Ok(()) };
        }
        if !self.is_connected || self.other.is_none() {
            return Ok(());
        }
        let wants = match self.judge.poll(now) {
            Some(Change::Reduce) => !self.is_reduced && self.is_other_smaller(),
            Some(Change::Restore) => self.is_reduced,
            None => return Ok(()),
        };
        if !wants || !self.prepare_change(now) {
            self.judge.failed(now);
        }
        Ok(())
    }

    /// Whether the other stream is known to be smaller and fit, or not known yet.
    fn is_other_smaller(&self) -> bool {
        let area = |params: &VideoParams| u64::from(params.width) * u64::from(params.height);
        let own = self.bus.tracks().borrow().video().map(area);
        let Some(other) = &self.other else { return false };
        let tracks = other.tracks();
        let tracks = tracks.borrow();
        tracks.video().is_none_or(|video| fits(&self.peer, video) && own.is_none_or(|own| area(video) < own))
    }

    fn prepare_change(&mut self, now: Instant) -> bool {
        self.next = self.other.as_ref().map(|bus| Next { units: bus.follow(), until: now + CHANGE_WITHIN });
        self.next.is_some()
    }

    fn give_up_change(&mut self, now: Instant) -> Result<(), End> {
        self.next = None;
        self.judge.failed(now);
        if self.is_stuck { Err(End::NotPlayable) } else { Ok(()) }
    }

    /// Takes what the stream brings that is to be changed to: its first sync sample makes the change.
    fn take_next(&mut self, received: Received<Arc<AccessUnit>>) -> Result<(), End> {
        let now = Instant::now();
        let Some(next) = &mut self.next else { return Ok(()) };
        match received {
            Received::Piece(unit) if unit.track == TrackKind::Video => {
                if !unit.params.video().is_some_and(|video| fits(&self.peer, video)) {
                    return self.give_up_change(now);
                }
                if !unit.sync.is_sync() || next.units.behind() > MAX_REPLAY {
                    next.units.await_start();
                    return Ok(());
                }
                self.change_over(now)
            }
            Received::Closed => self.give_up_change(now),
            _ => Ok(()),
        }
    }

    fn change_over(&mut self, now: Instant) -> Result<(), End> {
        self.next = None;
        let Some(other) = &mut self.other else { return Ok(()) };
        std::mem::swap(&mut self.bus, other);
        if !self.is_stuck {
            self.is_reduced = !self.is_reduced;
            if self.is_reduced { self.judge.reduced(now) } else { self.judge.restored(now) }
        }
        let sound = self.peer.sound_codec(&self.bus.tracks().borrow());
        self.seat.audio(sound.map(SoundCodec::as_str));
        self.peer.forget_pictures();
        self.replay(now)
    }

    /// Tells the viewer that it is over, as far as it can still be told.
    async fn take_leave(&mut self) {
        self.place.hide();
        self.is_gone = false;
        if self.peer.rtc.close().is_ok() {
            // reason: there is nobody left to be told of a failure.
            let _ = self.pump().await;
        }
    }
}

fn broken(error: str0m::RtcError) -> End {
    tracing::debug!(%error, "WebRTC fails");
    End::Broken
}

/// Whether a viewer can be sent a stream. Pictures out of order are not for WebRTC: receivers show them as they come.
fn fits(peer: &Peer, video: &VideoParams) -> bool {
    video.reorder_depth == 0 && peer.takes(video.codec)
}

/// All pictures that are there.
fn drain(units: &mut Units) -> Result<Vec<Arc<AccessUnit>>, End> {
    let mut pictures = Vec::new();
    while let Some(received) = units.try_recv() {
        match received {
            Received::Piece(unit) if unit.track == TrackKind::Video => pictures.push(unit),
            Received::Piece(_) => {}
            Received::Lagged(_) | Received::Interrupted => pictures.clear(),
            Received::Closed => return Err(End::Over),
        }
    }
    Ok(pictures)
}

/// Whether pictures are few enough to be sent at once.
fn is_short(pictures: &[Arc<AccessUnit>]) -> bool {
    let (Some(first), Some(last)) = (pictures.first(), pictures.last()) else { return false };
    let bytes: usize = pictures.iter().map(|unit| unit.payload.len()).sum();
    last.captured_at - first.captured_at <= MAX_REPLAY && bytes <= MAX_REPLAY_BYTES
}

async fn next_of(next: &mut Option<Next>) -> Received<Arc<AccessUnit>> {
    match next {
        Some(next) => next.units.recv().await,
        None => std::future::pending().await,
    }
}
