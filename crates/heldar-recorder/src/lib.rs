//! Recorder and camera supervision as state machines.
