//! A database that stops or is locked while the real binary records: management waits, recording does not.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heldar_testkit::{PostgresCluster, Stop};
use serde_json::json;

use crate::support::{Answer, Clip, Footage, Place, Server, TestCameras, figure, now_us, pass, soak, until};

/// A write that only the database can answer.
fn manage(server: &Server) -> Answer {
    server.send("POST", "/api/v1/sites", &json!({ "name": format!("site {}", now_us()) }))
}

#[track_caller]
fn told_to_wait(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.json());
    let seconds: u32 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(seconds >= 1);
}

/// Waits for the events of so many outages of the other camera; there are no more than these.
#[track_caller]
fn told_of_outages(server: &Server, count: usize) {
    for event_type in ["camera_offline", "camera_online"] {
        until(event_type, || (server.events(event_type).len() >= count).then_some(()));
        let events = server.events(event_type);
        assert_eq!(events.len(), count, "{events:#?}");
    }
}

/// Everything that was sent between two instants is there, indexed, without a hole.
#[track_caller]
fn nothing_is_missing(place: &mut Place, server: Server, cameras: &TestCameras, clip: &Clip, from_us: i64) {
    server.records_now("gate");
    server.stop();
    place.set("HELDAR_RECORDER_ENABLED", "false");
    let server = place.start();
    let footage = Footage::of(&server, place, "gate");
    footage.matches_disk(place);
    footage.decodes(&server);
    let pictures = footage.pictures(clip, &cameras.sent(1, clip));
    let within = pictures.iter().skip_while(|picture| picture.at_us < from_us);
    let serials: Vec<usize> = within.map(|picture| picture.serial).collect();
    let (first, last) = (serials[0], serials[serials.len() - 1]);
    assert_eq!(last - first + 1, serials.len(), "pictures are missing");
    let to_us = footage.segments.last().unwrap().end_us;
    let holes = footage.ledger(&server, from_us, to_us);
    assert!(holes.is_empty(), "{holes:#?}");
    let gaps = server.get("/api/v1/cameras/gate/recording-gaps");
    let real = gaps.as_array().unwrap().iter();
    assert_eq!(real.filter(|gap| gap["cause"] != "starting").count(), 0, "{gaps:#}");
    server.stop();
    place.fsck();
}

#[test]
fn postgres_stops_and_starts() {
    let cluster = PostgresCluster::start().unwrap_or_else(|error| panic!("{error}"));
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 2, &clip);
    let mut place = Place::new(&scratch.path().join("place"));
    place.set("HELDAR_DATABASE_URL", &cluster.create_database().unwrap());
    place.set("HELDAR_OFFLINE_DEBOUNCE_S", "2");
    let server = place.start();
    server.add_camera("gate", &cameras.urls[0], &json!({}));
    server.add_camera("yard", &cameras.urls[1], &json!({}));
    server.all_recording();
    let began_us = now_us();
    let rounds = if soak() { 10 } else { 1 };
    let outages = [Stop::Fast, Stop::Immediate].into_iter().cycle().take(2 * rounds);
    for (round, how) in outages.enumerate() {
        cluster.stop(how).unwrap();
        until("the loss to be noticed", || (manage(&server).status == 503).then_some(()));
        told_to_wait(&manage(&server));
        told_to_wait(&server.ask("/api/v1/cameras"));
        until("readiness to show it", || {
            let ready = server.ask("/readyz");
            (ready.status == 503 && ready.json()["reason"] == "database").then_some(())
        });
        assert_eq!(server.ask("/healthz").status, 200);
        // Something happens that nobody can write down now.
        cameras.fault(2, "refuse&for=4");
        pass(Duration::from_secs(7));
        let since = Instant::now();
        cluster.resume().unwrap();
        until("the database to be used again", || (manage(&server).status < 300).then_some(()));
        let took = format!("{:.1} s", since.elapsed().as_secs_f64());
        figure(&format!("PostgreSQL, {how:?} shutdown"), "from its return to the first write", &took);
        told_of_outages(&server, round + 1);
        server.all_recording();
    }
    nothing_is_missing(&mut place, server, &cameras, &clip, began_us);
}

/// Holds the write lock of a SQLite file, from another process, until it is dropped.
struct Lock(std::process::Child);

impl Lock {
    fn take(database: &Path) -> Lock {
        let script = "import sqlite3, sys\n\
            lock = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n\
            lock.execute('begin immediate')\n\
            print('held', flush=True)\n\
            sys.stdin.read()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is installed");
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim(), "held");
        Lock(child)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _reaped = self.0.wait();
    }
}

#[test]
fn sqlite_is_locked_by_another_process() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = Clip::light(scratch.path());
    let cameras = TestCameras::start(scratch.path(), 2, &clip);
    let folder = scratch.path().join("place");
    let mut place = Place::new(&folder);
    place.set("HELDAR_OFFLINE_DEBOUNCE_S", "2");
    let server = place.start();
    server.add_camera("gate", &cameras.urls[0], &json!({}));
    server.add_camera("yard", &cameras.urls[1], &json!({}));
    server.all_recording();
    let began_us = now_us();
    let lock = Lock::take(&folder.join("data/heldar.db"));
    let since = Instant::now();
    cameras.fault(2, "refuse&for=4");
    // A write waits as long as a person may wait, and is told then.
    told_to_wait(&manage(&server));
    let told = since.elapsed();
    assert!((10..30).contains(&told.as_secs()), "{told:?}");
    // Reads need no lock.
    assert_eq!(server.ask("/api/v1/cameras").status, 200);
    server.records_now("gate");
    pass(Duration::from_secs(20).saturating_sub(since.elapsed()));
    drop(lock);
    until("writes again", || (manage(&server).status < 300).then_some(()));
    told_of_outages(&server, 1);
    nothing_is_missing(&mut place, server, &cameras, &clip, began_us);
}
