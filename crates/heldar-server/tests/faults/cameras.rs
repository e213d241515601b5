//! Cameras that fail: the ledger names the right cause, people are told once, and recording comes back by itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Clip, Footage, Hole, Place, Server, TestCameras, now_us, pass, until};

/// A fault and what it must leave behind.
struct Case {
    name: &'static str,
    faults: &'static [&'static str],
    /// Causes that its hole may have; none: there must be no hole.
    causes: &'static [&'static str],
    /// Whether people are told.
    told: bool,
}

const CASES: &[Case] = &[
    // A lost connection is back before anybody is told.
    Case { name: "drop", faults: &["drop"], causes: &["closed"], told: false },
    Case { name: "stall", faults: &["stall&for=12"], causes: &["stalled"], told: true },
    Case { name: "refuse", faults: &["refuse&for=14"], causes: &["closed", "refused"], told: true },
    Case { name: "bad_auth", faults: &["bad_auth&for=14", "drop"], causes: &["auth"], told: true },
    Case {
        name: "slow_start",
        faults: &["slow_start&value=2000&for=14", "drop"],
        causes: &["starting", "closed"],
        told: false,
    },
    // Late is not lost.
    Case { name: "burst", faults: &["burst&value=1500&for=10"], causes: &[], told: false },
    Case { name: "none", faults: &[], causes: &[], told: false },
];

#[test]
fn faults_of_cameras() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let mut cameras = TestCameras::start(scratch.path(), CASES.len(), &clip);
    let mut place = Place::new(&scratch.path().join("place"));
    place.set("HELDAR_STREAM_STALL_S", "5");
    place.set("HELDAR_OFFLINE_DEBOUNCE_S", "8");
    let server = place.start();
    for (case, url) in CASES.iter().zip(&cameras.urls) {
        server.add_camera(case.name, url, &json!({}));
    }
    server.all_recording();
    // Of each there is footage, so that what is missing from now on is missing for the fault.
    let connected_us = now_us();
    for case in CASES {
        server.recorded_until(case.name, connected_us);
    }
    let began_us = now_us();
    pass(Duration::from_secs(2));
    for (number, case) in CASES.iter().enumerate() {
        case.faults.iter().for_each(|fault| cameras.fault(number + 1, fault));
    }
    let failing: Vec<&Case> = CASES.iter().filter(|case| case.told).collect();
    until("the failing cameras to be offline", || {
        let offline = |case: &&Case| server.status(case.name)["state"] == "offline";
        failing.iter().all(offline).then_some(())
    });
    pass(Duration::from_secs(14));
    // Devices lock accounts, so refusals are a minute apart by now; whoever mends the account saves the camera again.
    server.send("PATCH", "/api/v1/cameras/bad_auth", &json!({ "name": "mended" })).ok();
    let healed_us = now_us();
    for case in CASES {
        server.recorded_until(case.name, healed_us);
    }
    // Gaps are closed a moment after the footage is there.
    for case in CASES {
        until("gaps to be closed", || {
            let gaps = server.get(&format!("/api/v1/cameras/{}/recording-gaps", case.name));
            gaps.as_array().unwrap().iter().all(|gap| gap["open"] == false).then_some(())
        });
        let footage = Footage::of(&server, &place, case.name);
        let holes =
            footage.ledger(&server, began_us, footage.segments.last().unwrap().start_us.max(healed_us));
        judge(case, &holes);
        told(&server, case);
    }
    // Nobody listens at all any more.
    cameras.end();
    until("the right reason", || (server.status("none")["reason_class"] == "refused").then_some(()));
    server.stop();
    place.fsck();
}

#[track_caller]
fn judge(case: &Case, holes: &[Hole]) {
    let causes: Vec<&str> = holes.iter().map(|hole| hole.cause.as_str()).collect();
    let right = causes.iter().all(|cause| case.causes.contains(cause));
    assert!(right && holes.is_empty() == case.causes.is_empty(), "{}: {holes:#?}", case.name);
}

#[track_caller]
fn told(server: &Server, case: &Case) {
    for event_type in ["camera_offline", "camera_online"] {
        let about = |event: &&Value| event["camera_id"] == case.name;
        let events = server.events(event_type);
        let count = events.iter().filter(about).count();
        assert_eq!(count, usize::from(case.told), "{}: {event_type} {events:#?}", case.name);
    }
}
