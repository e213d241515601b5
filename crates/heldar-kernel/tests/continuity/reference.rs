//! What a test camera sends: a clip whose samples it repeats without a seam, each track by itself.

use std::collections::HashMap;
use std::path::Path;

use crate::judge::{Packet, Probed, Track, probe};

/// A track that is sent over and over.
pub(crate) struct Loop {
    packets: Vec<Packet>,
    /// Length of one round, microseconds.
    round: f64,
    places: HashMap<String, usize>,
}

/// A place in what is sent: the packet's number since some beginning of the clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) usize);

impl Loop {
    /// The pictures of a clip.
    pub(crate) fn video(clip: &Path) -> Loop {
        Loop::new(probe(clip).video())
    }

    /// The sound of a clip.
    pub(crate) fn audio(clip: &Path) -> Loop {
        Loop::new(probe(clip).audio().expect("a clip with sound"))
    }

    fn new(track: &Track) -> Loop {
        let places: HashMap<String, usize> =
            track.packets.iter().enumerate().map(|(at, packet)| (packet.hash.clone(), at)).collect();
        assert_eq!(places.len(), track.packets.len(), "packets of a clip differ from one another");
        Loop { packets: track.packets.clone(), round: track.duration, places }
    }

    /// Where what was recorded begins, after a check that it is what was sent: nothing is missing, nothing comes twice, the
    /// order is right.
    pub(crate) fn follow<'a>(&self, recorded: impl Iterator<Item = &'a Packet>) -> Place {
        let mut begin = None;
        for (number, packet) in recorded.enumerate() {
            let at =
                *self.places.get(&packet.hash).unwrap_or_else(|| panic!("packet {number} was never sent"));
            let begin = *begin.get_or_insert(at);
            let expect = (begin + number) % self.packets.len();
            assert_eq!(at, expect, "packet {number} is number {at} of the clip where {expect} comes next");
        }
        Place(begin.expect("something was recorded"))
    }

    /// How long before it is sent a picture is captured at most, microseconds: the sender's reports count from capture.
    pub(crate) fn reorder(&self) -> f64 {
        self.packets.iter().map(|packet| packet.pts - packet.dts).fold(0.0, f64::max)
    }

    /// When a packet is presented, in microseconds since the clip began for the first time.
    pub(crate) fn presented(&self, place: usize) -> f64 {
        let rounds = (place / self.packets.len()) as f64;
        rounds * self.round + self.packets[place % self.packets.len()].pts
    }
}

/// A recorded track over all files: packets with the time of day of their presentation in microseconds.
pub(crate) struct Recorded {
    pub(crate) packets: Vec<(f64, Packet)>,
    /// Number of the first packet of each file.
    pub(crate) starts: Vec<usize>,
}

impl Recorded {
    /// Puts the tracks of consecutive files together; `starts` are the times at which the files begin.
    ///
    /// ffmpeg 5.1 moves all pictures of a fragmented file by its largest negative composition offset; the first picture
    /// shown is the one at the file's beginning, so that is where a file's times are counted from.
    pub(crate) fn video<'a>(files: impl Iterator<Item = (f64, &'a Probed)>) -> Recorded {
        Recorded::new(files.map(|(start, file)| {
            let track = file.video();
            let first = track.packets.iter().map(|packet| packet.pts).fold(f64::INFINITY, f64::min);
            (start - first, track)
        }))
    }

    /// As [`Recorded::video`] for sound, which is never moved.
    pub(crate) fn audio<'a>(files: impl Iterator<Item = (f64, &'a Probed)>) -> Recorded {
        Recorded::new(files.filter_map(|(start, file)| Some((start, file.audio()?))))
    }

    fn new<'a>(tracks: impl Iterator<Item = (f64, &'a Track)>) -> Recorded {
        let mut recorded = Recorded { packets: Vec::new(), starts: Vec::new() };
        for (zero, track) in tracks {
            recorded.starts.push(recorded.packets.len());
            recorded.packets.extend(track.packets.iter().map(|packet| (zero + packet.pts, packet.clone())));
        }
        recorded
    }

    /// Without the frame of coded silence that a run begins with where the camera's sound begins later than its pictures.
    pub(crate) fn without_lead(mut self, sent: &Loop) -> Recorded {
        if self.packets.first().is_some_and(|(_, packet)| !sent.places.contains_key(&packet.hash)) {
            self.packets.remove(0);
            self.starts.iter_mut().for_each(|start| *start = start.saturating_sub(1));
        }
        self
    }

    /// Time of day and time sent of each packet, in the order of presentation.
    pub(crate) fn against(&self, sent: &Loop) -> Vec<(f64, f64)> {
        let Place(begin) = sent.follow(self.packets.iter().map(|(_, packet)| packet));
        let mut both: Vec<(f64, f64)> = self
            .packets
            .iter()
            .enumerate()
            .map(|(at, (time, _))| (*time, sent.presented(begin + at)))
            .collect();
        both.sort_by(|a, b| a.1.total_cmp(&b.1));
        both
    }
}

/// Largest difference between two steps that should be alike, microseconds.
pub(crate) fn worst_step(both: &[(f64, f64)]) -> f64 {
    both.windows(2).map(|pair| ((pair[1].0 - pair[0].0) - (pair[1].1 - pair[0].1)).abs()).fold(0.0, f64::max)
}
