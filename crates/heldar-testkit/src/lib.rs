//! Simulated world for tests.

mod postgres;

pub use postgres::{PostgresCluster, PostgresError, Stop};
