//! Rain, snow and trees in the wind.

use crate::chance::Chance;
use crate::film::{HEIGHT, RATE, WIDTH};

/// What falls. Every drop is a streak of one picture; flakes are seen for some.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// Streaks per picture.
    pub(crate) drops: usize,
    /// Flakes in the picture.
    pub(crate) flakes: usize,
    falling: Vec<Flake>,
}

#[derive(Debug)]
struct Flake {
    x: f32,
    y: f32,
    fall: f32,
    size: f32,
    light: f32,
}

impl Weather {
    pub(crate) fn rain(drops: usize) -> Self {
        Weather { drops, ..Weather::default() }
    }

    pub(crate) fn snow(flakes: usize) -> Self {
        Weather { flakes, ..Weather::default() }
    }

    pub(crate) fn paint(&mut self, chance: &mut Chance, canvas: &mut [f32]) {
        for _ in 0..self.drops {
            let (x, y) = (chance.between(0.0, WIDTH as f32), chance.between(-15.0, HEIGHT as f32));
            let (length, light, slant) =
                (chance.between(6.0, 22.0) as usize, chance.between(12.0, 45.0), chance.between(-0.1, 0.2));
            for step in 0..length {
                add(canvas, x + slant * step as f32, y + step as f32, light);
            }
        }
        while self.falling.len() < self.flakes {
            // What is twice as near is twice as large and falls twice as fast: 1 cm that falls 1 m a second does twenty times
            // its size in a fifth of it. What is smaller than a pixel fills only a part of it.
            let size = chance.between(0.6, 4.0);
            self.falling.push(Flake {
                x: chance.between(0.0, WIDTH as f32),
                y: chance.between(0.0, HEIGHT as f32),
                fall: size * chance.between(12.0, 25.0),
                size,
                light: chance.between(20.0, 60.0) * (size * size).min(1.0),
            });
        }
        for flake in &mut self.falling {
            flake.y += flake.fall * chance.between(0.7, 1.3);
            flake.x += chance.normal() * 4.0;
            if flake.y >= HEIGHT as f32 {
                (flake.x, flake.y) = (chance.between(0.0, WIDTH as f32), chance.between(-20.0, 0.0));
            }
            for dy in 0..flake.size as usize + 1 {
                for dx in 0..flake.size as usize + 1 {
                    add(canvas, flake.x + dx as f32, flake.y + dy as f32, flake.light);
                }
            }
        }
    }
}

fn add(canvas: &mut [f32], x: f32, y: f32, light: f32) {
    if x >= 0.0 && y >= 0.0 && x < WIDTH as f32 && y < HEIGHT as f32 {
        canvas[y as usize * WIDTH + x as usize] += light;
    }
}

/// Leaves whose branches sway, each in its own rhythm.
#[derive(Debug)]
pub(crate) struct Tree {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// Pixels to either side.
    sway: f32,
    leaves: Vec<f32>,
    rhythms: Vec<(f32, f32)>,
}

/// Side of a branch, and the room around a tree that it may sway into.
const BRANCH: usize = 22;
const ROOM: usize = 12;

impl Tree {
    pub(crate) fn new(
        chance: &mut Chance,
        left: usize,
        top: usize,
        width: usize,
        height: usize,
        sway: f32,
    ) -> Self {
        let stride = width + 2 * ROOM;
        let mut leaves: Vec<f32> =
            (0..stride * (height + 2 * ROOM)).map(|_| 70.0 + 35.0 * chance.normal()).collect();
        for at in stride + 1..leaves.len() {
            leaves[at] = 0.4 * leaves[at] + 0.3 * leaves[at - 1] + 0.3 * leaves[at - stride];
        }
        let branches = width.div_ceil(BRANCH) * height.div_ceil(BRANCH);
        let rhythms = (0..branches)
            .map(|_| (chance.between(0.25, 0.9), chance.between(0.0, std::f32::consts::TAU)))
            .collect();
        Tree { left, top, width, height, sway, leaves, rhythms }
    }

    pub(crate) fn paint(&self, n: usize, canvas: &mut [f32]) {
        let seconds = n as f32 / RATE as f32;
        // Gusts come and go.
        let gust = 0.55 + 0.45 * (seconds * 0.21).sin() * (seconds * 0.083).cos();
        let stride = self.width + 2 * ROOM;
        for y in 0..self.height.min(HEIGHT - self.top) {
            for x in 0..self.width.min(WIDTH - self.left) {
                let branch = y / BRANCH * self.width.div_ceil(BRANCH) + x / BRANCH;
                let (rate, phase) = self.rhythms[branch];
                let swing = (std::f32::consts::TAU * rate * seconds + phase).sin() * self.sway * gust;
                let from_x = (x + ROOM) as f32 + swing;
                let from_y = (y + ROOM) as f32 + swing * 0.3;
                canvas[(self.top + y) * WIDTH + self.left + x] =
                    self.leaves[from_y as usize * stride + from_x as usize];
            }
        }
    }
}
