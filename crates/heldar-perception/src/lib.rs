//! What perception decides: who works on what, which pictures are picked, what of a worker's results is taken.
//!
//! Owns: AI tasks as values ([`task`]), their sharing among workers ([`sharing`], [`leases`]), tickets of frames
//! ([`ticket`]), the frames held for workers ([`ring`]) and which pictures become frames ([`grid`]), what is sampled
//! under two budgets ([`plan`]), the checks of result batches ([`batch`]), and how far their consumers have come
//! ([`fanout`]). Never: a clock, a store, a socket, a decoder; the present instant, rows and pictures are arguments,
//! answers are plain values.
#![forbid(unsafe_code)]

pub mod batch;
pub mod fanout;
pub mod grid;
mod id;
pub mod leases;
pub mod plan;
mod refused;
pub mod ring;
pub mod sharing;
pub mod task;
pub mod ticket;

pub use id::{LeaseId, TaskId};
pub use refused::Refused;
