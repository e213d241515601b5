//! `kill -9` of the real binary at random instants under eight cameras: start-up included, on either database.

use std::path::Path;
use std::time::Duration;

use heldar_testkit::PostgresCluster;
use serde_json::json;

use crate::support::{
    Clip, Footage, Hole, Place, Random, Sample, Server, TestCameras, figure, now_us, pass, soak, until,
};

const CAMERAS: usize = 8;
/// Length of a fragment and of the held picture, and what a busy machine may keep between the sockets and the writer.
const WORST_LOSS_S: f64 = 1.0 + 0.1 + 1.5;
/// The same on average, where half a fragment is lost.
const MEAN_LOSS_S: f64 = 1.0;

fn camera(number: usize) -> String {
    format!("camera_{number}")
}

/// One kill.
struct Kill {
    /// Just before.
    at_us: i64,
    /// When the process was gone.
    gone_us: i64,
    /// Which cameras were recorded at that instant.
    recorded: Vec<bool>,
}

/// Kills a server and notes what it was doing.
fn kill(server: Server) -> Kill {
    let statuses = server.try_get("/api/v1/health/cameras").filter(|answer| answer.status == 200);
    let statuses = statuses.map(|answer| answer.json()).unwrap_or_default();
    let recorded = (0..CAMERAS).map(|number| statuses[number]["state"] == "recording").collect();
    let at_us = now_us();
    server.kill();
    Kill { at_us, gone_us: now_us(), recorded }
}

/// Kills again and again, three times in ten while it starts; what it took to be ready after the others.
fn kills(place: &Place, seed: u64, count: usize) -> (Vec<Kill>, Sample) {
    let mut random = Random(seed);
    let mut restarts = Sample::default();
    let mut kills = Vec::new();
    let mut server = place.start();
    for _ in 0..count {
        if random.below(10) < 3 {
            // Somewhere between the first instruction and the first picture.
            pass(random.between(0, 700));
        } else {
            let ready = server.ready();
            if !kills.is_empty() {
                restarts.add(ready.as_secs_f64());
            }
            agrees(&server, place);
            place.fsck();
            pass(random.between(0, 6000));
        }
        kills.push(kill(server));
        server = place.spawn();
    }
    restarts.add(server.ready().as_secs_f64());
    server.all_recording();
    pass(Duration::from_secs(3));
    server.stop();
    (kills, restarts)
}

/// Behind a start, rows and files are the same.
fn agrees(server: &Server, place: &Place) {
    for number in 0..CAMERAS {
        until("rows and files to agree", || {
            Footage::of(server, place, &camera(number)).disagreement(place).is_none().then_some(())
        });
    }
}

fn survives(name: &str, folder: &Path, place: &mut Place, seed: u64) {
    let clip = Clip::light(folder);
    let cameras = TestCameras::start(folder, CAMERAS, &clip);
    let server = place.start();
    for (number, url) in cameras.urls.iter().enumerate() {
        server.add_camera(&camera(number), url, &json!({}));
    }
    server.all_recording();
    let began_us = now_us();
    pass(Duration::from_secs(2));
    let first = kill(server);
    let count = if soak() { 99 } else { 9 };
    let (mut kills, restarts) = kills(place, seed, count);
    kills.insert(0, first);
    let ended_us = now_us();

    place.set("HELDAR_RECORDER_ENABLED", "false");
    let server = place.start();
    let (mut lost, mut away, mut set_aside) = (Sample::default(), Sample::default(), 0);
    for number in 0..CAMERAS {
        let footage = Footage::of(&server, place, &camera(number));
        assert!(footage.segments.iter().all(|segment| !segment.open), "every segment is sealed");
        set_aside += footage.matches_disk(place);
        footage.decodes(&server);
        let sent = cameras.sent(number + 1, &clip);
        let pictures = footage.pictures(&clip, &sent);
        for kill in kills.iter().filter(|kill| kill.recorded[number]) {
            let last = pictures.iter().rev().find(|picture| picture.at_us <= kill.at_us).unwrap();
            lost.add((kill.at_us - last.at_us).max(0) as f64 / 1e6);
        }
        // The end is that of the newest footage: behind it the recorder was stopped on purpose.
        let to_us = footage.segments.last().unwrap().end_us.min(ended_us);
        for hole in footage.ledger(&server, began_us, to_us) {
            named(&hole, &kills);
            away.add(hole.seconds());
        }
    }
    server.stop();
    place.fsck();
    assert!(lost.len() >= kills.len() * CAMERAS / 4, "few kills while recording: {}", lost.len());
    assert!(lost.worst() <= WORST_LOSS_S && lost.mean() <= MEAN_LOSS_S, "{}", lost.summary("s"));
    let what = format!("kill -9 x {}, {CAMERAS} cameras, {name}", kills.len());
    figure(&what, "received footage lost per kill and camera", &lost.summary("s"));
    figure(&what, "time missing per hole, restart and next sync sample included", &away.summary("s"));
    figure(&what, "start to first answer", &restarts.summary("s"));
    figure(&what, "first fragments cut off and set aside", &set_aside.to_string());
}

/// Every hole is that of a kill, and says so.
fn named(hole: &Hole, kills: &[Kill]) {
    assert!(matches!(hole.cause.as_str(), "server_crashed" | "starting"), "{hole:?}");
    let of_a_kill = kills.iter().any(|kill| hole.start_us <= kill.gone_us && kill.at_us <= hole.end_us);
    assert!(of_a_kill, "nobody killed the server then: {hole:?}");
}

#[test]
fn sqlite_survives_kills() {
    let scratch = tempfile::tempdir().unwrap();
    let mut place = Place::new(&scratch.path().join("place"));
    survives("SQLite", scratch.path(), &mut place, 1);
}

#[test]
fn postgres_survives_kills() {
    let cluster = PostgresCluster::start().unwrap_or_else(|error| panic!("{error}"));
    let scratch = tempfile::tempdir().unwrap();
    let mut place = Place::new(&scratch.path().join("place"));
    place.set("HELDAR_DATABASE_URL", &cluster.create_database().unwrap());
    survives("PostgreSQL", scratch.path(), &mut place, 2);
}
