//! How the scene looks: I420 pictures with textures and a little sensor noise, so that coding them costs what real
//! footage costs.

use super::{Actor, Label, Numbers, Scene, strip};

/// One I420 picture (8 bit, 4:2:0, limited range).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) luma: Vec<u8>,
    /// Both chroma planes, each of half the size.
    pub(crate) chroma: [Vec<u8>; 2],
}

/// Paints the pictures of one scene at one size.
#[derive(Debug)]
pub(crate) struct Painter {
    scene: Scene,
    actors: Vec<Actor>,
    background: Picture,
    /// Noise that is laid over each picture from another offset on.
    noise: Vec<i8>,
}

impl Painter {
    /// Sizes are made even.
    pub(crate) fn new(scene: Scene, width: usize, height: usize) -> Self {
        let (width, height) = (width & !1, height & !1);
        let mut numbers = Numbers(scene.seed ^ 0x5eed);
        let noise = (0..width * 4 + 4093).map(|_| (numbers.below(5) as i8) - 2).collect();
        Painter { scene, actors: scene.actors(), background: background(scene.seed, width, height), noise }
    }

    /// A picture with its number.
    pub(crate) fn paint(&self, number: u32) -> Picture {
        let mut picture = self.background.clone();
        for actor in &self.actors {
            let (left, top) = self.scene.place(actor, number);
            draw(&mut picture, actor, left, top, number);
        }
        let mut offsets = Numbers(self.scene.seed.wrapping_add(u64::from(number)));
        for row in picture.luma.chunks_exact_mut(picture.width) {
            let start = offsets.below((self.noise.len() - picture.width) as u64) as usize;
            for (sample, &noise) in row.iter_mut().zip(&self.noise[start..]) {
                *sample = sample.saturating_add_signed(noise);
            }
        }
        strip::burn(&mut picture.luma, picture.width, number as u16);
        picture
    }
}

/// Smooth noise between 0 and 1: values at the corners of cells, blended.
fn value_noise(seed: u64, x: f64, y: f64) -> f64 {
    let corner = |ix: i64, iy: i64| {
        let cell = (ix.cast_unsigned() << 32) ^ (iy.cast_unsigned() & 0xffff_ffff);
        Numbers(seed ^ cell.wrapping_mul(0x9e37_79b9)).share()
    };
    let (ix, iy) = (x.floor() as i64, y.floor() as i64);
    let smooth = |t: f64| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (smooth(x - x.floor()), smooth(y - y.floor()));
    let top = corner(ix, iy) * (1.0 - tx) + corner(ix + 1, iy) * tx;
    let bottom = corner(ix, iy + 1) * (1.0 - tx) + corner(ix + 1, iy + 1) * tx;
    top * (1.0 - ty) + bottom * ty
}

/// Sky, a row of houses, two pavements and the road between.
fn background(seed: u64, width: usize, height: usize) -> Picture {
    let mut picture = Picture {
        width,
        height,
        luma: vec![0; width * height],
        chroma: [vec![128; width * height / 4], vec![128; width * height / 4]],
    };
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (column as f64 / width as f64, row as f64 / height as f64);
            let [luma, blue, red] = backdrop(seed, x, y);
            picture.luma[row * width + column] = luma;
            if row % 2 == 0 && column % 2 == 0 {
                let at = row / 2 * (width / 2) + column / 2;
                picture.chroma[0][at] = blue;
                picture.chroma[1][at] = red;
            }
        }
    }
    picture
}

/// Luma and chroma of the backdrop at a place.
fn backdrop(seed: u64, x: f64, y: f64) -> [u8; 3] {
    let grain = |scale: f64| value_noise(seed, x * scale * 1.78, y * scale);
    let level = |base: f64, swing: f64, noise: f64| (base + swing * (noise - 0.5)).clamp(16.0, 235.0) as u8;
    let house = (x * 6.0).floor();
    let roof = 0.16 + 0.12 * value_noise(seed ^ 7, house * 3.3, 0.5);
    if y < roof {
        // Sky, brighter towards the horizon, with clouds.
        return [level(165.0 + 60.0 * y / 0.3, 40.0, grain(5.0)), 140, 118];
    }
    if y < 0.50 {
        let (in_x, in_y) = ((x * 6.0).fract(), ((y - roof) * 14.0).fract());
        let shade = 90.0 + 60.0 * value_noise(seed ^ 9, house * 1.7, 1.5);
        let window = (0.12..0.40).contains(&in_x) || (0.58..0.88).contains(&in_x);
        return if window && (0.25..0.75).contains(&in_y) {
            [level(50.0, 30.0, grain(40.0)), 132, 124]
        } else {
            [level(shade, 28.0, grain(160.0)), 120, 138]
        };
    }
    if !(0.60..0.90).contains(&y) {
        // Paving with joints.
        let joint = (x * 30.0).fract() < 0.03 || (y * 34.0).fract() < 0.06;
        return [level(if joint { 95.0 } else { 140.0 }, 30.0, grain(220.0)), 126, 131];
    }
    let dashes = (0.745..0.755).contains(&y) && (x * 9.0).fract() < 0.55;
    [if dashes { 215 } else { level(78.0, 34.0, grain(260.0)) }, 128, 128]
}

/// Fills what `inside` names of a rectangle given in shares of the picture. `shade` changes the luma across it.
fn fill(
    picture: &mut Picture,
    area: [f64; 4],
    color: [u8; 3],
    inside: impl Fn(f64, f64) -> bool,
    shade: impl Fn(f64, f64) -> f64,
) {
    let [x, y, w, h] = area;
    let (width, height) = (picture.width as f64, picture.height as f64);
    let columns = ((x * width).max(0.0) as usize)..(((x + w) * width).clamp(0.0, width) as usize);
    let rows = ((y * height).max(0.0) as usize)..(((y + h) * height).clamp(0.0, height) as usize);
    for row in rows {
        for column in columns.clone() {
            let (u, v) = (((column as f64 + 0.5) / width - x) / w, ((row as f64 + 0.5) / height - y) / h);
            if !inside(u, v) {
                continue;
            }
            let luma = (f64::from(color[0]) + shade(u, v)).clamp(16.0, 235.0) as u8;
            picture.luma[row * picture.width + column] = luma;
            let at = row / 2 * (picture.width / 2) + column / 2;
            picture.chroma[0][at] = color[1];
            picture.chroma[1][at] = color[2];
        }
    }
}

fn ellipse(u: f64, v: f64) -> bool {
    (u - 0.5).powi(2) + (v - 0.5).powi(2) <= 0.25
}

fn everywhere(_u: f64, _v: f64) -> bool {
    true
}

fn draw(picture: &mut Picture, actor: &Actor, left: f64, top: f64, number: u32) {
    if left >= 1.0 || left + actor.width <= 0.0 {
        return;
    }
    let part = |u: f64, v: f64, w: f64, h: f64| {
        [left + u * actor.width, top + v * actor.height, w * actor.width, h * actor.height]
    };
    match actor.label {
        Label::Person => person(picture, actor, part, number),
        Label::Car | Label::Truck => vehicle(picture, actor, part),
    }
}

/// Head, body with a pattern, and legs that stride.
fn person(picture: &mut Picture, actor: &Actor, part: impl Fn(f64, f64, f64, f64) -> [f64; 4], number: u32) {
    let stride = (f64::from(number) * 0.45 + f64::from(actor.id)).sin() * 0.28;
    let trousers = [45, 132, 126];
    for (hip, swing) in [(0.28, stride), (0.50, -stride)] {
        let leg = |u: f64, v: f64| (u - (0.5 + swing * (v - 0.3))).abs() < 0.16;
        fill(picture, part(hip - 0.28, 0.55, 0.78, 0.45), trousers, leg, |_, v| -15.0 * v);
    }
    let stripes = |u: f64, v: f64| 25.0 * (v * 40.0).sin() - 30.0 * (u - 0.5).abs();
    fill(picture, part(0.12, 0.17, 0.76, 0.45), actor.color, ellipse, stripes);
    fill(picture, part(0.30, 0.0, 0.40, 0.18), [150, 112, 148], ellipse, |u, v| 20.0 * (0.5 - u) - 20.0 * v);
}

/// Body with a gradient, windows and wheels.
fn vehicle(picture: &mut Picture, actor: &Actor, part: impl Fn(f64, f64, f64, f64) -> [f64; 4]) {
    let gloss = |u: f64, v: f64| 30.0 * (1.0 - 2.0 * v) + 10.0 * (u * 9.0).sin();
    let glass = [40, 134, 124];
    if actor.label == Label::Truck {
        fill(picture, part(0.0, 0.0, 0.72, 0.85), [185, 126, 130], everywhere, |u, _| {
            14.0 * (u * 60.0).sin()
        });
        fill(picture, part(0.72, 0.25, 0.28, 0.60), actor.color, everywhere, gloss);
        fill(picture, part(0.80, 0.32, 0.17, 0.24), glass, everywhere, |_, v| 25.0 * v);
    } else {
        let cabin = |u: f64, v: f64| (u - 0.5).abs() < 0.28 + 0.22 * v;
        fill(picture, part(0.12, 0.0, 0.76, 0.45), actor.color, cabin, gloss);
        fill(picture, part(0.24, 0.08, 0.52, 0.28), glass, cabin, |u, _| 30.0 * u);
        fill(picture, part(0.0, 0.36, 1.0, 0.48), actor.color, everywhere, gloss);
    }
    for hub in [0.12, 0.70] {
        fill(picture, part(hub, 0.66, 0.18, 0.34), [26, 128, 128], ellipse, |u, v| {
            if (u - 0.5).hypot(v - 0.5) < 0.2 { 90.0 } else { 0.0 }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::strip::Luma;

    #[test]
    fn pictures_are_deterministic_and_show_what_the_truth_says() {
        let scene = Scene { seed: 3, pictures: 200, rate: 25 };
        let painter = Painter::new(scene, 320, 180);
        let empty = Painter { actors: Vec::new(), ..Painter::new(scene, 320, 180) };
        for number in [0, 60, 199] {
            let picture = painter.paint(number);
            assert_eq!(picture, Painter::new(scene, 320, 180).paint(number));
            let plane = Luma { data: &picture.luma, width: 320, height: 180, stride: 320 };
            assert_eq!(strip::read(plane), Some(number as u16));
            let without = empty.paint(number);
            let objects = scene.objects(number);
            assert!(!objects.is_empty());
            // All that differs lies in a box, and each box has something that differs.
            let mut hits = vec![0; objects.len()];
            for at in 0..320 * 180 {
                let (x, y) = ((at % 320) as f64 / 320.0, (at / 320) as f64 / 180.0);
                if picture.luma[at].abs_diff(without.luma[at]) < 6 {
                    continue;
                }
                let mut inside = false;
                for (object, hits) in objects.iter().zip(&mut hits) {
                    let [left, top, w, h] = object.bounds;
                    let (near_x, near_y) = (1.5 / 320.0, 1.5 / 180.0);
                    if x >= left - near_x
                        && x <= left + w + near_x
                        && y >= top - near_y
                        && y <= top + h + near_y
                    {
                        inside = true;
                        *hits += 1;
                    }
                }
                assert!(inside, "picture {number} differs at {x} {y}");
            }
            for (object, hits) in objects.iter().zip(hits) {
                assert!(hits > 10 || object.visible < 0.3, "picture {number}: {hits} of {object:?}");
            }
        }
    }
}
