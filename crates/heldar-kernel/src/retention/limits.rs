//! The limits that hold: stored settings over the configuration.
//!
//! Owns: the keys `recording_max_bytes` and `recording_min_free_bytes` and what is valid for them (auth-system.md 8.4).

use heldar_base::Scope;
use heldar_config::RetentionSettings;
use heldar_store::{Setting, Store, StoreError};
use heldar_timeline::retention::Policy;

/// Setting that overrides `HELDAR_MAX_RECORDINGS_GB`.
pub const MAX_KEY: &str = "recording_max_bytes";
/// Setting that overrides `HELDAR_MIN_FREE_DISK_GB`.
pub const MIN_FREE_KEY: &str = "recording_min_free_bytes";

/// One limit in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub bytes: u64,
    /// What the configuration says.
    pub configured: u64,
    /// True when a stored setting holds.
    pub overridden: bool,
}

/// The limits over all recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of footage that is not held.
    pub max: Limit,
    /// Free space to keep; 0: no floor.
    pub min_free: Limit,
    /// Keys of stored settings that cannot be used and count as absent.
    pub unusable: Vec<&'static str>,
}

impl Limits {
    /// Out of stored settings and the configuration.
    pub fn of(stored: &[Setting], configured: &RetentionSettings) -> Limits {
        let mut unusable = Vec::new();
        let mut limit = |key, configured, least: u64| {
            let found = stored.iter().find(|setting| setting.key == key);
            let value =
                found.map(|setting| setting.value.parse::<u64>().ok().filter(|bytes| *bytes >= least));
            if value == Some(None) {
                unusable.push(key);
            }
            let stored = value.flatten();
            Limit { bytes: stored.unwrap_or(configured), configured, overridden: stored.is_some() }
        };
        Limits {
            max: limit(MAX_KEY, configured.max_recordings_bytes, 1),
            min_free: limit(MIN_FREE_KEY, configured.min_free_bytes, 0),
            unusable,
        }
    }

    /// Those that hold now.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn load(store: &Store, configured: &RetentionSettings) -> Result<Limits, StoreError> {
        Ok(Limits::of(&store.settings(&Scope::All).await?, configured))
    }

    /// As the planner takes them.
    pub fn policy(&self) -> Policy {
        Policy {
            max_recordings_bytes: (self.max.bytes < u64::MAX).then_some(self.max.bytes),
            min_free_bytes: self.min_free.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::{Micros, WallTime};

    use super::*;

    #[test]
    fn stored_settings_win_when_they_are_valid() {
        let configured =
            RetentionSettings { interval: Micros::ZERO, max_recordings_bytes: 20, min_free_bytes: 5 };
        let check = |key: &str, value: &str, max: u64, min_free: u64, unusable: &[&str]| {
            let row = Setting { key: key.to_owned(), value: value.to_owned(), updated_at: WallTime(0) };
            let limits = Limits::of(&[row], &configured);
            assert_eq!((limits.max.bytes, limits.min_free.bytes), (max, min_free), "{key}={value}");
            assert_eq!(limits.unusable, unusable, "{key}={value}");
            assert_eq!((limits.max.configured, limits.min_free.configured), (20, 5));
            assert_eq!(limits.max.overridden || limits.min_free.overridden, (max, min_free) != (20, 5));
        };
        check(MAX_KEY, "7", 7, 5, &[]);
        check(MAX_KEY, "0", 20, 5, &[MAX_KEY]);
        check(MAX_KEY, "a lot", 20, 5, &[MAX_KEY]);
        check(MIN_FREE_KEY, "0", 20, 0, &[]);
        check(MIN_FREE_KEY, "-1", 20, 5, &[MIN_FREE_KEY]);
        check("other", "1", 20, 5, &[]);
    }
}
