//! Simulated world for tests.

mod postgres;
pub mod sim;

pub use postgres::{PostgresCluster, PostgresError, Stop};
