//! The body of a WHEP request: whatever it says, it is answered or refused.
#![no_main]

use std::cell::OnceCell;

use heldar_fuzz::Stage;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static STAGE: OnceCell<Stage> = const { OnceCell::new() };
}

fuzz_target!(|offer: &str| {
    STAGE.with(|stage| {
        let stage = stage.get_or_init(Stage::new);
        if let Some(session) = stage.answer(offer) {
            assert!(stage.webrtc.end(&session), "a session that was opened can be ended");
        }
    });
});
