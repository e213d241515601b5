//! The generated scene: a street with people and vehicles on known paths.
//!
//! Owns: where everything is at each picture ([`Scene::objects`]), how it looks ([`paint`]), and the strip with the
//! picture's number ([`strip`]). A function of seed and picture number alone: no clock, no randomness. The clip loops without
//! a jump, because every path is walked a whole number of times per loop.

pub(crate) mod paint;
pub mod strip;

use serde::Serialize;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Somebody on foot.
    Person,
    /// A passenger car.
    Car,
    /// A lorry.
    Truck,
}

/// One object in one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Object {
    /// The same in every picture of the clip.
    pub id: u32,
    /// What it is.
    pub label: Label,
    /// Left, top, width and height of what is inside the picture, as shares of its size.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
    /// Share of the object's area that is inside the picture. Objects nearer to the camera may still hide it.
    pub visible: f64,
}

/// A scene and the pictures it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// Chooses paths and looks.
    pub seed: u64,
    /// Pictures until it repeats.
    pub pictures: u32,
    /// Pictures per second.
    pub rate: u32,
}

/// An object and its path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Actor {
    pub(crate) id: u32,
    pub(crate) label: Label,
    /// Where its feet or wheels are, as a share of the picture's height.
    pub(crate) ground: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Share of the way it is ahead at picture 0.
    pub(crate) phase: f64,
    /// Ways per loop; negative to the left.
    pub(crate) rounds: i32,
    /// Luma and both chroma of its main colour.
    pub(crate) color: [u8; 3],
}

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

impl Scene {
    /// Everything that moves, the farthest first.
    pub(crate) fn actors(&self) -> Vec<Actor> {
        let mut numbers = Numbers(self.seed);
        let mut actors = Vec::new();
        let mut add = |label, ground: f64, size: (f64, f64), fastest: u64, numbers: &mut Numbers| {
            let forward = numbers.below(2) == 0;
            let rounds = 1 + numbers.below(fastest) as i32;
            // What is nearer, lower in the picture, looks larger.
            let scale = 0.55 + 0.75 * (ground - 0.5);
            actors.push(Actor {
                id: actors.len() as u32 + 1,
                label,
                ground,
                width: size.0 * scale,
                height: size.1 * scale,
                phase: numbers.share(),
                rounds: if forward { rounds } else { -rounds },
                color: [
                    60 + numbers.below(140) as u8,
                    70 + numbers.below(116) as u8,
                    70 + numbers.below(116) as u8,
                ],
            });
        };
        for lane in 0..5u32 {
            add(Label::Person, 0.56 + 0.012 * f64::from(lane), (0.05, 0.27), 1, &mut numbers);
        }
        for lane in 0..3u32 {
            add(Label::Car, 0.70 + 0.05 * f64::from(lane), (0.24, 0.22), 3, &mut numbers);
        }
        add(Label::Truck, 0.86, (0.36, 0.36), 2, &mut numbers);
        for lane in 0..3u32 {
            add(Label::Person, 0.93 + 0.03 * f64::from(lane), (0.06, 0.33), 1, &mut numbers);
        }
        actors
    }

    /// Everything that is in a picture at least by a hundredth, the farthest first.
    pub fn objects(&self, picture: u32) -> Vec<Object> {
        let visible = |actor: &Actor| {
            let (left, top) = self.place(actor, picture);
            let inside = |from: f64, len: f64| (from.max(0.0), (from + len).min(1.0) - from.max(0.0));
            let ((x, width), (y, height)) = (inside(left, actor.width), inside(top, actor.height));
            let share = width.max(0.0) * height.max(0.0) / (actor.width * actor.height);
            let round = |value: f64| (value * 1e6).round() / 1e6;
            (share > 0.01).then(|| Object {
                id: actor.id,
                label: actor.label,
                bounds: [round(x), round(y), round(width), round(height)],
                visible: round(share),
            })
        };
        self.actors().iter().filter_map(visible).collect()
    }

    /// Left and top of an object, as shares of the picture; outside it at either end of its way.
    pub(crate) fn place(&self, actor: &Actor, picture: u32) -> (f64, f64) {
        let loop_share = f64::from(picture % self.pictures.max(1)) / f64::from(self.pictures.max(1));
        let way = (actor.phase + loop_share * f64::from(actor.rounds)).rem_euclid(1.0);
        // The way begins and ends out of sight.
        (way * (1.0 + 2.0 * actor.width) - 1.5 * actor.width, actor.ground - actor.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENE: Scene = Scene { seed: 1, pictures: 300, rate: 25 };

    #[test]
    fn the_same_seed_is_the_same_scene() {
        for picture in [0, 7, 299] {
            assert_eq!(SCENE.objects(picture), SCENE.objects(picture + 300));
            assert_ne!(SCENE.objects(picture), Scene { seed: 2, ..SCENE }.objects(picture));
        }
    }

    #[test]
    fn every_object_is_seen_and_moves_smoothly() {
        let actors = SCENE.actors();
        for actor in &actors {
            let seen = (0..300).filter(|&p| SCENE.objects(p).iter().any(|o| o.id == actor.id)).count();
            assert!(seen > 100, "{actor:?} is seen in {seen} pictures");
            for picture in 0..300 {
                let (a, b) = (SCENE.place(actor, picture).0, SCENE.place(actor, picture + 1).0);
                let jump = (a - b).abs();
                // Back at the other end, out of sight, or a short step.
                assert!(
                    jump < 0.03 || (a.max(b) >= 1.0 && a.min(b) <= -actor.width),
                    "{actor:?} at {picture}: {a} {b}"
                );
            }
        }
    }

    #[test]
    fn boxes_are_inside() {
        for picture in 0..300 {
            for object in SCENE.objects(picture) {
                let [x, y, w, h] = object.bounds;
                assert!(
                    x >= 0.0 && y >= 0.0 && w > 0.0 && h > 0.0 && x + w <= 1.000_001 && y + h <= 1.000_001
                );
            }
        }
    }
}
