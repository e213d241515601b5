//! Who gets in, what it sees, and what ends it: the whole application, with accounts as they are in use.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the tests of restream use all of it")]
#[path = "../restream/client.rs"]
mod client;
mod cuts;
mod downloads;
mod house;
mod keys;
mod lists;
mod matrix;
mod media;
mod people;
mod posture;
mod principals;
mod protection;
mod running;
mod sign_in;
mod tape;
mod viewers;
mod whep;
