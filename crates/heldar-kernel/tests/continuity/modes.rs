//! Record modes on cameras that send pictures of which no two are alike: what is recorded is one run of them, with what came
//! before, and nothing between is missed by anybody.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Method;
use heldar_base::{Clock as _, Micros, WallTime};
use heldar_testcam::{Options, Running};
use serde_json::{Value, json};

use crate::judge::{Packet, probe};
use crate::reference::Loop;
use crate::rig::{self, File};
use crate::support::{As, World};

const PATIENCE: Duration = Duration::from_secs(30);

/// Six seconds of 25 pictures each, a sync sample every second, at so many kilobits a second.
fn clip(kilobits: u32) -> PathBuf {
    let text = format!(
        "-f lavfi -i testsrc2=size=480x270:rate=25 -c:v libx264 -preset veryfast -pix_fmt yuv420p -g 25 \
         -keyint_min 25 -sc_threshold 0 -bf 0 -b:v {kilobits}k -an -t 6"
    );
    rig::clip("modes", &text.split_whitespace().collect::<Vec<_>>())
}

async fn camera() -> Running {
    let options = Options { video: Some(clip(400)), media_dir: rig::media_dir(), ..Options::default() };
    heldar_testcam::start(options).await.unwrap()
}

async fn post(world: &World, path: &str, body: Option<&Value>) -> Value {
    world.send(As::System, Method::POST, path, body).await.ok()
}

async fn trigger(world: &World, id: &str) -> Value {
    post(world, &format!("/api/v1/cameras/{id}/record-trigger"), None).await
}

fn health(id: &str) -> String {
    format!("/api/v1/cameras/{id}/health")
}

/// Waits until so much of what came before is at hand.
async fn armed(world: &World, id: &str, seconds: f64) -> Value {
    let enough = |status: &Value| {
        status["session"] == "streaming"
            && status["pre_roll_available_seconds"].as_f64().is_some_and(|held| held >= seconds)
    };
    rig::until(world, &health(id), PATIENCE, enough).await
}

async fn sleep_until(world: &World, at: WallTime) {
    let rest = at - world.kernel.clock.wall();
    tokio::time::sleep(rest.max(Micros::ZERO).to_std()).await;
}

/// Stretches of footage without a break, each checked to be one run of what was sent.
fn runs(files: &[File], clip: &std::path::Path) -> Vec<(WallTime, WallTime)> {
    let sent = Loop::video(clip);
    let mut runs: Vec<(WallTime, WallTime, Vec<Packet>)> = Vec::new();
    for file in files {
        let packets = probe(&file.path).video().packets.clone();
        match runs.last_mut().filter(|run| run.1 == file.start) {
            Some(run) => {
                run.1 = file.end;
                run.2.extend(packets);
            }
            None => runs.push((file.start, file.end, packets)),
        }
    }
    for (_, _, packets) in &runs {
        sent.follow(packets.iter());
    }
    runs.into_iter()
        .map(|(start, end, packets)| {
            let length = (end - start).0 as f64 / 40_000.0;
            assert!((length - packets.len() as f64).abs() < 1.5, "{} pictures in {length}", packets.len());
            (start, end)
        })
        .collect()
}

/// A camera's coverage since an instant; it sums exactly.
async fn coverage(world: &World, id: &str, from: WallTime) -> Value {
    let now = world.kernel.clock.wall();
    let path = format!("/api/v1/cameras/{id}/coverage?detail=true&from={from}&to={now}");
    let coverage = world.get(&path).await.ok();
    let micros = |value: &Value| (value.as_f64().unwrap() * 1e6).round() as i64;
    let parts = ["recorded_seconds", "not_wanted_seconds", "missing_seconds"];
    let sum: i64 = parts.iter().map(|part| micros(&coverage[part])).sum();
    assert_eq!(sum, micros(&coverage["window_seconds"]), "{coverage}");
    coverage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_recorded_with_what_came_before() {
    let (world, running) = (World::start().await, camera().await);
    let began = world.kernel.clock.wall();
    let settings = json!({ "record_mode": "event", "pre_roll_seconds": 4, "post_roll_seconds": 3 });
    rig::add(&world, "gate", &running.cameras()[0].url, settings).await;
    let status = armed(&world, "gate", 4.0).await;
    assert_eq!(
        (&status["state"], &status["wanted"], &status["not_wanted_reason"]),
        (&json!("disabled"), &json!(false), &json!("awaiting_trigger"))
    );
    assert_eq!(world.get("/api/v1/cameras/gate/segments").await.ok(), json!([]));
    // One that is extended once.
    let first = trigger(&world, "gate").await;
    assert_eq!((&first["camera_id"], &first["triggered"]), (&json!("gate"), &json!(true)));
    assert_eq!((&first["pre_roll_seconds"], &first["post_roll_seconds"]), (&json!(4), &json!(3)));
    assert_eq!(first["pre_roll_available_seconds"], json!(4.0));
    let first_at = rig::time(&first["window_end"]) - Micros::from_secs(3);
    let recorded_from = rig::time(&first["recorded_from"]);
    let reach = first_at - recorded_from;
    assert!(reach >= Micros::from_secs(4) && reach <= Micros::from_millis(5_100), "{reach:?}");
    rig::until(&world, &health("gate"), PATIENCE, |status| status["state"] == "recording").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let longer = trigger(&world, "gate").await;
    assert_eq!(longer["recorded_from"], first["recorded_from"]);
    let first_end = rig::time(&longer["window_end"]);
    assert!(first_end - rig::time(&first["window_end"]) >= Micros::from_secs(1));
    rig::until(&world, &health("gate"), PATIENCE, |status| status["state"] == "disabled").await;
    // One whose pre-roll adjoins what is recorded already.
    sleep_until(&world, first_end + Micros::from_millis(1_500)).await;
    let second = trigger(&world, "gate").await;
    let second_end = rig::time(&second["window_end"]);
    assert_eq!(second["pre_roll_available_seconds"], json!(4.0));
    // One far from these.
    sleep_until(&world, second_end + Micros::from_secs(7)).await;
    let third = trigger(&world, "gate").await;
    let third_end = rig::time(&third["window_end"]);
    sleep_until(&world, third_end + Micros::from_secs(2)).await;
    let coverage = coverage(&world, "gate", began).await;
    let status = rig::status(&world, "gate").await;
    assert_eq!((&status["state"], &status["reconnect_count"]), (&json!("disabled"), &json!(0)));
    let files = rig::finish(&world, "gate").await;
    let runs = runs(&files, &clip(400));
    assert_eq!(runs.len(), 2, "{runs:?}");
    // The file's first picture is the one that was told.
    assert_eq!(runs[0].0, recorded_from);
    let past = |end: WallTime, window: WallTime| end >= window && end - window <= Micros::from_millis(100);
    assert!(past(runs[0].1, second_end) && past(runs[1].1, third_end), "{runs:?} {second_end} {third_end}");
    assert!(third_end - runs[1].0 >= Micros::from_secs(7), "{runs:?}");
    assert!(files.iter().any(|file| file.view["dependent"] == json!(true) && file.start < second_end));
    assert_eq!(rig::gaps(&world, "gate").await, [] as [Value; 0]);
    let intervals = coverage["intervals"].as_array().unwrap();
    let missing: Vec<&Value> = intervals.iter().filter(|part| part["kind"] == "missing").collect();
    assert!(missing.is_empty(), "{missing:?}");
    let events = rig::events(&world, "gate").await;
    let told: Vec<&Value> = events.iter().filter(|event| event["event_type"] == "record_triggered").collect();
    assert_eq!(told.len(), 3, "one for each window: {events:?}");
    assert_eq!(told[0]["payload"]["recorded_from"], first["recorded_from"]);
    assert_eq!(told[0]["payload"]["window_end"], first["window_end"]);
    assert_eq!((&told[0]["payload"]["source"], &told[0]["severity"]), (&json!("api"), &json!("info")));
    assert!(events.iter().all(|event| event["severity"] == "info"), "{events:?}");
    let audit = world.get("/api/v1/audit?action=record_trigger").await.ok();
    let rows = audit.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[3]["detail"], json!({ "window_end": first["window_end"], "post_roll_seconds": 3 }));
    world.stop().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_goes_on_after_a_restart() {
    let (world, running) = (World::start().await, camera().await);
    let began = world.kernel.clock.wall();
    let settings = json!({ "record_mode": "event", "pre_roll_seconds": 2, "post_roll_seconds": 15 });
    rig::add(&world, "gate", &running.cameras()[0].url, settings).await;
    armed(&world, "gate", 2.0).await;
    let end = rig::time(&trigger(&world, "gate").await["window_end"]);
    rig::until(&world, &health("gate"), PATIENCE, |status| status["state"] == "recording").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let folder = world.stop().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let world = World::start_in(folder, &[]).await;
    rig::until(&world, &health("gate"), PATIENCE, |status| status["state"] == "recording").await;
    assert!(world.kernel.clock.wall() < end, "the machine is too slow for this test");
    sleep_until(&world, end + Micros::from_secs(2)).await;
    let coverage = coverage(&world, "gate", began).await;
    let files = rig::finish(&world, "gate").await;
    let runs = runs(&files, &clip(400));
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs[1].1 >= end && runs[1].1 - end <= Micros::from_millis(100), "{runs:?} {end}");
    let gaps = rig::gaps(&world, "gate").await;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0]["cause"], "server_stopped");
    assert_eq!((rig::time(&gaps[0]["gap_start"]), rig::time(&gaps[0]["gap_end"])), (runs[0].1, runs[1].0));
    let missing = &coverage["missing"];
    assert_eq!(missing.as_object().unwrap().len(), 1, "{coverage}");
    let told = rig::events(&world, "gate").await;
    let told = told.iter().filter(|event| event["event_type"] == "record_triggered").count();
    assert_eq!(told, 1);
    world.stop().await;
    running.stop().await;
}

/// A schedule that is open from so many minutes from now on, for so many minutes.
fn around(world: &World, from: i64, minutes: i64) -> Value {
    let minute = world.kernel.clock.wall().0.div_euclid(60_000_000);
    let of_day = |minute: i64| format!("{:02}:{:02}", minute.rem_euclid(1440) / 60, minute.rem_euclid(60));
    json!({
        "days": [0, 1, 2, 3, 4, 5, 6],
        "time_start": of_day(minute + from),
        "time_end": of_day(minute + from + minutes),
    })
}

async fn schedule(world: &World, id: &str, body: &Value) -> String {
    let made = post(world, &format!("/api/v1/cameras/{id}/schedules"), Some(body)).await;
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_mode_and_schedule_take_effect_while_it_runs() {
    let (world, running) = (World::start_with(&[("TZ", "UTC")]).await, camera().await);
    let began = world.kernel.clock.wall();
    rig::add(&world, "gate", &running.cameras()[0].url, json!({ "record_mode": "scheduled" })).await;
    let status = rig::status(&world, "gate").await;
    assert_eq!(
        (&status["state"], &status["not_wanted_reason"], &status["session"]),
        (&json!("disabled"), &json!("outside_schedule"), &json!("idle"))
    );
    assert_eq!(status["pre_roll_available_seconds"], Value::Null);
    // A window that is open now.
    let id = schedule(&world, "gate", &around(&world, -60, 120)).await;
    rig::until(&world, &health("gate"), PATIENCE, |status| status["state"] == "recording").await;
    // Continuous from here on: the session stays, and no picture is lost.
    let change = async |body: Value| {
        world.send(As::System, Method::PATCH, "/api/v1/cameras/gate", Some(&body)).await.ok();
    };
    change(json!({ "record_mode": "continuous" })).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    change(json!({ "record_mode": "scheduled_event", "pre_roll_seconds": 1 })).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Outside of its window it waits for what happens.
    let path = format!("/api/v1/schedules/{id}");
    world.send(As::System, Method::PATCH, &path, Some(&json!({ "enabled": false }))).await.ok();
    let armed = |status: &Value| {
        status["not_wanted_reason"] == "awaiting_trigger" && status["session"] == "streaming"
    };
    let status = rig::until(&world, &health("gate"), PATIENCE, armed).await;
    assert_eq!((&status["state"], &status["reconnect_count"]), (&json!("disabled"), &json!(0)));
    let closed =
        |list: &Value| list.as_array().unwrap().iter().all(|segment| segment["open"] == json!(false));
    rig::until(&world, "/api/v1/cameras/gate/segments", PATIENCE, closed).await;
    change(json!({ "record_mode": "scheduled" })).await;
    rig::until(&world, &health("gate"), PATIENCE, |status| status["session"] == "idle").await;
    let refused = world.send(As::System, Method::POST, "/api/v1/cameras/gate/record-trigger", None).await;
    assert_eq!(refused.error(), (400, "not_armed".to_owned()));
    let coverage = coverage(&world, "gate", began).await;
    let reasons: Vec<&String> = coverage["not_wanted"].as_object().unwrap().keys().collect();
    assert!(reasons.iter().any(|reason| *reason == "outside_schedule"), "{coverage}");
    let files = rig::finish(&world, "gate").await;
    assert_eq!(runs(&files, &clip(400)).len(), 1, "one run");
    assert_eq!(rig::gaps(&world, "gate").await, [] as [Value; 0]);
    let events = rig::events(&world, "gate").await;
    assert!(events.iter().all(|event| event["severity"] == "info"), "{events:?}");
    world.stop().await;
    running.stop().await;
}

/// A minute is the least that a window lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_window_begins_and_ends_on_the_minute() {
    if !rig::soak() {
        return;
    }
    let (world, running) = (World::start_with(&[("TZ", "UTC")]).await, camera().await);
    let began = world.kernel.clock.wall();
    rig::add(&world, "gate", &running.cameras()[0].url, json!({ "record_mode": "scheduled" })).await;
    let minute = began.0.div_euclid(60_000_000) + 2;
    schedule(&world, "gate", &around(&world, 2, 1)).await;
    let (start, end) = (WallTime(minute * 60_000_000), WallTime((minute + 1) * 60_000_000));
    sleep_until(&world, start - Micros::from_secs(16)).await;
    assert_eq!(rig::status(&world, "gate").await["session"], "idle");
    sleep_until(&world, start - Micros::from_secs(5)).await;
    let status = rig::status(&world, "gate").await;
    assert_eq!((&status["state"], &status["session"]), (&json!("disabled"), &json!("streaming")));
    sleep_until(&world, end + Micros::from_secs(8)).await;
    let status = rig::status(&world, "gate").await;
    assert_eq!((&status["state"], &status["session"]), (&json!("disabled"), &json!("idle")));
    let coverage = coverage(&world, "gate", began).await;
    assert_eq!(coverage["missing"], json!({}), "{coverage}");
    let files = rig::finish(&world, "gate").await;
    let runs = runs(&files, &clip(400));
    assert_eq!(runs.len(), 1);
    assert!(runs[0].0 <= start && start - runs[0].0 <= Micros::from_millis(1_100), "{runs:?} {start}");
    assert!(runs[0].1 >= end && runs[0].1 - end <= Micros::from_millis(100), "{runs:?} {end}");
    world.stop().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_for_what_came_before_is_bounded_and_shared() {
    let options =
        Options { cameras: 3, video: Some(clip(12_000)), media_dir: rig::media_dir(), ..Options::default() };
    let running = heldar_testcam::start(options).await.unwrap();
    let world = World::start_with(&[("HELDAR_PREROLL_MEMORY_MB", "16")]).await;
    let settings = json!({ "record_mode": "event", "pre_roll_seconds": 300, "post_roll_seconds": 2 });
    let ids = ["a", "b", "c"];
    for (id, camera) in ids.iter().zip(running.cameras()) {
        rig::add(&world, id, &camera.url, settings.clone()).await;
    }
    let held = || world.kernel.modes.rolls.lock().unwrap().held_bytes();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut most = 0;
    while std::time::Instant::now() < deadline && most < 15 << 20 {
        most = most.max(held());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(most >= 13 << 20, "{most}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(held() <= 16 << 20, "{}", held());
    let mut available = Vec::new();
    for id in ids {
        let status = rig::status(&world, id).await;
        available.push(status["pre_roll_available_seconds"].as_f64().unwrap());
    }
    assert!(available.iter().all(|seconds| *seconds >= 1.0 && *seconds < 30.0), "{available:?}");
    // What can be had is recorded, and is a run.
    let told = trigger(&world, "a").await;
    let (end, from) = (rig::time(&told["window_end"]), rig::time(&told["recorded_from"]));
    assert!(told["pre_roll_available_seconds"].as_f64().unwrap() < 30.0, "{told}");
    sleep_until(&world, end + Micros::from_secs(2)).await;
    let files = rig::finish(&world, "a").await;
    let runs = runs(&files, &clip(12_000));
    assert_eq!((runs.len(), runs[0].0), (1, from));
    world.stop().await;
    running.stop().await;
}
