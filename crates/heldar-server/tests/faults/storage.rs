//! Recordings folders that are full, read-only or gone: everything else goes on, the loss is a gap with cause `disk`, and
//! recording comes back by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Answer, Clip, Footage, Mount, Place, Sample, Server, TestCameras, figure, micros, now_us, pass, time,
    together, until,
};

#[test]
fn disks() {
    together(&[
        ("a_full_disk", a_full_disk),
        ("a_disk_that_turns_read_only", a_disk_that_turns_read_only),
        ("a_disk_that_is_pulled", a_disk_that_is_pulled),
        ("a_disk_that_is_missing_at_the_start", a_disk_that_is_missing_at_the_start),
        ("a_folder_that_is_moved_away", a_folder_that_is_moved_away),
        ("room_is_kept_by_removing_the_oldest", room_is_kept_by_removing_the_oldest),
    ]);
}

/// Longest time from room to footage: a GOP of the clip, and whatever a busy machine adds.
const BACK_S: f64 = 15.0;

/// A server on a file system of its own, one camera recorded.
struct World {
    place: Place,
    mount: Mount,
    server: Server,
    cameras: TestCameras,
    clip: Clip,
    began_us: i64,
}

impl World {
    /// `None` where file systems cannot be mounted.
    fn new(folder: &Path, megabytes: u32) -> Option<World> {
        let mount = Mount::new(&folder.join("disk"), megabytes)?;
        let clip = Clip::light(folder);
        let cameras = TestCameras::start(folder, 1, &clip);
        let mut place = Place::new(&folder.join("place"));
        place.set("HELDAR_RECORDINGS_DIR", &mount.path().display().to_string());
        // A folder that goes away while a file is open is noticed with the next sync.
        place.set("HELDAR_SYNC_INTERVAL_S", "1");
        let server = place.start();
        server.add_camera("gate", &cameras.urls[0], &json!({}));
        server.all_recording();
        let began_us = now_us();
        pass(Duration::from_secs(5));
        Some(World { place, mount, server, cameras, clip, began_us })
    }

    /// Waits until the loss shows, and finds that everything else works.
    fn loses(&self) {
        let server = &self.server;
        until("the camera to show that the disk fails", || {
            let status = server.status("gate");
            (status["state"] == "error" && status["reason_class"] == "disk").then_some(())
        });
        until("readiness to show it", || {
            let ready = server.ask("/readyz");
            (ready.status == 503 && ready.json()["reason"] == "disk").then_some(())
        });
        assert_eq!(server.ask("/healthz").status, 200);
        server.send("POST", "/api/v1/sites", &json!({ "name": format!("site {}", now_us()) })).ok();
    }

    /// The first seconds of footage.
    fn old_footage(&self) -> Answer {
        let (from, to) = (time(self.began_us + 500_000), time(self.began_us + 2_500_000));
        self.server.ask(&format!("/api/v1/cameras/gate/video.mp4?from={from}&to={to}"))
    }

    /// Waits for footage behind `since_us`; the time it took.
    fn comes_back(&self, what: &str, since_us: i64) {
        let since = Instant::now();
        self.server.recorded_until("gate", since_us);
        let mut took = Sample::default();
        took.add(since.elapsed().as_secs_f64());
        assert!(took.worst() < BACK_S, "{}", took.summary("s"));
        figure(what, "from room to footage", &format!("{:.1} s", took.worst()));
        until("readiness", || (self.server.ask("/readyz").status == 200).then_some(()));
    }

    /// Lets it end, and looks at what is there: the ledger names the disk and nothing else.
    fn judge(mut self) {
        pass(Duration::from_secs(2));
        let errors = self.server.events("recorder_error");
        assert_eq!(errors.len(), 1, "one event per episode: {errors:#?}");
        assert_eq!(errors[0]["payload"]["reason_class"], "disk");
        self.server.stop();
        self.place.set("HELDAR_RECORDER_ENABLED", "false");
        let server = self.place.start();
        let footage = Footage::of(&server, &self.place, "gate");
        footage.matches_disk(&self.place);
        footage.decodes(&server);
        footage.pictures(&self.clip, &self.cameras.sent(1, &self.clip));
        let to_us = footage.segments.last().unwrap().end_us;
        let holes = footage.ledger(&server, self.began_us, to_us);
        assert!(!holes.is_empty() && holes.iter().all(|hole| hole.cause == "disk"), "{holes:#?}");
        server.stop();
        self.place.fsck();
    }
}

fn a_full_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(world) = World::new(scratch.path(), 16) else { return };
    let foreign = world.mount.fill(0);
    world.loses();
    let old = world.old_footage();
    assert_eq!((old.status, old.header("content-type")), (200, Some("video/mp4")));
    pass(Duration::from_secs(4));
    assert_ne!(world.server.status("gate")["state"], "recording");
    let since_us = now_us();
    std::fs::remove_file(foreign).unwrap();
    world.comes_back("disk full, then room", since_us);
    world.judge();
}

fn a_disk_that_turns_read_only() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(world) = World::new(scratch.path(), 16) else { return };
    // Nothing can be remounted while a file is open for writing: a moment without recording lets the switch happen.
    let wanted = |wanted: bool| {
        world.server.send("PATCH", "/api/v1/cameras/gate", &json!({ "record_enabled": wanted })).ok();
    };
    wanted(false);
    world.mount.remount("ro");
    wanted(true);
    world.loses();
    assert_eq!(world.old_footage().status, 200);
    pass(Duration::from_secs(4));
    let since_us = now_us();
    world.mount.remount("rw");
    world.comes_back("disk read-only, then writable", since_us);
    world.judge();
}

fn a_disk_that_is_pulled() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(world) = World::new(scratch.path(), 16) else { return };
    let elsewhere = scratch.path().join("elsewhere");
    world.mount.take_away(&elsewhere);
    world.loses();
    pass(Duration::from_secs(4));
    let left: Vec<_> = std::fs::read_dir(world.mount.path()).unwrap().collect();
    assert!(left.is_empty(), "something was written below the mount point: {left:?}");
    let since_us = now_us();
    world.mount.bring_back(&elsewhere);
    world.comes_back("disk unmounted, then back", since_us);
    assert_eq!(world.old_footage().status, 200);
    world.judge();
}

fn a_disk_that_is_missing_at_the_start() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(mut world) = World::new(scratch.path(), 16) else { return };
    let elsewhere = scratch.path().join("elsewhere");
    // The row of a segment that begins at this moment may not be there yet.
    let settled_us = now_us() - 3_000_000;
    let of_old = |world: &World| {
        let segments = Footage::of(&world.server, &world.place, "gate").segments;
        segments.iter().filter(|segment| segment.start_us < settled_us).count()
    };
    let before = of_old(&world);
    world.server.kill();
    world.mount.take_away(&elsewhere);
    world.server = world.place.start();
    world.loses();
    let left: Vec<_> = std::fs::read_dir(world.mount.path()).unwrap().collect();
    assert!(left.is_empty(), "something was written below the mount point: {left:?}");
    assert_eq!(of_old(&world), before, "unknown never means delete");
    // Longer than anything else that the hole is made of.
    pass(Duration::from_secs(8));
    let since_us = now_us();
    world.mount.bring_back(&elsewhere);
    world.comes_back("disk missing at the start, then there", since_us);
    assert_eq!(world.old_footage().status, 200);
    until("gaps to be closed", || {
        let gaps = world.server.get("/api/v1/cameras/gate/recording-gaps");
        gaps.as_array().unwrap().iter().all(|gap| gap["open"] == false).then_some(())
    });
    until("the log to say that index and disk agree", || {
        world.server.said().contains("index and disk agree again").then_some(())
    });
    let footage = Footage::of(&world.server, &world.place, "gate");
    let to_us = footage.segments.last().unwrap().start_us;
    let holes = footage.ledger(&world.server, world.began_us, to_us);
    assert!(holes.len() == 1 && holes[0].cause == "disk", "{holes:#?}");
    until("the gap to begin where the footage ends", || {
        let gaps = world.server.get("/api/v1/cameras/gate/recording-gaps");
        let starts = gaps.as_array().unwrap().iter().map(|gap| micros(gap["gap_start"].as_str().unwrap()));
        starts.eq([holes[0].start_us]).then_some(())
    });
    world.server.stop();
    world.place.fsck();
}

fn a_folder_that_is_moved_away() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 1, &clip);
    let mut place = Place::new(&scratch.path().join("place"));
    place.set("HELDAR_SYNC_INTERVAL_S", "1");
    let server = place.start();
    server.add_camera("gate", &cameras.urls[0], &json!({}));
    server.all_recording();
    let began_us = now_us();
    pass(Duration::from_secs(3));
    let (here, away) = (place.recordings(), scratch.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    until("the camera to show it", || {
        let status = server.status("gate");
        (status["state"] == "error" && status["reason_class"] == "disk").then_some(())
    });
    // Somebody makes an empty folder of that name: it is not the one recorded into.
    std::fs::create_dir(&here).unwrap();
    pass(Duration::from_secs(5));
    assert_eq!(std::fs::read_dir(&here).unwrap().count(), 0, "nothing is recorded into another folder");
    std::fs::remove_dir(&here).unwrap();
    let since_us = now_us();
    std::fs::rename(&away, &here).unwrap();
    server.recorded_until("gate", since_us);
    server.stop();
    place.set("HELDAR_RECORDER_ENABLED", "false");
    let server = place.start();
    let footage = Footage::of(&server, &place, "gate");
    footage.matches_disk(&place);
    footage.decodes(&server);
    footage.pictures(&clip, &cameras.sent(1, &clip));
    let holes = footage.ledger(&server, began_us, footage.segments.last().unwrap().end_us);
    assert!(!holes.is_empty() && holes.iter().all(|hole| hole.cause == "disk"), "{holes:#?}");
    server.stop();
    place.fsck();
}

fn room_is_kept_by_removing_the_oldest() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&scratch.path().join("disk"), 40) else { return };
    let clip = Clip::heavy(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 2, &clip);
    let mut place = Place::new(&scratch.path().join("place"));
    place.set("HELDAR_RECORDINGS_DIR", &mount.path().display().to_string());
    // 16 MiB of 40.
    let floor = 16 << 20;
    place.set("HELDAR_MIN_FREE_DISK_GB", "0.015625");
    place.set("HELDAR_DEFAULT_SEGMENT_SECONDS", "2");
    let server = place.start();
    for (number, url) in cameras.urls.iter().enumerate() {
        server.add_camera(&format!("camera_{number}"), url, &json!({}));
    }
    server.all_recording();
    let began_us = now_us();
    let free = || {
        let stat = rustix::fs::statvfs(mount.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    until("some footage", || (free() < 33 << 20).then_some(()));
    // Twelve of the sixteen are left: four and what is recorded meanwhile have to be found.
    let foreign = mount.fill(12 << 20);
    until("room again", || (free() >= floor).then_some(()));
    server.records_now("camera_0");
    server.records_now("camera_1");
    let deleted = server.events("disk_pressure");
    assert!(deleted.iter().any(|event| event["payload"]["reason"] == "free_floor"), "{deleted:#?}");
    for number in 0..2 {
        let camera = format!("camera_{number}");
        assert_eq!(server.status(&camera)["state"], "recording");
        let footage = Footage::of(&server, &place, &camera);
        let to_us = footage.segments.last().unwrap().start_us;
        let holes = footage.ledger(&server, began_us, to_us);
        assert!(holes.iter().all(|hole| hole.cause == "retention"), "{holes:#?}");
        // Oldest first: what is left is all of one piece.
        assert!(holes.len() <= 1, "{holes:#?}");
    }
    server.stop();
    std::fs::remove_file(foreign).unwrap();
    place.fsck();
}
