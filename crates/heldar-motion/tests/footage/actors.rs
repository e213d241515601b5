//! People and vehicles, and where they truly are.

use crate::chance::Chance;
use crate::film::{HEIGHT, RATE, WIDTH};

/// What an actor looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Head, body, legs that swing.
    Person,
    /// A body with darker windows.
    Vehicle,
}

/// One that passes once.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) shape: Shape,
    /// First picture.
    pub(crate) from: usize,
    /// Middle of its feet, in pixels, at first.
    pub(crate) x: f32,
    pub(crate) y: f32,
    /// Pixels per picture.
    pub(crate) vx: f32,
    pub(crate) vy: f32,
    pub(crate) width: f32,
    pub(crate) height: f32,
    /// Growth per picture, as share of its first size.
    pub(crate) growth: f32,
    /// Grey levels that it differs from what is behind it.
    pub(crate) contrast: f32,
}

/// A box in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Truth {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) right: f32,
    pub(crate) bottom: f32,
}

/// How to make one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) shape: Shape,
    pub(crate) height: (f32, f32),
    pub(crate) speed: (f32, f32),
    pub(crate) contrast: (f32, f32),
}

impl Actor {
    /// Crosses the picture from one side.
    pub(crate) fn crossing(chance: &mut Chance, kind: Kind, from: usize) -> Actor {
        let height = chance.between(kind.height.0, kind.height.1);
        let width = match kind.shape {
            Shape::Person => height * 0.38,
            Shape::Vehicle => height * chance.between(1.8, 2.6),
        };
        let speed = chance.between(kind.speed.0, kind.speed.1) * chance.sign();
        let outside = width / 2.0 + 1.0;
        Actor {
            shape: kind.shape,
            from,
            x: if speed > 0.0 { -outside } else { WIDTH as f32 + outside },
            y: chance.between(height.max(60.0).min(HEIGHT as f32 - 2.0), HEIGHT as f32 - 1.0),
            vx: speed,
            vy: speed * chance.between(-0.06, 0.06),
            width,
            height,
            growth: 0.0,
            contrast: chance.between(kind.contrast.0, kind.contrast.1) * chance.sign(),
        }
    }

    /// Comes towards the camera, and passes beneath it.
    pub(crate) fn approaching(chance: &mut Chance, from: usize) -> Actor {
        let height = chance.between(10.0, 16.0);
        Actor {
            shape: Shape::Person,
            from,
            x: chance.between(60.0, 260.0),
            y: chance.between(60.0, 80.0),
            vx: chance.between(-0.8, 0.8),
            vy: chance.between(1.6, 2.6),
            width: height * 0.38,
            height,
            growth: chance.between(0.03, 0.045),
            contrast: chance.between(25.0, 70.0) * chance.sign(),
        }
    }

    fn scale(&self, n: usize) -> f32 {
        1.0 + self.growth * (n - self.from) as f32
    }

    /// Where it is in a picture, as far as it is seen.
    pub(crate) fn truth(&self, n: usize) -> Option<Truth> {
        let age = n.checked_sub(self.from)? as f32;
        let scale = self.scale(n);
        let (x, y) = (self.x + self.vx * age, self.y + self.vy * age);
        let half = self.width * scale / 2.0;
        let truth = Truth {
            left: (x - half).max(0.0),
            top: (y - self.height * scale).max(0.0),
            right: (x + half).min(WIDTH as f32),
            bottom: y.min(HEIGHT as f32),
        };
        (truth.left < truth.right && truth.top < truth.bottom).then_some(truth)
    }

    /// The first picture in which it is never seen again.
    pub(crate) fn until(&self) -> usize {
        let mut n = self.from + 1;
        while self.truth(n).is_some() && n < self.from + 1000 {
            n += 1;
        }
        n
    }

    pub(crate) fn paint(&self, n: usize, canvas: &mut [f32]) {
        let Some(truth) = self.truth(n) else { return };
        let age = (n - self.from) as f32;
        let scale = self.scale(n);
        let (x, y) = (self.x + self.vx * age, self.y + self.vy * age);
        let (width, height) = (self.width * scale, self.height * scale);
        // Two pixels more: edges are soft.
        let columns = (truth.left as usize)..((truth.right + 1.0) as usize).min(WIDTH);
        for row in (truth.top as usize)..((truth.bottom + 1.0) as usize).min(HEIGHT) {
            for column in columns.clone() {
                // Four points of a pixel, so that ways of half a pixel are seen.
                let mut covered = 0.0;
                for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                    let u = (column as f32 + dx - x) / width;
                    let v = 1.0 - (y - row as f32 - dy) / height;
                    covered += self.cover(u, v, n) / 4.0;
                }
                canvas[row * WIDTH + column] += self.contrast * covered;
            }
        }
    }

    /// How much of it is at a place: `u` from -0.5 to 0.5 across, `v` from 0 to 1 down.
    fn cover(&self, u: f32, v: f32, n: usize) -> f32 {
        if !(0.0..=1.0).contains(&v) || u.abs() > 0.5 {
            return 0.0;
        }
        match self.shape {
            // Too small for parts.
            Shape::Person if self.height < 12.0 => 1.0,
            Shape::Person if v < 0.15 => f32::from(u.abs() < 0.2),
            Shape::Person if v < 0.55 => f32::from(u.abs() < 0.42) * 0.9,
            Shape::Person => {
                let stride =
                    (n as f32 * std::f32::consts::TAU * 0.9 / RATE as f32).sin() * 0.28 * (v - 0.55) / 0.45;
                f32::from((u - stride).abs() < 0.17 || (u + stride).abs() < 0.17)
            }
            Shape::Vehicle if v < 0.45 => f32::from(u.abs() < 0.32) * 0.6,
            Shape::Vehicle => 1.0,
        }
    }
}
