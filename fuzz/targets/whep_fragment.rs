//! The body of a PATCH on a WHEP session.
#![no_main]

use std::cell::OnceCell;

use heldar_fuzz::Stage;
use libfuzzer_sys::fuzz_target;

const OFFER: &str = include_str!("../seeds/whep_offer/browser.sdp");

thread_local! {
    static STAGE: OnceCell<(Stage, String)> = const { OnceCell::new() };
}

fuzz_target!(|fragment: &str| {
    STAGE.with(|stage| {
        let (stage, session) = stage.get_or_init(|| {
            let stage = Stage::new();
            let session = stage.answer(OFFER).expect("a browser's offer is answered");
            (stage, session)
        });
        // Whoever does not connect is gone after a while; then there is nothing to patch.
        let _refused = stage.webrtc.patch(session, Some("*"), fragment);
    });
});
