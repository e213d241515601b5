//! Who fetches a live playlist: there is no connection to tell, only one request after another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heldar_base::{Credential, Micros, MonoTime, StreamId};
use heldar_live::{Cut, CutWatch, Seat};

use super::name::LiveName;

/// A viewer whose requests lie further apart has gone (media.md 11.2).
const APART: Micros = Micros::from_secs(30);

/// What tells one viewer from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HlsKey {
    /// The name that a token opens.
    pub name: LiveName,
    /// What is fetched.
    pub stream: StreamId,
    /// With what it is let in.
    pub who: Credential,
    /// From where.
    pub address: IpAddr,
    /// With which token; empty without one.
    pub token: String,
}

#[derive(Debug)]
struct Present {
    place: Place,
    last: MonoTime,
}

#[derive(Debug)]
enum Place {
    Watches(Seat),
    /// It is not let in again before it has been away.
    CutOff(Cut),
}

impl Place {
    fn seat(&self) -> Option<&Seat> {
        match self {
            Place::Watches(seat) => Some(seat),
            Place::CutOff(_) => None,
        }
    }

    /// Leaves the list of viewers when it was cut off.
    fn leave_if_cut(&mut self) -> Result<(), Cut> {
        if let Place::Watches(seat) = self {
            let Some(why) = seat.cut() else { return Ok(()) };
            *self = Place::CutOff(why);
        }
        match self {
            Place::Watches(_) => Ok(()),
            Place::CutOff(why) => Err(*why),
        }
    }
}

/// All who fetch playlists.
#[derive(Debug, Default)]
pub struct HlsViewers {
    present: Mutex<HashMap<HlsKey, Present>>,
}

impl HlsViewers {
    fn present(&self) -> MutexGuard<'_, HashMap<HlsKey, Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this viewer has been here lately, under this very name.
    pub fn knows(&self, name: &LiveName, address: IpAddr, token: &str) -> bool {
        self.present().keys().any(|key| key.name == *name && key.address == address && key.token == token)
    }

    /// A viewer asks; `admit` takes one in that is new. What comes back tells when it is cut off while it waits.
    ///
    /// # Errors
    /// It was cut off.
    pub fn asks(&self, key: HlsKey, now: MonoTime, admit: impl FnOnce() -> Seat) -> Result<CutWatch, Cut> {
        let mut present = self.present();
        let entry =
            present.entry(key).or_insert_with(|| Present { place: Place::Watches(admit()), last: now });
        entry.last = now;
        entry.place.leave_if_cut()?;
        match &entry.place {
            Place::Watches(seat) => Ok(seat.watch_cut()),
            Place::CutOff(why) => Err(*why),
        }
    }

    /// So many bytes are on their way to a viewer; `shows` when there are pictures among them.
    pub fn sent(&self, key: &HlsKey, bytes: usize, shows: bool) {
        if let Some(seat) = self.present().get(key).and_then(|entry| entry.place.seat()) {
            seat.sent(bytes);
            if shows {
                seat.shown();
            }
        }
    }

    /// Says what sound goes along.
    pub fn audio(&self, key: &HlsKey, coding: Option<&'static str>) {
        if let Some(seat) = self.present().get(key).and_then(|entry| entry.place.seat()) {
            seat.audio(coding);
        }
    }

    /// Lets those go who have not asked for long, or were cut off.
    pub fn expire(&self, now: MonoTime) {
        self.present().retain(|_, entry| {
            // Whoever asks is told.
            let _cut = entry.place.leave_if_cut();
            now - entry.last < APART
        });
    }
}
