//! The host's clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use heldar_base::WallTime;

/// UTC as the host believes it.
pub(crate) fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
