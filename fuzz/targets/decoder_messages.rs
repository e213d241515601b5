//! Messages between the server and a decoder process, in both directions.
#![no_main]

use heldar_decode::wire::{Answer, LENGTH_BYTES, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = Request::decode(data) {
        // What was understood is understood again in the same way.
        let again = request.encode();
        let _read = Request::decode(&again[LENGTH_BYTES..]).expect("a request");
    }
    if let Ok(answer) = Answer::decode(data) {
        let again = answer.encode();
        let _read = Answer::decode(&again[LENGTH_BYTES..]).expect("an answer");
    }
});
