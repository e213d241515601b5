//! The events of a sweep.
//!
//! Owns: types, severities and payloads of `retention_delete`, `disk_pressure` and `disk_pressure_cleared` (media.md 25).
//! Deletions raise one event per sweep and reason, conditions one per episode.

use heldar_base::{CameraId, ReasonClass};
use heldar_store::Severity;
use heldar_timeline::retention::{Condition, Episode, Kept, Policy, Reason};
use serde_json::{Value, json};

/// An event to be raised.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice {
    pub(super) camera: Option<CameraId>,
    pub(super) event_type: &'static str,
    pub(super) severity: Severity,
    pub(super) payload: Value,
}

/// What a sweep deleted, by reason: segments and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    counts: [(u64, u64); Reason::ALL.len()],
}

impl Deleted {
    /// Segments and bytes that went for a reason.
    pub fn get(&self, reason: Reason) -> (u64, u64) {
        self.counts.get(reason as usize).copied().unwrap_or_default()
    }

    /// All segments.
    pub fn segments(&self) -> u64 {
        self.counts.iter().map(|(segments, _)| segments).sum()
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.counts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The last step that removed something.
    pub fn limited_by(&self) -> Option<Reason> {
        Reason::ALL.into_iter().rev().find(|reason| self.get(*reason).0 > 0)
    }

    pub(super) fn add(&mut self, reason: Reason, segments: u64, bytes: u64) {
        if let Some(count) = self.counts.get_mut(reason as usize) {
            count.0 += segments;
            count.1 = count.1.saturating_add(bytes);
        }
    }
}

/// Why a sweep is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// It is time, or somebody asks for it.
    Due,
    /// Free space is below the floor. Where the floor is what limits footage that is so every few seconds: such a sweep
    /// deletes footage and nothing else.
    Floor,
}

/// Deletions that no event has told yet. What is deleted for the floor is told when that begins, and from then on with
/// the sweeps that are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Untold {
    deleted: Deleted,
    floor_told: bool,
}

impl Untold {
    /// Takes what a sweep deleted, and says what to tell now.
    pub(super) fn tell(&mut self, trigger: Trigger, deleted: &Deleted) -> Deleted {
        for reason in Reason::ALL {
            let (segments, bytes) = deleted.get(reason);
            self.deleted.add(reason, segments, bytes);
        }
        let for_floor = self.deleted.get(Reason::FreeFloor).0 > 0;
        if trigger == Trigger::Floor && (self.floor_told || !for_floor) {
            return Deleted::default();
        }
        self.floor_told = for_floor;
        std::mem::take(&mut self.deleted)
    }
}

/// The events of one sweep: what was deleted, and what conditions have come, gone or lasted.
pub(super) fn notices(deleted: &Deleted, kept: &Kept, policy: &Policy, episodes: &[Episode]) -> Vec<Notice> {
    let told = |reason: Reason| {
        let name = |condition: &Condition| condition.reason() == "free_floor";
        reason == Reason::FreeFloor
            && episodes.iter().any(|episode| match episode {
                Episode::Entered(condition) | Episode::Repeated(condition) => name(condition),
                Episode::Cleared { .. } => false,
            })
    };
    let of_deletions = Reason::ALL.into_iter().filter(|reason| deleted.get(*reason).0 > 0 && !told(*reason));
    let mut notices: Vec<Notice> =
        of_deletions.map(|reason| deletion(reason, deleted.get(reason), kept, policy)).collect();
    notices.extend(episodes.iter().map(|episode| of_episode(episode, deleted)));
    notices
}

fn deletion(reason: Reason, (segments, bytes): (u64, u64), kept: &Kept, policy: &Policy) -> Notice {
    let pressure =
        |severity, payload| Notice { camera: None, event_type: "disk_pressure", severity, payload };
    match reason {
        Reason::Age => Notice {
            camera: None,
            event_type: "retention_delete",
            severity: Severity::Info,
            payload: json!({
                "deleted": segments,
                "reason": "age",
                "bytes": bytes,
                "kept": { "motion": kept.motion.segments, "alert": kept.alert.segments },
            }),
        },
        Reason::Quota => pressure(
            Severity::Warning,
            json!({ "deleted": segments, "reason": "camera_quota", "bytes": bytes,
                "reason_class": ReasonClass::Disk }),
        ),
        Reason::SizeCap => pressure(
            Severity::Warning,
            json!({ "deleted": segments, "reason": "size_cap", "bytes": bytes,
                "max_bytes": policy.max_recordings_bytes, "reason_class": ReasonClass::Disk }),
        ),
        Reason::FreeFloor => pressure(
            Severity::Critical,
            json!({ "deleted": segments, "reason": "free_floor", "bytes": bytes,
                "min_free_bytes": policy.min_free_bytes, "reason_class": ReasonClass::Disk }),
        ),
    }
}

fn of_episode(episode: &Episode, deleted: &Deleted) -> Notice {
    match episode {
        Episode::Entered(condition) | Episode::Repeated(condition) => Notice {
            camera: condition.camera().cloned(),
            event_type: "disk_pressure",
            severity: if condition.is_critical() { Severity::Critical } else { Severity::Warning },
            payload: payload(condition, deleted),
        },
        Episode::Cleared { condition, lasted } => Notice {
            camera: None,
            event_type: "disk_pressure_cleared",
            severity: Severity::Info,
            payload: json!({
                "reason": condition.reason(), "seconds": lasted, "camera_id": condition.camera(),
            }),
        },
    }
}

fn payload(condition: &Condition, deleted: &Deleted) -> Value {
    let mut payload = match condition {
        Condition::QuotaHeld { camera, protected_bytes, quota_bytes } => {
            json!({ "camera_id": camera, "protected_bytes": protected_bytes, "quota_bytes": quota_bytes })
        }
        Condition::HeldExceedsCap { protected_bytes, unlocked_bytes, max_bytes } => json!({
            "protected_bytes": protected_bytes, "unlocked_bytes": unlocked_bytes, "max_bytes": max_bytes,
        }),
        Condition::DiskStatsUnavailable => json!({}),
        Condition::FloorUnsatisfiable { min_free_bytes, total_bytes } => {
            json!({ "min_free_bytes": min_free_bytes, "total_bytes": total_bytes })
        }
        Condition::OverShareAllProtected { max_bytes, .. } => json!({ "max_bytes": max_bytes }),
        Condition::FloorBlockedByProtectedShare { min_free_bytes, .. } => {
            json!({ "min_free_bytes": min_free_bytes })
        }
        Condition::FloorOutOfReach { min_free_bytes, short_bytes } => json!({
            "deleted": deleted.get(Reason::FreeFloor).0,
            "min_free_bytes": min_free_bytes,
            "short_bytes": short_bytes,
        }),
        Condition::PruneNotRecoveringSpace { min_free_bytes, deleted } => {
            json!({ "min_free_bytes": min_free_bytes, "deleted": deleted })
        }
    };
    if let Some(fields) = payload.as_object_mut() {
        fields.insert("reason".to_owned(), condition.reason().into());
        fields.insert("reason_class".to_owned(), ReasonClass::Disk.as_str().into());
    }
    payload
}

#[cfg(test)]
mod tests {
    use heldar_base::Micros;

    use super::*;

    #[test]
    fn events_are_those_of_the_catalogue() {
        let mut deleted = Deleted::default();
        deleted.add(Reason::Age, 2, 20);
        deleted.add(Reason::FreeFloor, 1, 5);
        let policy = Policy { max_recordings_bytes: Some(100), min_free_bytes: 7 };
        let found = notices(&deleted, &Kept::default(), &policy, &[]);
        let names: Vec<_> = found.iter().map(|n| (n.event_type, n.severity)).collect();
        assert_eq!(names, [("retention_delete", Severity::Info), ("disk_pressure", Severity::Critical)]);
        assert_eq!(found[1].payload["min_free_bytes"], 7);

        // The floor is named once, with what was deleted in vain.
        let short = Condition::FloorOutOfReach { min_free_bytes: 7, short_bytes: 3 };
        let found = notices(&deleted, &Kept::default(), &policy, &[Episode::Entered(short.clone())]);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (&found[1].payload["reason"], &found[1].payload["deleted"]),
            (&json!("free_floor"), &json!(1))
        );

        let cleared = Episode::Cleared { condition: short, lasted: Micros::from_secs(90) };
        let found = notices(&Deleted::default(), &Kept::default(), &policy, &[cleared]);
        assert_eq!(
            (found[0].event_type, &found[0].payload["seconds"]),
            ("disk_pressure_cleared", &json!(90))
        );
    }

    #[test]
    fn what_goes_for_the_floor_is_told_when_it_begins_and_then_when_due() {
        let mut untold = Untold::default();
        let mut check = |trigger, segments: u64, expect: u64| {
            let mut deleted = Deleted::default();
            deleted.add(Reason::FreeFloor, segments, segments);
            assert_eq!(untold.tell(trigger, &deleted).get(Reason::FreeFloor), (expect, expect));
        };
        check(Trigger::Due, 0, 0);
        check(Trigger::Floor, 3, 3);
        check(Trigger::Floor, 4, 0);
        check(Trigger::Floor, 5, 0);
        check(Trigger::Due, 1, 10);
        check(Trigger::Floor, 2, 0);
        check(Trigger::Due, 0, 2);
        check(Trigger::Due, 0, 0);
        check(Trigger::Floor, 6, 6);
    }

    #[test]
    fn conditions_of_a_camera_are_its_own() {
        let camera = CameraId::new("gate").unwrap();
        let condition = Condition::OverShareAllProtected { camera: camera.clone(), max_bytes: 9 };
        let notice = of_episode(&Episode::Entered(condition), &Deleted::default());
        assert_eq!((notice.camera, notice.severity), (Some(camera), Severity::Critical));
        let expect = json!({ "reason": "over_share_all_protected", "max_bytes": 9, "reason_class": "disk" });
        assert_eq!(notice.payload, expect);
    }
}
