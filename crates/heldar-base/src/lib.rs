//! The words that every other crate speaks: ids, times, reasons, secrets, access.
//!
//! Owns: types whose meaning must be the same everywhere. Never: tokio, a clock, a file, a socket, SQL or HTTP.
#![forbid(unsafe_code)]

mod access;
mod cidr;
mod clock;
mod id;
mod reason;
mod secret;
mod time;

pub use access::{Capability, Credential, KeySecret, OutOfScope, Principal, PrincipalKind, Role, Scope};
pub use cidr::{Cidr, CidrError, contains};
pub use clock::{Clock, SimClock};
pub use id::{CameraId, IdError, PublicId, SegmentId, SiteId, StreamId, StreamKind, slugify};
pub use reason::{Cause, EndReason, NotWanted, ReasonClass};
pub use secret::{Secret, mask_userinfo};
pub use time::{Interval, Micros, MonoTime, TimeError, WallTime};
