//! What zones cost: detections against many of them, and what is remembered.
//!
//! `cargo bench -p heldar-zones -- [ZONES] [TRACKS]`; by default 50 zones of 12 corners and 40 tracks at 5 pictures per second.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints and stops at the first failure"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use heldar_base::{Micros, WallTime};
use heldar_zones::{Batch, Detection, Engine, Zone, ZoneFields};
use serde_json::json;

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 2026-01-01T00:00:00Z.
const T0: WallTime = WallTime(1_767_225_600_000_000);
const PERIOD: Micros = Micros::from_millis(200);
const CORNERS: u32 = 12;

/// Circles of 12 corners all over the picture; every tenth zone is a polyline of as many.
fn zones(count: u32) -> Vec<Zone> {
    let side = f64::from(count).sqrt().ceil();
    let zone = |n: u32| {
        let (column, row) = (f64::from(n) % side, (f64::from(n) / side).floor());
        let (x, y) = ((column + 0.5) / side, (row + 0.5) / side);
        let corner = |k: u32| {
            let angle = f64::from(k) / f64::from(CORNERS) * std::f64::consts::TAU;
            [(x + angle.cos() * 0.7 / side).clamp(0.0, 1.0), (y + angle.sin() * 0.7 / side).clamp(0.0, 1.0)]
        };
        let polygon: Vec<_> = (0..CORNERS).map(corner).collect();
        let kind = ["region", "presence", "count", "restricted", "line"][(n % 10).min(4) as usize];
        let fields = json!({"name": format!("zone {n}"), "kind": if n % 10 == 9 { "line" } else if kind == "line" { "region" } else { kind },
            "polygon": polygon, "dwell_seconds": 10, "config": {"loiter": {"seconds": 60}}});
        Zone::new(&format!("zone_{n}"), &serde_json::from_value::<ZoneFields>(fields).unwrap()).unwrap()
    };
    (0..count).map(zone).collect()
}

/// Where a track is: it wanders through the picture, each on its own way.
fn bbox(track: usize, step: usize) -> [f64; 4] {
    let (t, n) = (step as f64 * 0.013, track as f64);
    let x = 0.5 + 0.44 * (t * (1.0 + n * 0.017) + n).sin();
    let y = 0.55 + 0.4 * (t * (0.7 + n * 0.011) + 2.0 * n).cos();
    [x - 0.03, y - 0.12, 0.06, 0.12]
}

/// Seconds that so many pictures take, and the engine after them.
fn run(zone_count: u32, names: &[String], steps: usize) -> (f64, usize, Engine) {
    let mut engine = Engine::new();
    engine.set_zones(zones(zone_count), T0);
    let mut facts = 0;
    let mut spent = 0.0;
    for step in 0..steps {
        let detections: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(track, name)| Detection {
                track: Some(name),
                label: Some(if track % 3 == 0 { "car" } else { "person" }),
                confidence: Some(0.8),
                bbox: Some(bbox(track, step)),
                at: None,
            })
            .collect();
        let captured_at = T0 + Micros(PERIOD.0 * step as i64);
        let batch = Batch {
            task_type: "detection",
            task: "ai_1",
            lease: Some("lse_1"),
            period: Some(PERIOD),
            captured_at,
            late: false,
            detections: &detections,
        };
        let start = Instant::now();
        facts += engine.batch(&batch, captured_at + Micros::from_millis(400)).facts.len();
        spent += start.elapsed().as_secs_f64();
    }
    (spent, facts, engine)
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let zone_count = numbers.first().map_or(50, |n| *n as u32);
    let tracks = numbers.get(1).copied().unwrap_or(40);
    let names: Vec<String> = (0..tracks).map(|n| n.to_string()).collect();
    let steps = 200_000 / tracks.max(1);
    println!("{CORNERS} corners, {tracks} tracks");
    for count in [zone_count / 5, zone_count, zone_count * 4] {
        run(count, &names, steps / 10);
        let (spent, facts, _) = run(count, &names, steps);
        let detections = (steps * tracks) as f64;
        println!(
            "{count:>4} zones: {:6.2} us a detection, {:6.1} M detections against zones a second, {facts} facts",
            spent / detections * 1e6,
            detections * f64::from(count) / spent / 1e6,
        );
    }
    for held in [tracks, 1000] {
        let names: Vec<String> = (0..held).map(|n| n.to_string()).collect();
        let (_, _, engine) = run(zone_count, &names, 50);
        let (all, pairs) = (engine.quantities(), held * zone_count as usize);
        let saved = engine.save();
        let before = ALLOCATED.load(Ordering::Relaxed);
        let copy = engine.clone();
        let memory = ALLOCATED.load(Ordering::Relaxed) - before;
        drop(copy);
        let mut bare = Engine::new();
        bare.set_zones(zones(zone_count), T0);
        let bare_saved = bare.save().len();
        let before = ALLOCATED.load(Ordering::Relaxed);
        let copy = bare.clone();
        let bare_memory = ALLOCATED.load(Ordering::Relaxed) - before;
        drop(copy);
        let start = Instant::now();
        let rounds = 20;
        (0..rounds).for_each(|_| drop(Engine::restore(&engine.save()).unwrap()));
        println!(
            "{} tracks: {} of {pairs} pairs are remembered; {:.0} bytes in memory and {:.0} saved for each that is, {:.1} and {:.1} for each that could be; {} bytes saved with zones, in and out in {:.2} ms",
            all.tracks,
            all.pairs,
            (memory - bare_memory) as f64 / all.pairs as f64,
            (saved.len() - bare_saved) as f64 / all.pairs as f64,
            (memory - bare_memory) as f64 / pairs as f64,
            (saved.len() - bare_saved) as f64 / pairs as f64,
            saved.len(),
            start.elapsed().as_secs_f64() * 1e3 / f64::from(rounds),
        );
    }
}
