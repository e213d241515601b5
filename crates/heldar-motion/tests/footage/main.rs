//! The detector before footage made of numbers: noise, weather, light, and things that truly move.
//!
//! Some footage of each kind runs for six minutes of camera time; `HELDAR_SOAK=1` makes it an hour of all of it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and stops at the first failure"
)]

mod actors;
mod chance;
mod film;
mod judge;
mod weather;

use actors::{Actor, Kind, Shape};
use chance::Chance;
use film::{Film, RATE, View};
use heldar_base::{Interval, Micros};
use heldar_motion::SceneChange;
use judge::{Verdict, figure, soak, watch};
use weather::{Tree, Weather};

/// Pictures of one run.
fn pictures() -> usize {
    if soak() { 3600 * RATE } else { 360 * RATE }
}

/// All cases where full counts are wanted, else the first ones.
fn some<T>(usual: usize, all: &[T]) -> &[T] {
    if soak() { all } else { &all[..usual] }
}

/// Watches a film without actors; an hour may have one false event, a tenth of it none.
#[track_caller]
fn quiet(what: &str, mut film: Film) -> Verdict {
    let verdict = watch(&mut film, 0..pictures());
    let hours = pictures() as f32 / (3600 * RATE) as f32;
    let motion = verdict.spans.iter().map(Interval::len).sum::<Micros>().as_secs_f64();
    let edges = verdict.false_edges.len() as f32;
    figure(what, "false events", &format!("{edges} in {hours} hours, {motion:.0} s of motion"));
    assert!(motion < 30.0, "{what}: {motion} s of motion");
    assert!(verdict.false_edges.len() as f32 <= hours, "{what}: {:?}", verdict.false_edges);
    verdict
}

#[test]
fn noise_is_not_motion() {
    for &(seed, noise) in some(2, &[(4, 16.0), (2, 4.0), (1, 1.0), (3, 8.0)]) {
        let verdict = quiet(&format!("noise of deviation {noise}"), Film::noisy(seed, noise));
        assert!(verdict.learning < 20, "learning for {} pictures", verdict.learning);
    }
}

#[test]
fn coarse_noise_is_not_motion() {
    for &(seed, grain, noise) in some(1, &[(5, 2, 5.0), (6, 4, 5.0), (7, 3, 10.0)]) {
        let mut film = Film::noisy(seed, noise);
        film.grain = grain;
        quiet(&format!("noise of deviation {noise} in grains of {grain} pixels"), film);
    }
}

#[test]
fn pulses_of_the_codec_are_not_motion() {
    for &(seed, pulse, noise) in some(1, &[(9, 4.0, 4.0), (8, 2.0, 2.0), (10, 6.0, 1.0)]) {
        let mut film = Film::noisy(seed, noise);
        film.pulse = pulse;
        quiet(&format!("pulses of deviation {pulse}, noise {noise}"), film);
    }
}

#[test]
fn rain_and_snow_are_not_motion() {
    for &(seed, drops) in some(2, &[(12, 60), (13, 250), (11, 10)]) {
        let mut film = Film::noisy(seed, 3.0);
        film.weather = Weather::rain(drops);
        quiet(&format!("rain of {drops} streaks"), film);
    }
    for &(seed, flakes) in some(1, &[(14, 15), (15, 80), (39, 4)]) {
        let mut film = Film::noisy(seed, 3.0);
        film.weather = Weather::snow(flakes);
        quiet(&format!("snow of {flakes} flakes"), film);
    }
}

#[test]
fn foliage_is_not_motion() {
    for &(seed, sway) in some(1, &[(17, 4.0), (16, 2.0), (18, 8.0)]) {
        let mut film = Film::noisy(seed, 3.0);
        let mut chance = Chance::new(seed);
        film.trees = vec![
            Tree::new(&mut chance, 10, 20, 110, 100, sway),
            Tree::new(&mut chance, 220, 60, 70, 90, sway * 0.7),
        ];
        quiet(&format!("trees that sway by {sway} pixels"), film);
    }
}

#[test]
fn light_is_not_motion() {
    let minute = 60 * RATE;
    quiet(
        "steps of light every minute",
        Film::new(19, move |n| View { gain: [1.0, 1.35, 0.7][n / minute % 3], ..View::PLAIN }),
    );
    quiet("clouds", Film::new(20, |n| View { gain: 1.0 + 0.3 * (n as f32 * 0.02).sin(), ..View::PLAIN }));
    quiet("dusk", Film::new(21, |n| View { gain: (1.0 - n as f32 / 4000.0).max(0.3), ..View::PLAIN }));
    quiet(
        "lamp on and off, with exposure following",
        Film::new(22, move |n| {
            let since = (n % minute) as f32;
            let jump = if n / minute % 2 == 1 { 60.0 } else { -20.0 };
            View { offset: jump * (0.4 + 0.6 * (-since / 8.0).exp()), ..View::PLAIN }
        }),
    );
}

#[test]
fn infrared_is_not_motion() {
    let (minutes, noise) = (2 * 60 * RATE, 9.0);
    let verdict = quiet(
        "infrared switched every two minutes, blurred for a second, noisy after",
        Film::new(23, move |n| {
            let (infrared, since) = (n / minutes % 2, n % minutes);
            let blur = if n >= minutes && since < RATE { 3 } else { 0 };
            View { scene: infrared, blur, noise: if infrared == 1 { noise } else { 2.0 }, ..View::PLAIN }
        }),
    );
    // Where noise hides much of a switch, what differs becomes background without one.
    assert!(!verdict.scenes.is_empty());
    assert!(verdict.scenes.iter().all(|(_, scene)| *scene == SceneChange::Light), "{:?}", verdict.scenes);
}

#[test]
fn a_moved_camera_is_a_new_scene() {
    let minutes = 2 * 60 * RATE;
    let verdict = quiet(
        "camera moved every two minutes",
        Film::new(24, move |n| View { scene: n / minutes % 2 * 2, ..View::PLAIN }),
    );
    assert_eq!(verdict.scenes.len(), (pictures() - 1) / minutes, "{:?}", verdict.scenes);
    assert!(verdict.scenes.iter().all(|(_, scene)| *scene == SceneChange::View), "{:?}", verdict.scenes);
}

/// A film with one actor at a time, some seconds apart, and the picture after the last.
fn passing(mut film: Film, seed: u64, actor: impl Fn(&mut Chance, usize) -> Actor) -> (Film, usize) {
    let mut chance = Chance::new(seed ^ 0xac70);
    let count = if soak() { 300 } else { 15 };
    let mut next = 60;
    for _ in 0..count {
        let actor = actor(&mut chance, next);
        next = actor.until() + 15 + chance.below(25);
        film.actors.push(actor);
    }
    (film, next)
}

/// At most 2 of 100 actors are missed, and at most a false event an hour is found.
#[track_caller]
fn found(what: &str, film: Film, seed: u64, actor: impl Fn(&mut Chance, usize) -> Actor) {
    let (mut film, pictures) = passing(film, seed, actor);
    let verdict = watch(&mut film, 0..pictures);
    let (all, missed) = (verdict.found.len(), verdict.missed());
    let hours = pictures as f32 / (3600 * RATE) as f32;
    figure(
        what,
        "missed",
        &format!("{missed} of {all}, {:.0} % of the time covered", 100.0 * verdict.covered()),
    );
    let (edges, false_boxes) = (verdict.false_edges.len(), verdict.false_boxes);
    let boxes = verdict.boxes;
    figure(what, "false events", &format!("{edges} in {hours:.1} hours, {false_boxes} of {boxes} boxes"));
    assert!(false_boxes * 20 <= boxes, "{what}: {false_boxes} of {boxes} boxes are nothing");
    let worst: Vec<&Actor> = film
        .actors
        .iter()
        .zip(&verdict.found)
        .filter(|(_, found)| found.1 == 0)
        .map(|(actor, _)| actor)
        .collect();
    assert!(missed * 50 <= all, "{what}: {missed} of {all} missed: {worst:#?}");
    assert!(verdict.false_edges.len() as f32 <= hours.ceil(), "{what}: {:?}", verdict.false_edges);
}

fn people(height: (f32, f32), speed: (f32, f32), contrast: (f32, f32)) -> Kind {
    Kind { shape: Shape::Person, height, speed, contrast }
}

#[test]
fn people_are_found() {
    for (seed, noise, what, kind) in [
        (
            30,
            3.0,
            "people of 3 % of the height, 2 pixels a picture",
            people((5.4, 5.6), (2.0, 2.0), (30.0, 60.0)),
        ),
        (31, 4.0, "people of 12 grey levels, noise 4", people((18.0, 60.0), (2.0, 6.0), (12.0, 12.0))),
        (32, 4.0, "people of all sizes", people((12.0, 100.0), (1.5, 9.0), (20.0, 80.0))),
        (33, 10.0, "people at night, noise 10", people((25.0, 90.0), (2.0, 7.0), (40.0, 80.0))),
    ] {
        found(what, Film::noisy(seed, noise), seed, |chance, from| Actor::crossing(chance, kind, from));
    }
    found("people who come nearer", Film::noisy(34, 4.0), 34, Actor::approaching);
}

#[test]
fn people_are_found_in_weather() {
    let kind = people((25.0, 80.0), (2.0, 7.0), (35.0, 70.0));
    let mut rain = Film::noisy(35, 3.0);
    rain.weather = Weather::rain(60);
    found("people in rain", rain, 35, |chance, from| Actor::crossing(chance, kind, from));
    let mut pulsing = Film::noisy(36, 3.0);
    pulsing.pulse = 3.0;
    found("people behind pulses of the codec", pulsing, 36, |chance, from| {
        Actor::crossing(chance, kind, from)
    });
    let mut windy = Film::noisy(37, 3.0);
    windy.trees = vec![Tree::new(&mut Chance::new(37), 10, 10, 110, 100, 4.0)];
    found("people beside a tree in the wind", windy, 37, |chance, from| Actor::crossing(chance, kind, from));
}

#[test]
fn vehicles_are_found() {
    let kind =
        Kind { shape: Shape::Vehicle, height: (18.0, 45.0), speed: (15.0, 65.0), contrast: (20.0, 80.0) };
    found("vehicles", Film::noisy(38, 4.0), 38, |chance, from| Actor::crossing(chance, kind, from));
}
