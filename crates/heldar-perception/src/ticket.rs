//! Tickets: a frame's proof that this server gave it to this caller for this task (perception.md 6.4).
//!
//! Owns: the wire form, the signature, and which secret is valid when. Never: leases and scopes, which are checked
//! beside it, in the order of perception.md 8.4. That order is the caller's: [`Ticket::parse`] is its step 2,
//! [`Ticket::verify`] its step 4.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heldar_base::{CameraId, Micros, Secret, WallTime};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::TaskId;

/// The first part of every ticket.
const VERSION: &str = "f1";
/// Digits of a number in a ticket at most; an `i64` of any year has fewer.
const MAX_DIGITS: usize = 18;
/// Characters of a signature at most that are worth decoding; a true one has 43.
const MAX_SIGNATURE: usize = 64;

/// How long a secret signs before it is renewed.
pub const RENEW_EVERY: Micros = Micros::from_hours(24);
/// How long the secret before it is still accepted.
pub const PREVIOUS_FOR: Micros = Micros::from_secs(900);
/// Shortest and longest life of a ticket in seconds (`HELDAR_FRAME_TICKET_TTL_SECS`).
pub const TTL_SECS: std::ops::RangeInclusive<i64> = 10..=900;
/// Life of a ticket in seconds unless set otherwise.
pub const DEFAULT_TTL_SECS: i64 = 120;

/// 32 random bytes that tickets are signed with.
pub type TicketKey = Secret<[u8; 32]>;

/// The secret of an installation, and the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Signs.
    pub current: TicketKey,
    /// When it began to sign.
    pub since: WallTime,
    /// Signed before; accepted for [`PREVIOUS_FOR`] after `since`.
    pub previous: Option<TicketKey>,
}

impl Keys {
    /// The first secret of an installation.
    pub fn new(fresh: TicketKey, now: WallTime) -> Self {
        Keys { current: fresh, since: now, previous: None }
    }

    /// Whether it is time for a new secret. After the clock was set back it is, too: nobody knows how old it is.
    pub fn is_due(&self, now: WallTime) -> bool {
        now - self.since >= RENEW_EVERY || now < self.since - RENEW_EVERY
    }

    /// With a new secret in front.
    pub fn renewed(&self, fresh: TicketKey, now: WallTime) -> Self {
        Keys { current: fresh, since: now, previous: Some(self.current.clone()) }
    }

    /// When the one before ceases to be accepted.
    pub fn previous_until(&self) -> WallTime {
        self.since + PREVIOUS_FOR
    }

    fn accepted(&self, now: WallTime) -> impl Iterator<Item = &TicketKey> {
        let previous = self.previous.as_ref().filter(|_| now < self.previous_until());
        std::iter::once(&self.current).chain(previous)
    }
}

/// The capture time of a frame as a ticket, a derived frame id and `x-frame-captured-at` carry it: whole milliseconds, rounded
/// up, so that the picture on screen at that instant is the frame's.
pub fn captured_ms(captured_at: WallTime) -> i64 {
    let (ms, part) = (captured_at.0.div_euclid(1000), captured_at.0.rem_euclid(1000));
    ms + i64::from(part > 0)
}

/// The frame id of a frame that was given out with a ticket.
pub fn derived_frame_id(task: TaskId, captured_ms: i64) -> String {
    format!("{task}:{captured_ms}")
}

/// A ticket is no ticket, or not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketFault {
    /// Its parts cannot be read.
    #[error("frame_ticket is malformed")]
    Malformed,
    /// Signed by nobody, for another caller, camera, task or frame; or its time is over.
    #[error("frame_ticket is invalid or expired")]
    Invalid,
}

/// What a ticket says, signed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The task that the frame was for.
    pub task: TaskId,
    /// When the frame was captured, in milliseconds since 1970.
    pub captured_ms: i64,
    /// First second at which it is no longer valid.
    pub expires_secs: i64,
    signature: String,
}

/// Signs a frame for a task of one caller: the text of the ticket. `None` where an id could be mistaken for something
/// else, and for a frame captured before 1970.
///
/// `ttl_secs` is brought into [`TTL_SECS`].
pub fn mint(
    keys: &Keys,
    key_id: &str,
    camera: &CameraId,
    task: TaskId,
    captured_at: WallTime,
    now: WallTime,
    ttl_secs: i64,
) -> Option<String> {
    let captured_ms = captured_ms(captured_at);
    if !is_signable(key_id) || captured_ms < 0 || now.0 < 0 {
        return None;
    }
    let expires = now.0.div_euclid(1_000_000) + ttl_secs.clamp(*TTL_SECS.start(), *TTL_SECS.end());
    let mac = signed(&keys.current, key_id, camera, task, captured_ms, expires);
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Some(format!("{VERSION}.{task}.{captured_ms}.{expires}.{signature}"))
}

/// Camera and task ids cannot hold what separates the parts; a key id is free text.
fn is_signable(key_id: &str) -> bool {
    !key_id.is_empty() && !key_id.contains(['.', '\r', '\n'])
}

fn signed(
    key: &TicketKey,
    key_id: &str,
    camera: &CameraId,
    task: TaskId,
    captured_ms: i64,
    expires: i64,
) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(key.expose())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length (RFC 2104 2)"));
    mac.update(format!("{VERSION}\n{key_id}\n{camera}\n{task}\n{captured_ms}\n{expires}").as_bytes());
    mac
}

impl Ticket {
    /// Reads a ticket, with the space around it ignored.
    ///
    /// # Errors
    /// [`TicketFault::Malformed`].
    pub fn parse(text: &str) -> Result<Self, TicketFault> {
        let mut parts = text.trim().split('.');
        let mut next = || parts.next().ok_or(TicketFault::Malformed);
        let (version, task, captured, expires, signature) = (next()?, next()?, next()?, next()?, next()?);
        let is_text = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_signature = (1..=MAX_SIGNATURE).contains(&signature.len()) && signature.bytes().all(is_text);
        if parts.next().is_some() || version != VERSION || !is_signature {
            return Err(TicketFault::Malformed);
        }
        Ok(Ticket {
            task: TaskId::parse(task).map_err(|_| TicketFault::Malformed)?,
            captured_ms: number(captured)?,
            expires_secs: number(expires)?,
            signature: signature.to_owned(),
        })
    }

    /// Checks signature and time. The caller's key id and the camera of the lease are not in the ticket: they are what
    /// the verifier believes.
    ///
    /// # Errors
    /// [`TicketFault::Invalid`].
    pub fn verify(
        &self,
        keys: &Keys,
        key_id: &str,
        camera: &CameraId,
        now: WallTime,
    ) -> Result<(), TicketFault> {
        if !is_signable(key_id) || now.0.div_euclid(1_000_000) >= self.expires_secs {
            return Err(TicketFault::Invalid);
        }
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).map_err(|_| TicketFault::Invalid)?;
        let fits = |key: &TicketKey| {
            let mac = signed(key, key_id, camera, self.task, self.captured_ms, self.expires_secs);
            mac.verify_slice(&signature).is_ok()
        };
        if keys.accepted(now).any(fits) { Ok(()) } else { Err(TicketFault::Invalid) }
    }

    /// When the frame was captured.
    pub fn captured_at(&self) -> WallTime {
        WallTime(self.captured_ms.saturating_mul(1000))
    }

    /// The id under which its results are stored.
    pub fn frame_id(&self) -> String {
        derived_frame_id(self.task, self.captured_ms)
    }
}

/// Digits alone, without leading zeros: one text for each number.
fn number(text: &str) -> Result<i64, TicketFault> {
    let plain = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(TicketFault::Malformed);
    }
    text.parse().map_err(|_| TicketFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: WallTime = WallTime(1_800_000_000_000_000);

    fn key(byte: u8) -> TicketKey {
        Secret::new([byte; 32])
    }

    fn camera(name: &str) -> CameraId {
        CameraId::new(name).unwrap()
    }

    fn keys() -> Keys {
        Keys::new(key(7), NOW)
    }

    fn at(secs: i64) -> WallTime {
        NOW + Micros::from_secs(secs)
    }

    fn minted() -> String {
        mint(&keys(), "key_1", &camera("gate"), TaskId::new(5), NOW + Micros(-2_734), NOW, 120).unwrap()
    }

    #[test]
    fn a_ticket_says_task_frame_and_end() {
        let text = minted();
        let ticket = Ticket::parse(&format!(" {text}\n")).unwrap();
        let expect = format!("f1.{}.1799999999998.1800000120.", TaskId::new(5));
        assert!(text.starts_with(&expect) && text.len() == expect.len() + 43, "{text}");
        assert_eq!(ticket.verify(&keys(), "key_1", &camera("gate"), NOW), Ok(()));
        assert_eq!(ticket.frame_id(), format!("{}:1799999999998", TaskId::new(5)));
        assert_eq!(ticket.captured_at(), WallTime(1_799_999_999_998_000));
    }

    #[test]
    fn times_are_rounded_up() {
        let ms = |at: i64| captured_ms(WallTime(at));
        assert_eq!([ms(0), ms(1), ms(999), ms(1000), ms(1001)], [0, 1, 1, 1, 2]);
        assert_eq!([ms(-1), ms(-1000), ms(-1001)], [0, -1, -1]);
    }

    #[test]
    fn the_signature_is_that_of_the_listed_parts() {
        // HMAC-SHA256 made by another implementation (Python's hmac) over the six lines, under 32 bytes of 7.
        assert_eq!(minted().rsplit_once('.').unwrap().1, VECTOR);
    }

    const VECTOR: &str = "shRiJI7Fun8wIJt6r69m7GUe2iGr1eAgwue8lWZnQdQ";

    /// Whether `text` passes, and for what it fails.
    #[track_caller]
    fn check(text: &str, key_id: &str, camera_id: &str, now: WallTime, expect: Result<(), TicketFault>) {
        let got = Ticket::parse(text).and_then(|t| t.verify(&keys(), key_id, &camera(camera_id), now));
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn what_it_is_not_for_is_invalid() {
        let text = minted();
        check(&text, "key_2", "gate", NOW, Err(TicketFault::Invalid));
        check(&text, "", "gate", NOW, Err(TicketFault::Invalid));
        check(&text, "key_1", "yard", NOW, Err(TicketFault::Invalid));
        check(&text, "key_1", "gate", at(119), Ok(()));
        check(&text, "key_1", "gate", at(120), Err(TicketFault::Invalid));
        check(
            &text.replace("1799999999998", "1799999999999"),
            "key_1",
            "gate",
            NOW,
            Err(TicketFault::Invalid),
        );
        check(&text.replace("1800000120", "1800000121"), "key_1", "gate", NOW, Err(TicketFault::Invalid));
        let other = TaskId::new(6).to_string();
        check(
            &text.replace(&TaskId::new(5).to_string(), &other),
            "key_1",
            "gate",
            NOW,
            Err(TicketFault::Invalid),
        );
        // Every other last character, of which most are no canonical base64.
        let (head, last) = text.split_at(text.len() - 1);
        for c in ('a'..='z').chain('0'..='9').filter(|c| !last.starts_with(*c)) {
            check(&format!("{head}{c}"), "key_1", "gate", NOW, Err(TicketFault::Invalid));
        }
    }

    #[test]
    fn what_cannot_be_read_is_malformed() {
        let text = minted();
        for bad in [
            "",
            "f1",
            "f1....",
            &text.replacen("f1", "f2", 1),
            &format!("{text}.x"),
            &format!("{text}="),
            &text.replace("1800000120", "01800000120"),
            &text.replace("1800000120", "+800000120"),
            &text.replace("1800000120", "99999999999999999999"),
            &text.replace("ai_", "zz_"),
            text.rsplit_once('.').unwrap().0,
        ] {
            check(bad, "key_1", "gate", NOW, Err(TicketFault::Malformed));
        }
    }

    #[test]
    fn the_secret_before_is_valid_for_a_quarter_of_an_hour() {
        let long = mint(&keys(), "key_1", &camera("gate"), TaskId::new(5), NOW, at(86_000), 5_000).unwrap();
        let ticket = Ticket::parse(&long).unwrap();
        assert_eq!(ticket.expires_secs, 1_800_086_900, "900 s at most");
        assert!(!keys().is_due(at(86_399)) && keys().is_due(at(86_400)));
        let renewed = keys().renewed(key(8), at(86_000));
        let verify = |now| ticket.verify(&renewed, "key_1", &camera("gate"), now);
        assert_eq!(verify(at(86_899)), Ok(()));
        let twice = renewed.renewed(key(9), at(86_001));
        assert!(ticket.verify(&twice, "key_1", &camera("gate"), at(86_002)).is_err());
        // A ticket that lives on is refused all the same once its secret is too old.
        let early = keys().renewed(key(8), at(85_000));
        assert!(ticket.verify(&early, "key_1", &camera("gate"), at(85_900)).is_err());
    }

    #[test]
    fn ids_that_could_be_mistaken_are_not_signed() {
        for id in ["", "a.b", "a\nb", "a\rb"] {
            assert_eq!(mint(&keys(), id, &camera("gate"), TaskId::new(5), NOW, NOW, 120), None);
        }
        assert_eq!(mint(&keys(), "k", &camera("gate"), TaskId::new(5), WallTime(-1_000), NOW, 120), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_or_passes(text in ".{0,120}") {
            let passes = Ticket::parse(&text).and_then(|t| t.verify(&keys(), "k", &camera("c"), NOW));
            prop_assert!(passes.is_err());
        }

        #[test]
        fn what_is_minted_is_verified(captured in 0..4_000_000_000_000_000i64, ttl: i64, task: u128) {
            let task = TaskId::new(task);
            let text = mint(&keys(), "k", &camera("c"), task, WallTime(captured), NOW, ttl).unwrap();
            let ticket = Ticket::parse(&text).unwrap();
            prop_assert_eq!(ticket.verify(&keys(), "k", &camera("c"), at(9)), Ok(()));
            prop_assert_eq!((ticket.task, ticket.captured_ms), (task, (captured + 999) / 1000));
        }
    }
}
