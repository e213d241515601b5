//! What the journal carries, and how an entry looks in the spool file.
//!
//! Owns: the JSON form of entries on disk. Fields may be added to it, never renamed: a spool outlives an upgrade.

use heldar_base::{CameraId, Cause, NotWanted, PublicId, WallTime};
use heldar_store::op::{AppendAudit, AppendEvents, AppendWanted, EndSessions, PutGap, RemoveGaps, WriteOp};
use heldar_store::{AuditEntry, FillState, Gap, NewEvent, Severity};
use serde::{Deserialize, Serialize};

/// One thing to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An event.
    Event(NewEvent),
    /// A gap as it is now.
    Gap(Gap),
    /// A gap that turned out to be none.
    RemoveGap(PublicId),
    /// Recording is wanted from then on, or why not.
    Wanted {
        /// Whose.
        camera: CameraId,
        /// From when.
        at: WallTime,
        /// Why not.
        reason: Option<NotWanted>,
    },
    /// An audit row of something that happened outside the store.
    Audit(Box<AuditEntry>),
    /// Login sessions that ended.
    EndSessions(Vec<String>),
    /// Entries that had to go for want of room.
    Lost(Loss),
}

/// Entries that were dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Id of the event that tells of it.
    pub id: String,
    /// How many.
    pub dropped: u64,
    /// Time of the earliest.
    pub from: WallTime,
    /// Time of the latest.
    pub to: WallTime,
}

impl Loss {
    /// One entry more is lost.
    pub(super) fn add(loss: &mut Option<Loss>, at: WallTime) {
        match loss {
            Some(loss) => loss.merge(1, at, at),
            None => *loss = Some(Loss { id: super::uuid(), dropped: 1, from: at, to: at }),
        }
    }

    /// So many more are lost.
    pub(super) fn merge(&mut self, dropped: u64, from: WallTime, to: WallTime) {
        self.dropped += dropped;
        self.from = self.from.min(from);
        self.to = self.to.max(to);
    }

    fn event(self) -> NewEvent {
        let payload = serde_json::json!({ "dropped": self.dropped, "from": self.from, "to": self.to });
        NewEvent {
            id: self.id,
            camera: None,
            event_type: "event_spool_overflow".to_owned(),
            severity: Severity::Warning,
            timestamp: self.to,
            created_at: self.to,
            payload,
        }
    }
}

/// What goes first when there is no room, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Events to be known.
    Info,
    /// Events to be looked at.
    Warning,
    /// Events to be acted on.
    Critical,
    /// What the ledger and the audit trail are made of, and ends of sessions.
    Ledger,
    /// The report of a loss: stays.
    Lost,
}

impl Rank {
    /// Ranks that may go, in order.
    pub(super) const EXPENDABLE: [Rank; 4] = [Rank::Info, Rank::Warning, Rank::Critical, Rank::Ledger];

    pub(super) fn from_byte(byte: u8) -> Option<Rank> {
        [Rank::Info, Rank::Warning, Rank::Critical, Rank::Ledger, Rank::Lost]
            .into_iter()
            .find(|rank| *rank as u8 == byte)
    }
}

impl Entry {
    pub(super) fn rank(&self) -> Rank {
        match self {
            Entry::Event(event) => match event.severity {
                Severity::Info => Rank::Info,
                Severity::Warning => Rank::Warning,
                Severity::Critical => Rank::Critical,
            },
            Entry::Gap(_)
            | Entry::RemoveGap(_)
            | Entry::Wanted { .. }
            | Entry::Audit(_)
            | Entry::EndSessions(_) => Rank::Ledger,
            Entry::Lost(_) => Rank::Lost,
        }
    }

    /// The time that it is about; `None` where it has none.
    pub(super) fn at(&self) -> Option<WallTime> {
        match self {
            Entry::Event(event) => Some(event.timestamp),
            Entry::Gap(gap) => Some(gap.start),
            Entry::RemoveGap(_) | Entry::EndSessions(_) => None,
            Entry::Wanted { at, .. } => Some(*at),
            Entry::Audit(entry) => Some(entry.created_at),
            Entry::Lost(loss) => Some(loss.to),
        }
    }

    /// The time of an audit row; `None` for everything else.
    pub(super) fn audit_time(&self) -> Option<WallTime> {
        match self {
            Entry::Audit(entry) => Some(entry.created_at),
            _ => None,
        }
    }

    /// The write that stores it. Doing it again right after has no effect: events, gaps, sessions and audit rows have ids, and what is
    /// wanted already is no change.
    pub(super) fn write_op(self) -> WriteOp {
        match self {
            Entry::Event(event) => AppendEvents { events: vec![event] }.into(),
            Entry::Audit(entry) => AppendAudit { entry: *entry }.into(),
            Entry::Lost(loss) => AppendEvents { events: vec![loss.event()] }.into(),
            Entry::Gap(gap) => PutGap { gap }.into(),
            Entry::RemoveGap(id) => RemoveGaps { ids: vec![id] }.into(),
            Entry::EndSessions(ids) => EndSessions { ids }.into(),
            Entry::Wanted { camera, at, reason } => AppendWanted { camera, at, reason }.into(),
        }
    }

    /// Its form on disk.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Text keys, numbers and strings only: nothing that JSON cannot hold.
        serde_json::to_vec(&Wire::from(self.clone())).unwrap_or_default()
    }

    /// Reads it back; `None` for what this version does not know.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Entry> {
        serde_json::from_slice::<Wire>(bytes).ok()?.entry()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Wire {
    Event {
        id: String,
        camera: Option<CameraId>,
        event_type: String,
        severity: Severity,
        timestamp: WallTime,
        created_at: WallTime,
        payload: serde_json::Value,
    },
    Gap {
        id: String,
        camera: CameraId,
        start: WallTime,
        end: WallTime,
        open: bool,
        cause: String,
        detail: Option<String>,
        last_error: Option<String>,
        fill_state: FillState,
        fill_attempts: u32,
        last_attempt_at: Option<WallTime>,
        filled_at: Option<WallTime>,
        created_at: WallTime,
    },
    RemoveGap {
        id: String,
    },
    Wanted {
        camera: CameraId,
        at: WallTime,
        reason: Option<String>,
    },
    Audit(Box<AuditEntry>),
    EndSessions {
        ids: Vec<String>,
    },
    Lost(Loss),
}

impl From<Entry> for Wire {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Event(event) => Wire::Event {
                id: event.id,
                camera: event.camera,
                event_type: event.event_type,
                severity: event.severity,
                timestamp: event.timestamp,
                created_at: event.created_at,
                payload: event.payload,
            },
            Entry::Gap(gap) => Wire::Gap {
                id: gap.id.to_string(),
                camera: gap.camera,
                start: gap.start,
                end: gap.end,
                open: gap.open,
                cause: gap.cause.as_str().to_owned(),
                detail: gap.detail,
                last_error: gap.last_error,
                fill_state: gap.fill_state,
                fill_attempts: gap.fill_attempts,
                last_attempt_at: gap.last_attempt_at,
                filled_at: gap.filled_at,
                created_at: gap.created_at,
            },
            Entry::RemoveGap(id) => Wire::RemoveGap { id: id.to_string() },
            Entry::Wanted { camera, at, reason } => {
                Wire::Wanted { camera, at, reason: reason.map(|reason| reason.as_str().to_owned()) }
            }
            Entry::Audit(entry) => Wire::Audit(entry),
            Entry::EndSessions(ids) => Wire::EndSessions { ids },
            Entry::Lost(loss) => Wire::Lost(loss),
        }
    }
}

impl Wire {
    fn entry(self) -> Option<Entry> {
        let gap_id = |id: &str| PublicId::parse(Gap::PREFIX, id).ok();
        Some(match self {
            Wire::Event { id, camera, event_type, severity, timestamp, created_at, payload } => {
                Entry::Event(NewEvent { id, camera, event_type, severity, timestamp, created_at, payload })
            }
            Wire::Gap {
                id,
                camera,
                start,
                end,
                open,
                cause,
                detail,
                last_error,
                fill_state,
                fill_attempts,
                last_attempt_at,
                filled_at,
                created_at,
            } => Entry::Gap(Gap {
                id: gap_id(&id)?,
                camera,
                start,
                end,
                open,
                cause: cause.parse::<Cause>().ok()?,
                detail,
                last_error,
                fill_state,
                fill_attempts,
                last_attempt_at,
                filled_at,
                created_at,
            }),
            Wire::RemoveGap { id } => Entry::RemoveGap(gap_id(&id)?),
            Wire::Wanted { camera, at, reason } => Entry::Wanted {
                camera,
                at,
                reason: match reason {
                    Some(reason) => Some(reason.parse::<NotWanted>().ok()?),
                    None => None,
                },
            },
            Wire::Audit(entry) => Entry::Audit(entry),
            Wire::EndSessions { ids } => Entry::EndSessions(ids),
            Wire::Lost(loss) => Entry::Lost(loss),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_their_form_on_disk() {
        let camera = CameraId::new("gate").unwrap();
        let at = WallTime(1_793_500_000_123_456);
        let gap = Gap {
            id: PublicId::new(Gap::PREFIX, 7),
            camera: camera.clone(),
            start: at,
            end: at,
            open: true,
            cause: Cause::ServerCrashed,
            detail: Some("said \"so\"\n".to_owned()),
            last_error: None,
            fill_state: FillState::Pending,
            fill_attempts: 3,
            last_attempt_at: Some(at),
            filled_at: None,
            created_at: at,
        };
        let loss = Loss { id: "x".to_owned(), dropped: 4, from: at, to: at };
        let event = NewEvent { payload: serde_json::json!({ "a": [1.5, null] }), ..loss.clone().event() };
        let author = crate::registry::Author::new(&heldar_base::Principal::system());
        let target = crate::registry::Target { kind: "camera", id: "gate" };
        let audit = author.did(at, "view_playback", target, serde_json::json!({ "count": 2 }));
        for entry in [
            Entry::Audit(Box::new(audit)),
            Entry::EndSessions(vec!["ses_1".to_owned(), "ses_2".to_owned()]),
            Entry::Event(event),
            Entry::Gap(gap),
            Entry::RemoveGap(PublicId::new(Gap::PREFIX, u128::MAX)),
            Entry::Wanted { camera: camera.clone(), at, reason: Some(NotWanted::RecorderOff) },
            Entry::Wanted { camera, at, reason: None },
            Entry::Lost(loss),
        ] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        }
        assert_eq!(Entry::from_bytes(br#"{"kind":"from a later version"}"#), None);
    }
}
