//! Settings: one table of variables, and everything that reads it.
//!
//! Owns: which variables exist, where their values come from, how these are parsed, what the server makes of them before
//! it starts (bind address, exposure, refusals), and what `heldar doctor` and the reference page say about them.
//! Never: a value that is replaced by a silent default, a secret in a message, a socket or a database. Only
//! [`Input::from_process`] and [`HostFiles`] touch the process and its files.
//!
//! Flow: [`Input`] -> layers by precedence -> one raw value per variable -> typed values -> [`Settings`] and the posture,
//! with every start error on the way collected in [`StartErrors`].
#![forbid(unsafe_code)]

mod database;
mod doctor;
mod kind;
mod load;
mod local;
mod mask;
mod not_in_build;
mod origin;
mod part;
mod posture;
mod proxy;
mod reference;
mod settings;
mod sources;
mod suggest;
mod table;
mod value;
mod variable;
mod workers;

pub use database::{DatabaseError, DatabaseTarget};
pub use doctor::{DoctorEntry, Finding, Level};
pub use heldar_base::{Cidr, CidrError, contains};
pub use kind::{FloatRule, IntRule, Kind, Sign, Zero};
pub use load::{Loaded, StartError, StartErrors, load};
pub use local::{Forwarding, counts_as_local, is_forwarding_header};
pub use origin::{CorsPolicy, Origin, OriginError, OriginVerdict, origin_verdict};
pub use part::Part;
pub use posture::{
    AccessControl, BindHost, BindReason, DeploymentMode, Exposure, Posture, PostureFacts, Refusal,
    SessionFacts, Tier, TlsMode, assess,
};
pub use proxy::{Client, ForwardedHeaders, client_of};
pub use reference::reference_page;
pub use settings::*;
pub use sources::{FileError, FileText, Files, Flags, HostFiles, Input, Source};
pub use table::{all, find};
pub use variable::{Effect, Preset, Secrecy, Variable};
pub use workers::{WorkerCommand, WorkerSettings};
