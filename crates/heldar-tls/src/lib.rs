//! The server's own certificate: read from files or made here, exchanged while the server runs, watched until it ends
//! (auth-system.md 4.1).
//!
//! Owns: which certificate is served at this moment, when another one is taken, and what is told about it. Never: a
//! socket or a handshake, which belong to the HTTP server; a clock, since every look is given the time.
//!
//! 1. What is served loads: a pair that does not leaves the one before it in service.
//! 2. Open connections keep what they have; an exchange concerns handshakes that begin after it.
//! 3. A private key is in no message, no log line and no `Debug`.
#![forbid(unsafe_code)]

mod certificates;
mod expiry;
mod facts;
mod pair;
mod reload;
mod self_signed;

pub use certificates::{Ask, Certificates, Event, Source, View};
pub use expiry::{Urgency, urgency};
pub use facts::{Facts, NotX509};
pub use pair::{PairError, Why};
pub use self_signed::MakeError;
