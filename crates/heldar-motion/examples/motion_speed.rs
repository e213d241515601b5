//! How long a detector takes for a picture: `cargo run --release --example motion_speed -p heldar-motion`.
//!
//! Owns: a noisy picture with things that move, and the clock that a pure crate must not read.

use std::io::Write as _;
use std::time::Instant;

use heldar_base::WallTime;
use heldar_motion::{Config, Detector, Plane};

const PICTURES: usize = 5000;

fn main() -> std::io::Result<()> {
    for (width, height) in [(320, 180), (320, 240), (640, 360)] {
        let films = film(width, height);
        let mut detector = Detector::new(Config::default());
        let mut with_motion = 0;
        let mut slowest = 0;
        let begin = Instant::now();
        for n in 0..PICTURES {
            let luma = films.get(n % films.len()).map(Vec::as_slice).unwrap_or_default();
            let Ok(plane) = Plane::new(width, height, luma) else { continue };
            let start = Instant::now();
            let outcome = detector.handle(WallTime(n as i64 * 200_000), &plane);
            slowest = slowest.max(start.elapsed().as_micros());
            with_motion += usize::from(outcome.update.is_some());
        }
        let mean = begin.elapsed().as_secs_f64() * 1e6 / PICTURES as f64;
        writeln!(
            std::io::stdout(),
            "{width} x {height}: {mean:.1} us a picture, slowest {slowest} us, {with_motion} of {PICTURES} with motion"
        )?;
    }
    Ok(())
}

/// Two hundred pictures: noise over a ramp, and six boxes that cross.
fn film(width: usize, height: usize) -> Vec<Vec<u8>> {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    (0..200)
        .map(|n| {
            let boxes: Vec<(usize, usize)> =
                (0..6).map(|k| ((n * (2 + k) + k * 53) % width, k * height / 7)).collect();
            (0..width * height)
                .map(|at| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let noise =
                        (random.to_le_bytes().iter().map(|byte| u32::from(byte & 3)).sum::<u32>()) as u8;
                    let (x, y) = (at % width, at / width);
                    let inside = |(left, top): &(usize, usize)| {
                        (*left..left + 10).contains(&x) && (*top..top + 24).contains(&y)
                    };
                    let level = if boxes.iter().any(inside) { 170 } else { 60 + (x * 60 / width) as u8 };
                    level + noise
                })
                .collect()
        })
        .collect()
}
