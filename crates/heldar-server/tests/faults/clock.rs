//! A host clock that steps while the real binary records, and one that is wrong at the start.
//!
//! libfaketime gives the server a UTC clock of its own; its monotonic clock and everybody else's clocks stay.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::{Clip, Footage, Hole, Place, Server, TestCameras, Ticks, now_us, pass, together, until};

#[test]
fn clocks() {
    together(&[
        ("a_clock_that_steps_forward_by_seconds", a_clock_that_steps_forward_by_seconds),
        ("a_clock_that_steps_back_by_seconds", a_clock_that_steps_back_by_seconds),
        ("a_clock_that_steps_forward_by_hours", a_clock_that_steps_forward_by_hours),
        ("a_clock_that_steps_back_by_hours", a_clock_that_steps_back_by_hours),
        ("a_clock_behind_the_newest_segment_at_the_start", a_clock_behind_the_newest_segment_at_the_start),
        ("a_clock_before_the_build_at_the_start", a_clock_before_the_build_at_the_start),
    ]);
}

/// The UTC clock of one server.
struct HostClock {
    file: PathBuf,
    ahead_s: Cell<i64>,
}

impl HostClock {
    /// Gives the servers of a place a clock that is ahead by `seconds`.
    fn of(place: &mut Place, folder: &Path, seconds: i64) -> HostClock {
        let clock = HostClock { file: folder.join("clock"), ahead_s: Cell::default() };
        clock.step_to(seconds);
        place.set("LD_PRELOAD", &library().display().to_string());
        place.set("FAKETIME_TIMESTAMP_FILE", &clock.file.display().to_string());
        place.set("FAKETIME_NO_CACHE", "1");
        // Only UTC is wrong.
        place.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        place.set("DONT_FAKE_MONOTONIC", "1");
        place.set("NO_FAKE_STAT", "1");
        clock
    }

    /// From now on it is ahead of the true time by `seconds`.
    fn step_to(&self, seconds: i64) {
        self.ahead_s.set(seconds);
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found =
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|file| file.exists());
    found.next().expect("libfaketime is installed (Debian: `apt-get install libfaketime`)")
}

/// One camera recorded by a server with a clock of its own.
struct World {
    _scratch: tempfile::TempDir,
    place: Place,
    clock: HostClock,
    _cameras: TestCameras,
    server: Server,
    began_us: i64,
}

impl World {
    fn new() -> World {
        let scratch = tempfile::tempdir().unwrap();
        let clip = Clip::light(scratch.path());
        let cameras = TestCameras::start(scratch.path(), 1, &clip);
        let mut place = Place::new(&scratch.path().join("place"));
        let clock = HostClock::of(&mut place, scratch.path(), 0);
        let server = place.start();
        server.add_camera("gate", &cameras.urls[0], &json!({}));
        server.all_recording();
        let began_us = now_us();
        pass(Duration::from_secs(3));
        World { _scratch: scratch, place, clock, _cameras: cameras, server, began_us }
    }

    fn offset_ms(&self) -> i64 {
        self.server.status("gate")["clock_offset_ms"].as_i64().unwrap_or_default()
    }

    /// Waits until the stream's time differs from the host's by about so much.
    fn offset_is(&self, expect_ms: i64) {
        until("the offset in the status", || ((self.offset_ms() - expect_ms).abs() < 1_000).then_some(()));
    }

    /// Files are whole, in order, and none overlaps another. The footage, and its holes by the ledger.
    fn judge(self, ticks: Ticks) -> (Footage, Vec<Hole>) {
        let World { mut place, server, clock, began_us, _scratch, _cameras } = self;
        server.stop();
        // No ledger speaks of times that the clock has not reached.
        clock.step_to(clock.ahead_s.get().max(0));
        place.set("HELDAR_RECORDER_ENABLED", "false");
        let server = place.start();
        let footage = Footage::of(&server, &place, "gate");
        footage.matches_disk(&place);
        footage.decodes_by(&server, ticks);
        let to_us = footage.segments.last().unwrap().end_us;
        let holes = footage.ledger(&server, began_us, to_us);
        server.stop();
        place.fsck();
        (footage, holes)
    }
}

/// Errors up to ten seconds are slewed: the run goes on in its own time.
fn small_step(seconds: i64) {
    let world = World::new();
    let before = world.server.status("gate")["reconnect_count"].clone();
    world.clock.step_to(seconds);
    world.offset_is(-seconds * 1000);
    let at = world.offset_ms();
    pass(Duration::from_secs(6));
    // 500 ppm are 3 ms in 6 s; the arrival of pictures adds its own.
    assert!((world.offset_ms() - at).abs() < 500, "{at} ms, then {} ms", world.offset_ms());
    world.server.recorded_until("gate", world.began_us + 9_000_000);
    assert_eq!(world.server.status("gate")["reconnect_count"], before);
    let (_, holes) = world.judge(Ticks::Pictures);
    assert!(holes.is_empty(), "{seconds} s: {holes:#?}");
}

fn a_clock_that_steps_forward_by_seconds() {
    small_step(5);
}

fn a_clock_that_steps_back_by_seconds() {
    small_step(-5);
}

fn a_clock_that_steps_forward_by_hours() {
    let world = World::new();
    let step_us = 2 * 3_600_000_000i64;
    world.clock.step_to(step_us / 1_000_000);
    let stepped_us = now_us();
    world.server.recorded_until("gate", stepped_us + step_us + 4_000_000);
    assert!(world.offset_ms().abs() < 1_000, "{}", world.offset_ms());
    let gaps = world.server.get("/api/v1/cameras/gate/recording-gaps");
    let gaps = gaps.as_array().unwrap();
    let clock: Vec<_> = gaps.iter().filter(|gap| gap["detail"] == "clock").collect();
    assert_eq!(clock.len(), 1, "{gaps:#?}");
    assert!(clock[0]["gap_seconds"].as_i64().unwrap() >= 7_199, "{gaps:#?}");
    assert_eq!(clock[0]["cause"], "unknown", "{gaps:#?}");
    let (_, holes) = world.judge(Ticks::Pictures);
    assert_eq!(holes.len(), 1, "{holes:#?}");
    // The camera sent all the time: what is missing beyond the step is a restart of the session.
    let lost = holes[0].seconds() - step_us as f64 / 1e6;
    assert!((-0.5..10.0).contains(&lost), "{lost} s");
}

fn a_clock_that_steps_back_by_hours() {
    let world = World::new();
    let step_s = -2 * 3_600;
    world.clock.step_to(step_s);
    world.offset_is(-step_s * 1000);
    let at = world.offset_ms();
    pass(Duration::from_secs(8));
    // Slewed at 5 %: 400 ms in 8 s.
    let slewed = at - world.offset_ms();
    assert!((200..1_200).contains(&slewed), "{slewed} ms");
    world.server.recorded_until("gate", world.began_us + 9_000_000);
    assert_eq!(world.server.status("gate")["state"], "recording");
    let (_, holes) = world.judge(Ticks::File);
    assert!(holes.is_empty(), "{holes:#?}");
}

fn a_clock_behind_the_newest_segment_at_the_start() {
    let mut world = World::new();
    world.server.stop();
    let stopped_us = now_us();
    // The newest footage is some eight seconds ahead of this clock.
    world.clock.step_to(-8);
    world.server = world.place.start();
    world.server.recorded_until("gate", stopped_us + 2_000_000);
    // Its end has been reached on that clock, not earlier.
    assert!(now_us() - 8_000_000 >= stopped_us, "recorded before its time");
    let (footage, holes) = world.judge(Ticks::Pictures);
    assert!(footage.segments.iter().any(|segment| segment.start_us >= stopped_us - 1_000_000));
    assert!(holes.iter().all(|hole| hole.end_us > hole.start_us && hole.seconds() < 8.0), "{holes:#?}");
}

fn a_clock_before_the_build_at_the_start() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 1, &clip);
    let mut place = Place::new(&scratch.path().join("place"));
    // What a machine without a battery shows.
    let clock = HostClock::of(&mut place, scratch.path(), -now_us() / 1_000_000 + 86_400);
    let server = place.start();
    server.add_camera("gate", &cameras.urls[0], &json!({}));
    until("a session", || (server.status("gate")["session"] == "streaming").then_some(()));
    pass(Duration::from_secs(5));
    assert!(Footage::of(&server, &place, "gate").segments.is_empty(), "recorded in 1970");
    clock.step_to(0);
    let set_us = now_us();
    server.records_now("gate");
    server.all_recording();
    let footage = Footage::of(&server, &place, "gate");
    assert!(footage.segments[0].start_us >= set_us - 1_000_000, "{footage:#?}");
    server.stop();
    place.fsck();
}
