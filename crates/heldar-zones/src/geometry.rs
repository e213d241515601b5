//! Points, boxes, polygons and polylines in the unit square of a picture.
//!
//! Owns: what lies inside, what a move crosses, how far a point is, how much of a box a polygon covers. Never: which
//! of a detection's points counts; `shape` decides that.
//!
//! Containment is even-odd with half-open edges: of two polygons that share an edge exactly one holds a point on it.
//! For that, an edge is always evaluated from its lower end, so that rounding is the same in both.

/// A point; x grows to the right and y downwards, both 0..1 over the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

impl Point {
    pub(crate) const fn new(x: f64, y: f64) -> Self {
        Point { x, y }
    }

    pub(crate) fn distance(self, other: Point) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// A box: upper left and lower right corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rect {
    pub(crate) min: Point,
    pub(crate) max: Point,
}

impl Rect {
    /// The box around points; empty at the origin when there are none.
    pub(crate) fn around(points: &[Point]) -> Rect {
        let Some((first, rest)) = points.split_first() else { return Rect::default() };
        rest.iter().fold(Rect { min: *first, max: *first }, |all, p| Rect {
            min: Point::new(all.min.x.min(p.x), all.min.y.min(p.y)),
            max: Point::new(all.max.x.max(p.x), all.max.y.max(p.y)),
        })
    }

    pub(crate) fn area(&self) -> f64 {
        (self.max.x - self.min.x) * (self.max.y - self.min.y)
    }

    /// Edges belong to it.
    pub(crate) fn holds(&self, p: Point) -> bool {
        self.min.x <= p.x && p.x <= self.max.x && self.min.y <= p.y && p.y <= self.max.y
    }

    /// Touching counts.
    pub(crate) fn meets(&self, other: &Rect) -> bool {
        self.min.x <= other.max.x
            && other.min.x <= self.max.x
            && self.min.y <= other.max.y
            && other.min.y <= self.max.y
    }
}

/// On which side of the line from `a` to `b` a point lies: the cross product of `b - a` and `p - a`. Positive is what lies left
/// in the picture of a line drawn from top to bottom.
fn side(a: Point, b: Point, p: Point) -> f64 {
    (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
}

/// Whether `p` lies inside a polygon (even-odd, half-open). Fewer than three distinct points hold nothing.
pub(crate) fn contains(polygon: &[Point], p: Point) -> bool {
    let mut inside = false;
    for (a, b) in edges(polygon) {
        if (a.y > p.y) == (b.y > p.y) {
            continue;
        }
        let (low, high) = if a.y < b.y { (a, b) } else { (b, a) };
        if (p.x - low.x) * (high.y - low.y) < (high.x - low.x) * (p.y - low.y) {
            inside = !inside;
        }
    }
    inside
}

/// The edges of a closed polygon.
fn edges(polygon: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    let next = polygon.iter().cycle().skip(1);
    polygon.iter().zip(next).map(|(a, b)| (*a, *b))
}

/// Which way a move goes through a directed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Off the side that is positive; left to right over a line drawn top to bottom.
    Ab,
    /// The other way.
    Ba,
}

/// How a move properly crosses the segments of a polyline, in the order of the move. Touching an end or running along
/// a segment is no crossing.
pub(crate) fn crossings(line: &[Point], from: Point, to: Point, out: &mut Vec<Way>) {
    let mut found: Vec<(f64, Way)> = Vec::new();
    for pair in line.windows(2) {
        let &[a, b] = pair else { continue };
        let (start, end) = (side(a, b, from), side(a, b, to));
        let (left, right) = (side(from, to, a), side(from, to, b));
        let apart = |one: f64, other: f64| (one > 0.0 && other < 0.0) || (one < 0.0 && other > 0.0);
        if apart(start, end) && apart(left, right) {
            found.push((start / (start - end), if start > 0.0 { Way::Ab } else { Way::Ba }));
        }
    }
    found.sort_by(|one, other| one.0.total_cmp(&other.0));
    out.extend(found.into_iter().map(|(_, way)| way));
}

/// How far a point is from the nearest segment of a polyline.
pub(crate) fn distance(line: &[Point], p: Point) -> f64 {
    line.windows(2)
        .map(|pair| {
            let &[a, b] = pair else { return f64::INFINITY };
            let (dx, dy) = (b.x - a.x, b.y - a.y);
            let length = dx * dx + dy * dy;
            let along = if length > 0.0 { ((p.x - a.x) * dx + (p.y - a.y) * dy) / length } else { 0.0 };
            let along = along.clamp(0.0, 1.0);
            p.distance(Point::new(a.x + along * dx, a.y + along * dy))
        })
        .fold(f64::INFINITY, f64::min)
}

/// How much of a box a polygon covers (even-odd). `bends` are the heights at which edges of the polygon end or cross,
/// ascending ([`bends`]).
///
/// Between two neighbouring heights, and those at which an edge passes a side of the box, all that is covered has
/// straight sides; its area there is its width half way times the height.
pub(crate) fn covered(polygon: &[Point], bends: &[f64], window: &Rect) -> f64 {
    let (top, bottom) = (window.min.y, window.max.y);
    let first = bends.partition_point(|y| *y <= top);
    let last = bends.partition_point(|y| *y < bottom);
    let mut heights = vec![top, bottom];
    heights.extend(bends.get(first..last).unwrap_or_default());
    for (a, b) in edges(polygon).filter(|(a, b)| a.x != b.x && a.y != b.y) {
        for x in [window.min.x, window.max.x] {
            let y = a.y + (x - a.x) / (b.x - a.x) * (b.y - a.y);
            if top < y && y < bottom {
                heights.push(y);
            }
        }
    }
    heights.sort_by(f64::total_cmp);
    let mut area = 0.0;
    let mut sides: Vec<f64> = Vec::new();
    for pair in heights.windows(2) {
        let &[upper, lower] = pair else { continue };
        if lower <= upper {
            continue;
        }
        let y = (upper + lower) / 2.0;
        sides.clear();
        sides.extend(
            edges(polygon)
                .filter(|(a, b)| (a.y > y) != (b.y > y))
                .map(|(a, b)| a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x)),
        );
        sides.sort_by(f64::total_cmp);
        let clip = |x: f64| x.clamp(window.min.x, window.max.x);
        let width: f64 = sides.chunks_exact(2).map(|span| clip(span[1]) - clip(span[0])).sum();
        area += width * (lower - upper);
    }
    area
}

/// The heights at which edges of a polygon end or cross one another, ascending.
pub(crate) fn bends(polygon: &[Point]) -> Vec<f64> {
    let mut heights: Vec<f64> = polygon.iter().map(|p| p.y).collect();
    let all: Vec<_> = edges(polygon).collect();
    for (index, (a, b)) in all.iter().enumerate() {
        for (c, d) in all.get(index + 1..).unwrap_or_default() {
            let (one, other) = (side(*c, *d, *a), side(*c, *d, *b));
            let (left, right) = (side(*a, *b, *c), side(*a, *b, *d));
            if one * other < 0.0 && left * right < 0.0 {
                heights.push(a.y + one / (one - other) * (b.y - a.y));
            }
        }
    }
    heights.sort_by(f64::total_cmp);
    heights.dedup();
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(list: &[(f64, f64)]) -> Vec<Point> {
        list.iter().map(|(x, y)| Point::new(*x, *y)).collect()
    }

    #[track_caller]
    fn inside(polygon: &[(f64, f64)], at: (f64, f64), expect: bool) {
        assert_eq!(contains(&points(polygon), Point::new(at.0, at.1)), expect, "{polygon:?} {at:?}");
    }

    const SQUARE: [(f64, f64); 4] = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)];

    #[test]
    fn edges_are_half_open() {
        inside(&SQUARE, (0.5, 0.5), true);
        inside(&SQUARE, (0.25, 0.5), true);
        inside(&SQUARE, (0.5, 0.25), true);
        inside(&SQUARE, (0.25, 0.25), true);
        inside(&SQUARE, (0.75, 0.5), false);
        inside(&SQUARE, (0.5, 0.75), false);
        inside(&SQUARE, (0.75, 0.75), false);
        inside(&SQUARE, (0.75, 0.25), false);
        inside(&SQUARE, (0.8, 0.5), false);
    }

    #[test]
    fn few_distinct_points_hold_nothing() {
        for polygon in
            [vec![], vec![(0.2, 0.2)], vec![(0.2, 0.2); 5], vec![(0.2, 0.2), (0.4, 0.4), (0.2, 0.2)]]
        {
            for at in [(0.2, 0.2), (0.3, 0.3), (0.4, 0.4), (0.25, 0.3)] {
                inside(&polygon, at, false);
            }
        }
    }

    #[test]
    fn self_crossing_is_even_odd() {
        let bow = [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)];
        inside(&bow, (0.1, 0.5), true);
        inside(&bow, (0.9, 0.5), true);
        inside(&bow, (0.5, 0.1), false);
        let twice: Vec<_> = SQUARE.iter().chain(&SQUARE).copied().collect();
        inside(&twice, (0.5, 0.5), false);
        let star = [(0.5, 0.0), (0.8, 0.9), (0.0, 0.35), (1.0, 0.35), (0.2, 0.9)];
        inside(&star, (0.5, 0.1), true);
        inside(&star, (0.5, 0.5), false);
    }

    #[track_caller]
    fn crossed(line: &[(f64, f64)], from: (f64, f64), to: (f64, f64), expect: &[Way]) {
        let mut got = Vec::new();
        crossings(&points(line), Point::new(from.0, from.1), Point::new(to.0, to.1), &mut got);
        assert_eq!(got, expect, "{from:?} -> {to:?}");
    }

    #[test]
    fn a_line_drawn_downwards_is_crossed_ab_from_left_to_right() {
        let line = [(0.5, 0.0), (0.5, 1.0)];
        crossed(&line, (0.4, 0.5), (0.6, 0.5), &[Way::Ab]);
        crossed(&line, (0.6, 0.5), (0.4, 0.5), &[Way::Ba]);
        crossed(&[(0.5, 1.0), (0.5, 0.0)], (0.4, 0.5), (0.6, 0.5), &[Way::Ba]);
    }

    #[test]
    fn touching_and_running_along_is_no_crossing() {
        let line = [(0.5, 0.25), (0.5, 0.75)];
        crossed(&line, (0.25, 0.5), (0.5, 0.5), &[]);
        crossed(&line, (0.5, 0.5), (0.75, 0.5), &[]);
        crossed(&line, (0.5, 0.0), (0.5, 1.0), &[]);
        crossed(&line, (0.5, 0.3), (0.5, 0.4), &[]);
        crossed(&line, (0.25, 0.25), (0.75, 0.25), &[]);
        crossed(&line, (0.25, 0.125), (0.75, 0.125), &[]);
        crossed(&line, (0.3, 0.5), (0.3, 0.5), &[]);
        crossed(&[(0.5, 0.5), (0.5, 0.5)], (0.4, 0.5), (0.6, 0.5), &[]);
    }

    #[test]
    fn each_segment_is_crossed_in_the_order_of_the_move() {
        let hook = [(0.3, 0.9), (0.5, 0.1), (0.7, 0.9)];
        crossed(&hook, (0.1, 0.5), (0.9, 0.5), &[Way::Ba, Way::Ab]);
        crossed(&hook, (0.9, 0.5), (0.5, 0.5), &[Way::Ba]);
    }

    #[test]
    fn distances_are_those_to_the_nearest_segment() {
        let line = points(&[(0.5, 0.25), (0.5, 0.75), (0.75, 0.75)]);
        for (at, expect) in [((0.25, 0.5), 0.25), ((0.5, 0.0), 0.25), ((1.0, 0.75), 0.25), ((0.5, 0.6), 0.0)]
        {
            assert!((distance(&line, Point::new(at.0, at.1)) - expect).abs() < 1e-12, "{at:?}");
        }
    }

    #[track_caller]
    fn covers(polygon: &[(f64, f64)], window: [f64; 4], expect: f64) {
        let polygon = points(polygon);
        let [x0, y0, x1, y1] = window;
        let window = Rect { min: Point::new(x0, y0), max: Point::new(x1, y1) };
        let got = covered(&polygon, &bends(&polygon), &window);
        assert!((got - expect).abs() < 1e-12, "{got} instead of {expect}");
    }

    #[test]
    fn areas_of_what_is_covered() {
        covers(&SQUARE, [0.0, 0.0, 1.0, 1.0], 0.25);
        covers(&SQUARE, [0.5, 0.5, 1.0, 1.0], 0.0625);
        covers(&SQUARE, [0.3, 0.3, 0.4, 0.4], 0.01);
        covers(&SQUARE, [0.8, 0.0, 1.0, 1.0], 0.0);
        covers(&SQUARE, [0.5, 0.5, 0.5, 0.5], 0.0);
        covers(&[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], [0.0, 0.0, 1.0, 1.0], 0.5);
        covers(&[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], [0.25, 0.25, 0.75, 0.75], 0.125);
        let bow = [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)];
        covers(&bow, [0.0, 0.0, 1.0, 1.0], 0.5);
        covers(&bow, [0.0, 0.0, 0.5, 1.0], 0.25);
    }

    fn grid_point() -> impl Strategy<Value = Point> {
        (0u8..=8, 0u8..=8).prop_map(|(x, y)| Point::new(f64::from(x) / 8.0, f64::from(y) / 8.0))
    }

    fn polygon() -> impl Strategy<Value = Vec<Point>> {
        prop::collection::vec(grid_point(), 3..9)
    }

    /// Even-odd by the angle-free definition: crossings of a ray that starts an instant right of and below the point.
    fn naive(polygon: &[Point], p: Point) -> bool {
        let p = Point::new(p.x + 1e-9, p.y + 1e-6);
        let right = edges(polygon).filter(|(a, b)| {
            let (low, high) = if a.y <= b.y { (a, b) } else { (b, a) };
            low.y < p.y && p.y < high.y && low.x + (high.x - low.x) * ((p.y - low.y) / (high.y - low.y)) > p.x
        });
        right.count() % 2 == 1
    }

    proptest! {
        #[test]
        fn containment_is_that_of_a_point_an_instant_further(polygon in polygon(), p in (0u8..=16, 0u8..=16)) {
            // Slanted edges through the point would be judged by the shift, so only points off them are compared.
            let p = Point::new(f64::from(p.0) / 16.0, f64::from(p.1) / 16.0);
            let on_slant = edges(&polygon).any(|(a, b)| {
                a.x != b.x && a.y != b.y && side(a, b, p) == 0.0 && Rect::around(&[a, b]).holds(p)
            });
            prop_assume!(!on_slant);
            prop_assert_eq!(contains(&polygon, p), naive(&polygon, p));
        }

        #[test]
        fn neighbours_share_an_edge_without_gap_or_overlap(
            a in grid_point(), b in grid_point(), along in 0u8..=16, free in (0.0f64..1.0, 0.0f64..1.0)
        ) {
            // The square is cut in two along the way left side, a, b, right side.
            let cut = [Point::new(0.0, 0.5), a, b, Point::new(1.0, 0.5)];
            let upper: Vec<_> = [Point::new(0.0, 0.0)].into_iter().chain(cut).chain([Point::new(1.0, 0.0)]).collect();
            let lower: Vec<_> = [Point::new(1.0, 1.0), Point::new(0.0, 1.0)].into_iter().chain(cut).collect();
            let t = f64::from(along) / 16.0;
            let on_edge = Point::new(a.x + t * (b.x - a.x), a.y + t * (b.y - a.y));
            for p in [a, b, on_edge, Point::new(free.0, free.1)] {
                let square = p.x < 1.0 && p.y < 1.0;
                prop_assert_eq!(contains(&upper, p) ^ contains(&lower, p), square, "{:?}", p);
            }
        }

        #[test]
        fn the_way_back_is_crossed_the_other_way(
            line in prop::collection::vec(grid_point(), 2..6), from in grid_point(), to in grid_point()
        ) {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            crossings(&line, from, to, &mut there);
            crossings(&line, to, from, &mut back);
            let turned = back.iter().filter(|way| **way == Way::Ab).count();
            prop_assert_eq!(there.iter().filter(|way| **way == Way::Ba).count(), turned);
            prop_assert_eq!(there.len(), back.len());
        }

        #[test]
        fn walking_along_a_line_never_crosses_it(a in grid_point(), b in grid_point(), steps in prop::collection::vec(-4i8..12, 2..8)) {
            let line = [a, b];
            let at = |step: i8| Point::new(
                a.x + (b.x - a.x) * f64::from(step) / 8.0,
                a.y + (b.y - a.y) * f64::from(step) / 8.0,
            );
            for pair in steps.windows(2) {
                let mut got = Vec::new();
                crossings(&line, at(pair[0]), at(pair[1]), &mut got);
                prop_assert!(got.is_empty());
            }
        }

        #[test]
        fn covered_areas_are_those_of_a_fine_raster(polygon in polygon(), window in (grid_point(), grid_point())) {
            let window = Rect::around(&[window.0, window.1]);
            let got = covered(&polygon, &bends(&polygon), &window);
            let (mut hits, n) = (0, 96);
            for i in 0..n {
                for j in 0..n {
                    let at = |low: f64, high: f64, k: i32| low + (high - low) * (f64::from(k) + 0.5) / f64::from(n);
                    let p = Point::new(at(window.min.x, window.max.x, i), at(window.min.y, window.max.y, j));
                    hits += i32::from(contains(&polygon, p));
                }
            }
            let raster = window.area() * f64::from(hits) / f64::from(n * n);
            prop_assert!((got - raster).abs() < 0.02, "{} {}", got, raster);
        }
    }
}
