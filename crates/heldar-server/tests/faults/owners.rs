//! One server at a time, and one that stops in order.

use std::time::{Duration, Instant};

use heldar_testkit::PostgresCluster;
use serde_json::json;

use crate::support::{Clip, Footage, Place, TestCameras, figure, now_us, pass, soak, until};

#[test]
fn a_second_server_on_the_same_folder_does_not_start() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 1, &clip);
    let place = Place::new(&scratch.path().join("place"));
    let first = place.start();
    first.add_camera("gate", &cameras.urls[0], &json!({}));
    first.all_recording();
    let began_us = now_us();
    let mut other = Place::new(&scratch.path().join("other"));
    other.set("HELDAR_DATA_DIR", &scratch.path().join("place/data").display().to_string());
    let (status, said) = other.spawn().wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another Heldar runs on this data folder"), "{said}");
    first.records_now("gate");
    let footage = Footage::of(&first, &place, "gate");
    let to_us = footage.segments.last().unwrap().end_us;
    let holes = footage.ledger(&first, began_us, to_us);
    assert!(holes.is_empty(), "the first one noticed: {holes:#?}");
    // Freed with the process, however that ends.
    first.kill();
    place.start().stop();
}

#[test]
fn a_server_ends_when_another_takes_its_database() {
    let cluster = PostgresCluster::start().unwrap_or_else(|error| panic!("{error}"));
    let url = cluster.create_database().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 1, &clip);
    let mut places = ["first", "second"].map(|name| Place::new(&scratch.path().join(name)));
    for place in &mut places {
        place.set("HELDAR_DATABASE_URL", &url);
    }
    let first = places[0].start();
    first.add_camera("gate", &cameras.urls[0], &json!({}));
    first.all_recording();
    let second = places[1].start();
    let (status, said) = first.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another process has taken the store over"), "{said}");
    second.records_now("gate");
    second.stop();
}

#[test]
fn a_stop_while_it_starts_is_one_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    for round in 0..if soak() { 50 } else { 5 } {
        let folder = scratch.path().join(format!("place_{round}"));
        let server = Place::new(&folder).spawn();
        until("the data folder to be taken", || folder.join("data/lock").exists().then_some(()));
        let status = server.terminate();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

#[test]
fn a_stop_in_order_loses_nothing_and_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 4, &clip);
    let mut place = Place::new(&scratch.path().join("place"));
    let server = place.start();
    for (number, url) in cameras.urls.iter().enumerate() {
        server.add_camera(&format!("camera_{number}"), url, &json!({}));
    }
    server.all_recording();
    let began_us = now_us();
    pass(Duration::from_millis(2600));
    let stopped_us = now_us();
    let since = Instant::now();
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    let took = since.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    figure("SIGTERM, 4 cameras", "to the end of the process", &format!("{:.2} s", took.as_secs_f64()));
    // Long enough for a gap with a row of its own.
    pass(Duration::from_secs(4));
    let server = place.start();
    server.all_recording();
    pass(Duration::from_secs(1));
    server.stop();
    place.set("HELDAR_RECORDER_ENABLED", "false");
    let server = place.start();
    for number in 0..4 {
        let camera = format!("camera_{number}");
        let footage = Footage::of(&server, &place, &camera);
        assert!(footage.segments.iter().all(|segment| !segment.open), "every segment is sealed");
        footage.matches_disk(&place);
        footage.decodes(&server);
        let pictures = footage.pictures(&clip, &cameras.sent(number + 1, &clip));
        // All that arrived before the signal is there; a picture may have been on its way.
        let last = pictures.iter().rev().find(|picture| picture.at_us <= stopped_us + 100_000).unwrap();
        assert!(stopped_us - last.at_us < 600_000, "{} µs were lost", stopped_us - last.at_us);
        let holes = footage.ledger(&server, began_us, footage.segments.last().unwrap().end_us);
        assert_eq!(holes.len(), 1, "{holes:#?}");
        assert_eq!(holes[0].cause, "server_stopped");
        let gaps = server.get(&format!("/api/v1/cameras/{camera}/recording-gaps?cause=server_stopped"));
        assert_eq!(gaps.as_array().unwrap().len(), 1, "{gaps:#}");
    }
    server.stop();
    place.fsck();
}
