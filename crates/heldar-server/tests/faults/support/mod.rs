//! A world for the real binary: a server by environment variables, test cameras, and judges of what they leave behind.

mod figures;
mod footage;
mod http;
mod media;
mod mount;
mod process;
mod server;
mod testcam;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use figures::{Sample, figure};
pub(crate) use footage::{Footage, Hole, micros, time};
pub(crate) use http::Answer;
pub(crate) use media::{Clip, Ticks};
pub(crate) use mount::Mount;
pub(crate) use server::{Place, Server};
pub(crate) use testcam::TestCameras;

/// Longest time that anything awaited here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether full counts are asked for.
pub(crate) fn soak() -> bool {
    std::env::var_os("HELDAR_SOAK").is_some_and(|value| value == "1")
}

/// Microseconds of UTC.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

/// Waits until a question has an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "waited {} s for this: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Lets time pass that the tested behaviour is made of, such as a length of recorded footage.
pub(crate) fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Runs cases that mostly wait beside each other, each in a thread of its name.
#[track_caller]
pub(crate) fn together(cases: &[(&str, fn())]) {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let start = |&(name, case): &(_, fn())| {
            (name, std::thread::Builder::new().name(String::from(name)).spawn_scoped(scope, case).unwrap())
        };
        let running: Vec<_> = cases.iter().map(start).collect();
        running.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Numbers that are the same in every run of a seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A time between two lengths.
    pub(crate) fn between(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }
}
