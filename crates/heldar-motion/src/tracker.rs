//! All things followed in one picture.
//!
//! Owns: which region belongs to which track, when a track is called motion, and when it ends. Never: a picture.
//!
//! Invariants: at most [`MAX_TRACKS`] tracks, a region has one track at most, an id is given once.

use heldar_base::{Micros, WallTime};

use crate::clutter::Clutter;
use crate::grid::Grid;
use crate::regions::{CellBox, Region};
use crate::track::{Stage, Track};

/// Things followed at once, those that may still be chance included.
pub const MAX_TRACKS: usize = 48;
/// Positions that a track has at least before it is called motion, and those of a large one.
const FEWEST_HITS: u32 = 4;
const FEWEST_HITS_LARGE: u32 = 3;
/// Size in cells from which a thing is large: it may be past in a second.
const LARGE: f32 = 8.0;
/// Score below which no track is called motion, however quiet it is.
const LOWEST_SCORE: f32 = 11.0;
/// False tracks per hour that chance may make, were regions independent.
const FALSE_PER_HOUR: f32 = 0.001;
/// Score that is asked for besides for each time that clutter is 2.7 times what a picture has one of.
const CROWDED: f32 = 10.0;
/// Share of its cells that change from picture to picture in what moves; what has just appeared and stays has none.
const ACTIVE: f32 = 0.08;
/// Score of a tentative track that is given up.
const HOPELESS: f32 = -4.0;
/// A thing unseen for this long is gone, in seconds.
const GONE_S: f32 = 1.0;
/// It counts as moving for this long after it last moved.
const MOVING: Micros = Micros::from_millis(1500);
/// It has to prove itself again when it has not come far for this long.
const DOUBTFUL: Micros = Micros::from_secs(60);
/// The background learns nothing of its surroundings until it has stayed for this long.
const GUARDED: Micros = Micros::from_secs(30);
/// Share of a box inside that of another from which only the other is shown.
const INSIDE: f32 = 0.7;

/// A part of the picture; the origin is its upper left corner, its width and height are 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

/// A thing that moves now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moving {
    pub(crate) id: u64,
    pub(crate) bounds: CellBox,
    /// When its track began.
    pub(crate) born: WallTime,
}

#[derive(Debug)]
pub(crate) struct Tracker {
    cols: f32,
    rows: f32,
    tracks: Vec<Track>,
    clutter: Clutter,
    /// The id given last.
    last_id: u64,
    /// Scratch: gain, track, region.
    pairs: Vec<(f32, u16, u16)>,
    taken: Vec<bool>,
}

impl Tracker {
    /// Ids go on after `last_id`.
    pub(crate) fn new(grid: &Grid, last_id: u64) -> Self {
        Tracker {
            cols: grid.cols as f32,
            rows: grid.rows as f32,
            tracks: Vec::new(),
            clutter: Clutter::new(grid),
            last_id,
            pairs: Vec::new(),
            taken: Vec::new(),
        }
    }

    pub(crate) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Forgets what is followed.
    pub(crate) fn clear(&mut self) {
        self.tracks.clear();
    }

    /// Takes the regions of a picture, `dt` seconds after the last. `caution` is added to the score that is asked for.
    pub(crate) fn step(&mut self, regions: &[Region], at: WallTime, dt: f32, caution: f32) {
        for track in &mut self.tracks {
            track.predict(dt);
        }
        self.taken.clear();
        self.taken.resize(regions.len(), false);
        let seen = self.associate(regions, at);
        self.clutter.count(
            regions.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(region, _)| region),
            dt,
        );
        for (track, _) in self.tracks.iter_mut().zip(&seen).filter(|(_, seen)| seen.is_none()) {
            track.miss();
        }
        let unseen = regions.iter().zip(0u16..).filter(|(_, at)| !seen.contains(&Some(*at)));
        let births: Vec<Track> = unseen.map(|(region, _)| Track::new(region, at)).collect();
        let (cols, rows) = (self.cols, self.rows);
        self.tracks.retain(|track| {
            let (x, y) = track.position();
            let inside = (0.0..=cols).contains(&x) && (0.0..=rows).contains(&y);
            let gone = track.missed as f32 * dt > GONE_S;
            match track.stage {
                Stage::Confirmed { .. } => inside && (!gone || track.missed < 3),
                Stage::Tentative => inside && track.score > HOPELESS && track.missed < 2,
            }
        });
        self.decide(at, dt, caution);
        self.admit(births);
    }

    /// Gives regions to tracks, best first; which region each track has got. Regions of moving things are marked as taken.
    fn associate(&mut self, regions: &[Region], at: WallTime) -> Vec<Option<u16>> {
        self.pairs.clear();
        for (track, t) in self.tracks.iter().zip(0u16..) {
            let known = matches!(track.stage, Stage::Confirmed { .. });
            for (region, r) in regions.iter().zip(0u16..) {
                if let Some(fit) = track.fit(region) {
                    let gain = fit - self.clutter.density(region.x, region.y, region.cells as f32).ln();
                    // What is known to move has the first choice.
                    self.pairs.push((if known { gain + 100.0 } else { gain }, t, r));
                }
            }
        }
        self.pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut seen: Vec<Option<u16>> = vec![None; self.tracks.len()];
        let mut used = vec![false; regions.len()];
        for &(gain, t, r) in &self.pairs {
            let (Some(track), Some(region)) =
                (self.tracks.get_mut(usize::from(t)), regions.get(usize::from(r)))
            else {
                continue;
            };
            let (Some(seen), Some(used)) = (seen.get_mut(usize::from(t)), used.get_mut(usize::from(r)))
            else {
                continue;
            };
            if seen.is_some() || *used {
                continue;
            }
            *seen = Some(r);
            *used = true;
            let known = matches!(track.stage, Stage::Confirmed { .. });
            track.hit(region, if known { gain - 100.0 } else { gain });
            if known {
                track.account(at);
                if let Some(taken) = self.taken.get_mut(usize::from(r)) {
                    *taken = true;
                }
            }
        }
        seen
    }

    /// Calls tracks motion, and doubts those that stay.
    fn decide(&mut self, at: WallTime, dt: f32, caution: f32) {
        for track in &mut self.tracks {
            match track.stage {
                Stage::Tentative => {
                    let large = track.bounds.size() >= LARGE;
                    let enough = if large { FEWEST_HITS_LARGE } else { FEWEST_HITS };
                    let (x, y) = track.position();
                    let wanted = wanted_score(self.clutter.number_at(x, y, track.cells), dt) + caution;
                    let seen = track.missed == 0 && track.active >= ACTIVE && track.hits >= enough;
                    if seen && track.score >= wanted && track.travels() {
                        self.last_id += 1;
                        track.confirm(self.last_id, at);
                        self.clutter.forgive(x, y, track.cells, track.hits, dt);
                    }
                }
                Stage::Confirmed { travelled_at, .. } => {
                    if at - travelled_at > DOUBTFUL {
                        track.doubt(at);
                    }
                }
            }
        }
    }

    /// Begins tracks; where there is no room, in place of the tentative ones with the lowest score below theirs.
    fn admit(&mut self, births: Vec<Track>) {
        for birth in births {
            if self.tracks.len() < MAX_TRACKS {
                self.tracks.push(birth);
                continue;
            }
            let tentative = self.tracks.iter_mut().filter(|track| track.stage == Stage::Tentative);
            let weakest = tentative.min_by(|a, b| a.score.total_cmp(&b.score));
            if let Some(weakest) = weakest.filter(|weakest| weakest.score < birth.score) {
                *weakest = birth;
            }
        }
    }

    /// What moves now, largest first; boxes inside others are left out.
    pub(crate) fn moving(&self, at: WallTime) -> Vec<Moving> {
        let mut all: Vec<Moving> = self
            .tracks
            .iter()
            .filter_map(|track| match track.stage {
                Stage::Confirmed { id, moved_at, .. } if track.missed <= 1 && at - moved_at <= MOVING => {
                    Some(Moving { id, bounds: track.bounds, born: track.born })
                }
                _ => None,
            })
            .collect();
        all.sort_by(|a, b| b.bounds.area().total_cmp(&a.bounds.area()).then(a.id.cmp(&b.id)));
        let mut shown: Vec<Moving> = Vec::with_capacity(all.len());
        for moving in all {
            let bounds = moving.bounds;
            if !shown.iter().any(|other| other.bounds.shared(&bounds) > INSIDE * bounds.area()) {
                shown.push(moving);
            }
        }
        shown
    }

    /// Where the background learns no usual deviation.
    pub(crate) fn guarded(&self, at: WallTime) -> impl Iterator<Item = CellBox> {
        self.tracks.iter().filter_map(move |track| match track.stage {
            Stage::Confirmed { travelled_at, .. } if at - travelled_at <= GUARDED => Some(track.bounds),
            _ => None,
        })
    }

    /// Whether anything is known to move.
    pub(crate) fn is_following(&self) -> bool {
        self.tracks.iter().any(|track| matches!(track.stage, Stage::Confirmed { .. }))
    }

    /// See the top of this file.
    pub(crate) fn check_invariants(&self) {
        assert!(self.tracks.len() <= MAX_TRACKS, "{} tracks", self.tracks.len());
        let id = |track: &Track| match track.stage {
            Stage::Confirmed { id, .. } => Some(id),
            Stage::Tentative => None,
        };
        let mut ids: Vec<u64> = self.tracks.iter().filter_map(id).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "an id twice: {ids:?}");
        assert!(ids.iter().all(|&id| id <= self.last_id), "an id that was not given: {ids:?}");
        let finite = |track: &Track| track.position().0.is_finite() && track.score.is_finite();
        assert!(self.tracks.iter().all(finite), "a position or score is no number");
    }
}

/// The score from which a track is motion, where `number` regions of its size or more appear per picture by chance.
fn wanted_score(number: f32, dt: f32) -> f32 {
    let by_chance = (number * 3600.0 / dt / FALSE_PER_HOUR).ln().max(LOWEST_SCORE);
    // Where there is more than one at a time, not all of it is chance: flakes fall in straight lines for some pictures.
    by_chance + CROWDED * number.ln().max(0.0)
}
