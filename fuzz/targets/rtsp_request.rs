//! Bytes from an RTSP client, cut into requests and interleaved data.
#![no_main]

use heldar_rtsp::server::{Limits, next_input};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let mut rest = bytes;
    while let Ok(Some((_, taken))) = next_input(rest, &limits) {
        assert!(taken > 0 && taken <= rest.len(), "{taken} of {} bytes", rest.len());
        rest = &rest[taken..];
    }
});
