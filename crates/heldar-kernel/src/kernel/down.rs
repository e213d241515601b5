//! Why the server did not run before it was started.
//!
//! Owns: the cause of what is missing from that time. Never: decides whether anything is.

use heldar_base::{Cause, Clock as _, WallTime};
use heldar_ingest::SystemClock;

/// What kept the server away until now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Down {
    /// Nothing: it has been running.
    Not,
    /// It was stopped in order.
    Stopped,
    /// It ended without order; the machine is up since then.
    Unclean { up_since: Option<WallTime> },
}

impl Down {
    pub(super) fn of(stopped_at: Option<WallTime>, clock: &SystemClock) -> Self {
        match stopped_at {
            Some(_) => Down::Stopped,
            None => Down::Unclean { up_since: heldar_disk::uptime().map(|up| clock.wall() - up) },
        }
    }

    /// The cause of the hole after footage that ends at `covered`.
    pub(super) fn cause(self, covered: WallTime) -> Cause {
        match self {
            Down::Not => Cause::Starting,
            Down::Stopped => Cause::ServerStopped,
            Down::Unclean { up_since: Some(up) } if up > covered => Cause::HostDown,
            Down::Unclean { .. } => Cause::ServerCrashed,
        }
    }
}
