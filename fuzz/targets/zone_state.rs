//! Stored state of zones: whatever the bytes are, an engine comes of them or an error, and an engine goes on.
#![no_main]

use heldar_base::WallTime;
use heldar_zones::Engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut engine) = Engine::restore(data) else { return };
    let again = Engine::restore(&engine.save()).expect("what was saved");
    assert_eq!(engine.save(), again.save());
    engine.tick(WallTime(1_793_500_000_000_000));
    engine.set_zones(Vec::new(), WallTime(1_793_500_000_000_001));
});
