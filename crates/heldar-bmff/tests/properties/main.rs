//! Random footage against naive models: whatever is written is found again, whatever is torn or bent is survived, and
//! every window of the virtual file shows what a sample-by-sample model shows.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod damage;
mod fragments;
mod index;
mod progressive;
mod scripted;
mod stills;
mod tables;
mod virtual_files;
mod world;
