//! Test cameras.
