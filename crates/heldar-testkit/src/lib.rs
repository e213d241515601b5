//! Simulated world for tests.

mod decoder;
mod postgres;
pub mod sim;

pub use decoder::decoder_program;
pub use postgres::{PostgresCluster, PostgresError, Stop};
