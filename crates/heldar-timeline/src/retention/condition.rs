//! What stands in the way of a limit, and when to say so.

use heldar_base::{CameraId, Micros, WallTime};

use super::{Camera, Policy};

/// A critical condition that lasts is raised again after this time.
pub const REPEAT_EVERY: Micros = Micros::from_hours(1);

/// A state of affairs that an operator has to know: one variant for each notice of the event `disk_pressure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Held footage of a camera alone exceeds its quota.
    QuotaHeld {
        /// Which camera.
        camera: CameraId,
        /// Its held bytes.
        protected_bytes: u64,
        /// Its quota.
        quota_bytes: u64,
    },
    /// Held footage alone exceeds the size cap.
    HeldExceedsCap {
        /// Held bytes of all cameras.
        protected_bytes: u64,
        /// Bytes of all cameras that are not held.
        unlocked_bytes: u64,
        /// The cap.
        max_bytes: u64,
    },
    /// There is a floor, and free space is not known; nothing is deleted for the floor.
    DiskStatsUnavailable,
    /// The floor is at or above the size of the disk; nothing is deleted for it.
    FloorUnsatisfiable {
        /// The floor.
        min_free_bytes: u64,
        /// The disk.
        total_bytes: u64,
    },
    /// Recordings are above the cap, this camera is above its share, and none of its footage may go.
    OverShareAllProtected {
        /// Which camera.
        camera: CameraId,
        /// The cap.
        max_bytes: u64,
    },
    /// Free space is below the floor, this camera is above its share, and none of its footage may go.
    FloorBlockedByProtectedShare {
        /// Which camera.
        camera: CameraId,
        /// The floor.
        min_free_bytes: u64,
    },
    /// Deleting all that may go does not reach the floor.
    FloorOutOfReach {
        /// The floor.
        min_free_bytes: u64,
        /// What stays missing.
        short_bytes: u64,
    },
    /// Files were deleted and free space did not rise; found while a plan is executed, see [`FloorWatch`].
    PruneNotRecoveringSpace {
        /// The floor.
        min_free_bytes: u64,
        /// Segments deleted.
        deleted: u64,
    },
}

impl Condition {
    pub(super) fn quota_held(camera: &Camera) -> Option<Condition> {
        let quota_bytes = camera.quota_bytes.filter(|quota| camera.held_bytes > *quota)?;
        let protected_bytes = camera.held_bytes;
        Some(Condition::QuotaHeld { camera: camera.id.clone(), protected_bytes, quota_bytes })
    }

    pub(super) fn held_exceeds_cap<'a>(
        policy: &Policy,
        cameras: impl Iterator<Item = &'a Camera>,
    ) -> Option<Condition> {
        let max_bytes = policy.max_recordings_bytes?;
        let (protected_bytes, recorded) = cameras.fold((0u64, 0u64), |(held, all), camera| {
            (held.saturating_add(camera.held_bytes), all.saturating_add(camera.recorded_bytes))
        });
        let unlocked_bytes = recorded.saturating_sub(protected_bytes);
        (protected_bytes > max_bytes).then_some(Condition::HeldExceedsCap {
            protected_bytes,
            unlocked_bytes,
            max_bytes,
        })
    }

    /// The `reason` of its event.
    pub const fn reason(&self) -> &'static str {
        match self {
            Condition::QuotaHeld { .. } => "camera_quota",
            Condition::HeldExceedsCap { .. } => "locked_exceeds_cap",
            Condition::DiskStatsUnavailable => "disk_stats_unavailable",
            Condition::FloorUnsatisfiable { .. } => "floor_unsatisfiable",
            Condition::OverShareAllProtected { .. } => "over_share_all_protected",
            Condition::FloorBlockedByProtectedShare { .. } => "floor_blocked_by_protected_share",
            Condition::FloorOutOfReach { .. } => "free_floor",
            Condition::PruneNotRecoveringSpace { .. } => "prune_not_recovering_space",
        }
    }

    /// The camera it is about, if one.
    pub const fn camera(&self) -> Option<&CameraId> {
        match self {
            Condition::QuotaHeld { camera, .. }
            | Condition::OverShareAllProtected { camera, .. }
            | Condition::FloorBlockedByProtectedShare { camera, .. } => Some(camera),
            _ => None,
        }
    }

    /// True for the severity critical, false for warning.
    pub const fn is_critical(&self) -> bool {
        match self {
            Condition::QuotaHeld { .. }
            | Condition::HeldExceedsCap { .. }
            | Condition::DiskStatsUnavailable => false,
            Condition::FloorUnsatisfiable { .. }
            | Condition::OverShareAllProtected { .. }
            | Condition::FloorBlockedByProtectedShare { .. }
            | Condition::FloorOutOfReach { .. }
            | Condition::PruneNotRecoveringSpace { .. } => true,
        }
    }

    /// True when `other` is the same condition, with whatever figures.
    fn is_same(&self, other: &Condition) -> bool {
        self.reason() == other.reason() && self.camera() == other.camera()
    }
}

/// What to say about a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Episode {
    /// It holds now and did not before.
    Entered(Condition),
    /// It has held on, and what it means is too grave to be said once: footage cannot be kept off the last byte.
    Repeated(Condition),
    /// It no longer holds.
    Cleared {
        /// As it was seen last.
        condition: Condition,
        /// How long it held.
        lasted: Micros,
    },
}

/// Turns the conditions of sweep after sweep into one notice for each episode.
#[derive(Clone, Debug, Default)]
pub struct Episodes {
    standing: Vec<Standing>,
}

#[derive(Clone, Debug)]
struct Standing {
    condition: Condition,
    since: WallTime,
    said: WallTime,
}

impl Episodes {
    /// Takes the conditions that hold after a sweep, all of them, and says what is new.
    pub fn update(&mut self, now: WallTime, conditions: &[Condition]) -> Vec<Episode> {
        let mut out = Vec::new();
        self.standing.retain(|standing| {
            let holds = conditions.iter().any(|condition| condition.is_same(&standing.condition));
            if !holds {
                let lasted = (now - standing.since).max(Micros::ZERO);
                out.push(Episode::Cleared { condition: standing.condition.clone(), lasted });
            }
            holds
        });
        for condition in conditions {
            match self.standing.iter_mut().find(|standing| condition.is_same(&standing.condition)) {
                Some(standing) => {
                    standing.condition = condition.clone();
                    let repeats = matches!(condition, Condition::FloorOutOfReach { .. });
                    if repeats && now - standing.said >= REPEAT_EVERY {
                        standing.said = now;
                        out.push(Episode::Repeated(condition.clone()));
                    }
                }
                None => {
                    self.standing.push(Standing { condition: condition.clone(), since: now, said: now });
                    out.push(Episode::Entered(condition.clone()));
                }
            }
        }
        out
    }
}

/// How deleting for the floor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorProgress {
    /// Free space is at the floor.
    Reached,
    /// It rises; go on.
    Rising,
    /// Files went and free space did not rise: something else takes or keeps it. End this sweep.
    NotRecovering,
}

/// Watches free space while items of [`super::Reason::FreeFloor`] are deleted in batches.
#[derive(Clone, Copy, Debug)]
pub struct FloorWatch {
    min_free_bytes: u64,
    free_bytes: u64,
}

impl FloorWatch {
    /// Begins with the free space before the first batch.
    pub fn new(min_free_bytes: u64, free_bytes: u64) -> Self {
        FloorWatch { min_free_bytes, free_bytes }
    }

    /// Takes the free space after a batch that removed `deleted_bytes`.
    pub fn after_batch(&mut self, free_bytes: u64, deleted_bytes: u64) -> FloorProgress {
        let before = std::mem::replace(&mut self.free_bytes, free_bytes);
        if free_bytes >= self.min_free_bytes {
            FloorProgress::Reached
        } else if deleted_bytes > 0 && free_bytes <= before {
            FloorProgress::NotRecovering
        } else {
            FloorProgress::Rising
        }
    }
}
