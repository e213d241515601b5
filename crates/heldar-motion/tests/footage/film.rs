//! A camera made of numbers: a scene, what happens to its light, what lies between, and the noise of its sensor and codec.

use crate::actors::Actor;
use crate::chance::Chance;
use crate::weather::{Tree, Weather};

pub(crate) const WIDTH: usize = 320;
pub(crate) const HEIGHT: usize = 180;
/// Pictures per second.
pub(crate) const RATE: usize = 5;

/// What a picture is made of besides the scene.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Scene, of those that the film has.
    pub(crate) scene: usize,
    pub(crate) gain: f32,
    pub(crate) offset: f32,
    /// Radius in pixels.
    pub(crate) blur: usize,
    /// Deviation of the sensor's noise.
    pub(crate) noise: f32,
}

impl View {
    pub(crate) const PLAIN: View = View { scene: 0, gain: 1.0, offset: 0.0, blur: 0, noise: 3.0 };
}

pub(crate) struct Film {
    chance: Chance,
    scenes: Vec<Vec<f32>>,
    view: Box<dyn Fn(usize) -> View>,
    pub(crate) weather: Weather,
    pub(crate) trees: Vec<Tree>,
    pub(crate) actors: Vec<Actor>,
    /// Deviation of the pattern that each group of ten pictures has of its own, in blocks of 8 x 8.
    pub(crate) pulse: f32,
    /// Pixels on a side that share one value of noise.
    pub(crate) grain: usize,
    pattern: Vec<f32>,
    tape: Vec<f32>,
    canvas: Vec<f32>,
    picture: Vec<u8>,
}

impl Film {
    pub(crate) fn new(seed: u64, view: impl Fn(usize) -> View + 'static) -> Self {
        let mut chance = Chance::new(seed);
        let day = scene(&mut chance);
        let elsewhere = scene(&mut chance);
        let infrared = infrared(&mut chance, &day);
        let tape = (0..262_139).map(|_| chance.normal()).collect();
        Film {
            chance,
            scenes: vec![day, infrared, elsewhere],
            view: Box::new(view),
            weather: Weather::default(),
            trees: Vec::new(),
            actors: Vec::new(),
            pulse: 0.0,
            grain: 1,
            pattern: vec![0.0; WIDTH.div_ceil(8) * HEIGHT.div_ceil(8)],
            tape,
            canvas: vec![0.0; WIDTH * HEIGHT],
            picture: vec![0; WIDTH * HEIGHT],
        }
    }

    /// With noise of deviation `noise` and nothing else.
    pub(crate) fn noisy(seed: u64, noise: f32) -> Self {
        Film::new(seed, move |_| View { noise, ..View::PLAIN })
    }

    pub(crate) fn picture(&mut self, n: usize) -> &[u8] {
        let view = (self.view)(n);
        self.canvas.copy_from_slice(&self.scenes[view.scene]);
        for tree in &self.trees {
            tree.paint(n, &mut self.canvas);
        }
        for actor in &self.actors {
            actor.paint(n, &mut self.canvas);
        }
        for level in &mut self.canvas {
            *level = *level * view.gain + view.offset;
        }
        self.weather.paint(&mut self.chance, &mut self.canvas);
        if view.blur > 0 {
            blur(&mut self.canvas, view.blur);
        }
        self.add_pulse(n);
        self.add_noise(view.noise);
        for (pixel, level) in self.picture.iter_mut().zip(&self.canvas) {
            *pixel = (level + 0.5) as u8;
        }
        &self.picture
    }

    fn add_noise(&mut self, deviation: f32) {
        let mut start = 0;
        for (y, row) in self.canvas.chunks_exact_mut(WIDTH).enumerate() {
            if y % self.grain == 0 {
                start = self.chance.below(self.tape.len() - WIDTH);
            }
            // Rows of one grain share their noise, as do its columns.
            let noise = &self.tape[start..start + WIDTH];
            if self.grain == 1 {
                for (level, noise) in row.iter_mut().zip(noise) {
                    *level += noise * deviation;
                }
            } else {
                for (x, level) in row.iter_mut().enumerate() {
                    *level += noise[x / self.grain] * deviation;
                }
            }
        }
    }

    fn add_pulse(&mut self, n: usize) {
        if self.pulse == 0.0 {
            return;
        }
        if n.is_multiple_of(2 * RATE) {
            for offset in &mut self.pattern {
                *offset = self.chance.normal() * self.pulse;
            }
        }
        for (y, row) in self.canvas.chunks_exact_mut(WIDTH).enumerate() {
            let blocks = &self.pattern[y / 8 * WIDTH.div_ceil(8)..];
            for (part, offset) in row.chunks_mut(8).zip(blocks) {
                for level in part {
                    *level += offset;
                }
            }
        }
    }
}

/// Walls, windows, a floor, and some texture everywhere.
fn scene(chance: &mut Chance) -> Vec<f32> {
    let mut out = vec![0.0; WIDTH * HEIGHT];
    let horizon = chance.between(40.0, 80.0);
    for (at, level) in out.iter_mut().enumerate() {
        let (x, y) = ((at % WIDTH) as f32, (at / WIDTH) as f32);
        *level = if y < horizon { 150.0 - x * 0.1 } else { 80.0 + (y - horizon) * 0.4 };
    }
    for _ in 0..14 {
        let (left, top) = (chance.below(WIDTH - 20), chance.below(HEIGHT - 20));
        let (width, height) = (8 + chance.below(60), 6 + chance.below(50));
        let level = chance.between(45.0, 200.0);
        for y in top..(top + height).min(HEIGHT) {
            out[y * WIDTH + left..y * WIDTH + (left + width).min(WIDTH)].fill(level);
        }
    }
    let mut texture: Vec<f32> = (0..WIDTH * HEIGHT).map(|_| chance.normal() * 12.0).collect();
    blur(&mut texture, 1);
    out.iter_mut().zip(&texture).for_each(|(level, texture)| *level += texture);
    out
}

/// The same scene by infrared light: dark is bright, in some places more than in others.
fn infrared(chance: &mut Chance, day: &[f32]) -> Vec<f32> {
    let tint: Vec<f32> = (0..12).map(|_| chance.between(-45.0, 45.0)).collect();
    let place = |at: usize| at / WIDTH / 60 * 4 + at % WIDTH / 80;
    let lit = |(at, level): (usize, &f32)| 170.0 - 0.6 * level + tint[place(at)];
    day.iter().enumerate().map(lit).collect()
}

/// Box blur of both directions.
pub(crate) fn blur(canvas: &mut [f32], radius: usize) {
    let source = canvas.to_vec();
    let side = 2 * radius + 1;
    let mut across = vec![0.0; source.len()];
    for (from, to) in source.chunks_exact(WIDTH).zip(across.chunks_exact_mut(WIDTH)) {
        for (x, level) in to.iter_mut().enumerate() {
            let around = (0..side).map(|k| from[(x + k).saturating_sub(radius).min(WIDTH - 1)]);
            *level = around.sum::<f32>() / side as f32;
        }
    }
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let around =
                (0..side).map(|k| across[(y + k).saturating_sub(radius).min(HEIGHT - 1) * WIDTH + x]);
            canvas[y * WIDTH + x] = around.sum::<f32>() / side as f32;
        }
    }
}
