//! The generated street, whose people and vehicles go known ways: what zones tell of it is compared with the ways themselves.

use std::collections::BTreeMap;

use axum::http::Method;
use heldar_base::{Clock as _, Micros, WallTime};
use heldar_testcam::scene::Scene;
use serde_json::{Value, json};

use super::{post, world};
use crate::support::{As, World};

/// Pictures a second of the street, and every how many of them are looked at.
const RATE: u32 = 25;
const EVERY: u32 = 2;
/// Where the line stands, and the sides of the yard.
const LINE: f64 = 0.5;
const YARD: [f64; 2] = [0.35, 0.65];

/// One passage of somebody through the picture: where they stood, by picture.
type Ways = BTreeMap<String, Vec<(u32, f64)>>;

/// Whoever leaves on one side and comes again on the other is somebody else.
fn ways(scene: &Scene) -> Ways {
    let mut passes: BTreeMap<u32, (u32, f64)> = BTreeMap::new();
    let mut ways = Ways::new();
    for picture in (0..scene.pictures).step_by(EVERY as usize) {
        for object in scene.objects(picture) {
            let [x, _, w, _] = object.bounds;
            let x = x + w / 2.0;
            let (pass, last) = passes.entry(object.id).or_insert((0, x));
            if (x - *last).abs() > 0.5 {
                *pass += 1;
            }
            *last = x;
            ways.entry(format!("{}-{pass}", object.id)).or_default().push((picture, x));
        }
    }
    ways
}

/// What the ways say: event, track and picture.
fn expected(ways: &Ways) -> Vec<(u32, String, &'static str)> {
    let inside = |x: f64| (YARD[0]..YARD[1]).contains(&x);
    let mut all = Vec::new();
    for (track, way) in ways {
        if inside(way[0].1) {
            all.push((way[0].0, track.clone(), "enter"));
        }
        for pair in way.windows(2) {
            let ((_, before), (picture, after)) = (pair[0], pair[1]);
            let mut add = |what| all.push((picture, track.clone(), what));
            match (inside(before), inside(after)) {
                (false, true) => add("enter"),
                (true, false) => add("exit"),
                _ => {}
            }
            match (before < LINE, after < LINE) {
                (true, false) => add("cross_ab"),
                (false, true) => add("cross_ba"),
                _ => {}
            }
        }
    }
    all.sort();
    all
}

async fn send(world: &World, scene: &Scene, ways: &Ways, start: WallTime) {
    for picture in (0..scene.pictures).step_by(EVERY as usize) {
        let track = |id: u32| {
            let here = |(name, way): &(&String, &Vec<(u32, f64)>)| {
                name.starts_with(&format!("{id}-")) && way.iter().any(|(at, _)| *at == picture)
            };
            ways.iter().find(here).map(|(name, _)| name.clone())
        };
        let seen: Vec<Value> = scene
            .objects(picture)
            .iter()
            .map(|object| json!({ "label": object.label, "track_id": track(object.id), "bbox": object.bounds }))
            .collect();
        let at = at(start, picture);
        let body = json!({ "camera_id": "gate", "task_type": "yolo", "timestamp": at.to_string(), "detections": seen });
        post(world, As::System, "/api/v1/ai/events", &body).await.ok();
    }
}

fn at(start: WallTime, picture: u32) -> WallTime {
    start + Micros(i64::from(picture) * 1_000_000 / i64::from(RATE))
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_directions_of_the_street_are_exact() {
    let world = world(&[]).await;
    let scene = Scene { seed: heldar_testcam::SEED, pictures: 30 * RATE, rate: RATE };
    let zone = async |body: Value| {
        let made = post(&world, As::System, "/api/v1/cameras/gate/zones", &body).await;
        assert_eq!(made.status, 201, "{}", made.json());
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let config =
        json!({ "confirm_frames": 1, "lost_seconds": 600, "static_suppression": false, "hysteresis": 0 });
    let line =
        json!({ "name": "line", "kind": "line", "polygon": [[LINE, 0.0], [LINE, 1.0]], "config": config });
    let line = zone(line).await;
    let [left, right] = YARD;
    let yard = json!([[left, 0.0], [right, 0.0], [right, 1.0], [left, 1.0]]);
    zone(json!({ "name": "yard", "kind": "count", "polygon": yard, "config": config })).await;
    let ways = ways(&scene);
    let expect = expected(&ways);
    let kinds = |what| expect.iter().filter(|(_, _, kind)| *kind == what).count();
    assert!(kinds("cross_ab") > 8 && kinds("cross_ba") > 1 && kinds("exit") > 8, "{expect:?}");
    let start = world.kernel.clock.wall() - Micros::from_secs(60);
    send(&world, &scene, &ways, start).await;

    let path = "/api/v1/cameras/gate/zone-events?order=asc&limit=1000";
    let mut told = Vec::new();
    for _ in 0..200 {
        told = world.get(path).await.ok().as_array().unwrap().clone();
        if told.len() >= expect.len() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
    let mut found: Vec<(String, String, String)> = told
        .iter()
        .map(|event| (text(event, "timestamp"), text(event, "track_id"), text(event, "event_type")))
        .collect();
    let mut wanted: Vec<(String, String, String)> = expect
        .iter()
        .map(|(picture, track, what)| (at(start, *picture).to_string(), track.clone(), (*what).to_owned()))
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    // Each visit lasted as long as the way says.
    for exit in told.iter().filter(|event| event["event_type"] == "exit") {
        let of =
            |what| expect.iter().rfind(|(_, track, kind)| *track == text(exit, "track_id") && *kind == what);
        let pictures = of("exit").unwrap().0 - of("enter").unwrap().0;
        let seconds = f64::from(pictures) / f64::from(RATE);
        assert!((exit["dwell_seconds"].as_f64().unwrap() - seconds).abs() < 1e-6, "{exit}");
    }
    let counted = world.get(&format!("/api/v1/zones/{line}/counters")).await.ok();
    assert_eq!((&counted["in"], &counted["out"]), (&json!(kinds("cross_ab")), &json!(kinds("cross_ba"))));
    let inside = kinds("enter") - kinds("exit");
    let occupancy = world.get("/api/v1/cameras/gate/zones/occupancy").await.ok();
    assert_eq!(occupancy["zones"][0]["count"], json!(inside));
    let buckets = world.get("/api/v1/cameras/gate/zone-events/aggregates?bucket_minutes=1440").await.ok();
    let sum = |what: &str| {
        let of = buckets["buckets"].as_array().unwrap().iter().filter(|bucket| bucket["event_type"] == what);
        of.map(|bucket| bucket["count"].as_u64().unwrap()).sum::<u64>()
    };
    for what in ["enter", "exit", "cross_ab", "cross_ba"] {
        assert_eq!(sum(what), kinds(what) as u64, "{what}");
    }
    world.send(As::System, Method::DELETE, &format!("/api/v1/zones/{line}"), None).await.ok();
    world.stop().await;
}
