//! The audit of reads that show footage (auth-system.md 16.4).
//!
//! Owns: which reads become one row. Reads of one principal, camera and action within [`SPAN`] are one use: its first read
//! leaves a row at once; when the span is over, one more row sums up what followed. Never: waits; fails a read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heldar_base::{CameraId, Interval, Micros, WallTime};
use heldar_store::AuditEntry;
use serde_json::json;

use crate::registry::{Author, Target};

/// How long reads belong to one use.
const SPAN: Micros = Micros::from_secs(600);
/// The same for frames, which workers pull all day.
const FRAMES_SPAN: Micros = Micros::from_secs(3600);
/// Uses that are open at most; with more, each read has a row of its own.
const BOUND: usize = 4096;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Read {
    /// Footage is played.
    Playback,
    /// A recorded file, or a window as a file, is fetched.
    Download,
    /// A live view is opened.
    Live,
    /// A single picture, or several small ones, are looked at.
    Snapshot,
    /// Frames are pulled for a worker.
    Frame,
}

impl Read {
    /// The action of its audit row.
    pub const fn action(self) -> &'static str {
        match self {
            Read::Playback => "view_playback",
            Read::Download => "download_media",
            Read::Live => "open_live",
            Read::Snapshot => "view_snapshot",
            Read::Frame => "view_frame",
        }
    }

    /// How long reads belong to one use.
    const fn span(self) -> Micros {
        match self {
            Read::Frame => FRAMES_SPAN,
            _ => SPAN,
        }
    }
}

impl Author {
    /// The audit row of one read.
    pub fn read(&self, now: WallTime, camera: &CameraId, read: Read, window: Interval) -> AuditEntry {
        let detail = json!({ "from": window.start, "to": window.end });
        self.did(now, read.action(), Target { kind: "camera", id: camera.as_str() }, detail)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    actor: String,
    camera: CameraId,
    read: Read,
}

struct Use {
    author: Author,
    first: WallTime,
    last: WallTime,
    count: u64,
    window: Interval,
}

impl Use {
    /// More of it was read.
    fn extend(&mut self, now: WallTime, window: Interval) {
        self.last = now;
        self.window = Interval::new(self.window.start.min(window.start), self.window.end.max(window.end));
    }
}

/// The uses that are open.
#[derive(Default)]
pub struct Reads {
    open: Mutex<HashMap<Key, Use>>,
}

impl Reads {
    fn open(&self) -> MutexGuard<'_, HashMap<Key, Use>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody reads footage of a camera; the row that is due at once, if any.
    pub fn note(
        &self,
        now: WallTime,
        author: &Author,
        camera: &CameraId,
        read: Read,
        window: Interval,
    ) -> Option<AuditEntry> {
        let key = Key { actor: author.actor().to_owned(), camera: camera.clone(), read };
        let mut open = self.open();
        if let Some(known) = open.get_mut(&key) {
            known.extend(now, window);
            known.count += 1;
            return None;
        }
        if open.len() < BOUND {
            let author = author.clone();
            open.insert(key, Use { author, first: now, last: now, count: 1, window });
        }
        Some(author.read(now, camera, read, window))
    }

    /// A use began whose row is there: parts that are read later belong to it. Beginning again is no part.
    pub fn begun(&self, now: WallTime, author: &Author, camera: &CameraId, read: Read, window: Interval) {
        let key = Key { actor: author.actor().to_owned(), camera: camera.clone(), read };
        let mut open = self.open();
        let has_room = open.len() < BOUND;
        match open.get_mut(&key) {
            Some(known) => known.extend(now, window),
            None if has_room => {
                open.insert(key, Use { author: author.clone(), first: now, last: now, count: 1, window });
            }
            None => {}
        }
    }

    /// Rows that sum up the uses whose span is over.
    pub fn due(&self, now: WallTime) -> Vec<AuditEntry> {
        self.close(now, |key, known| now - known.first >= key.read.span() || now < known.first)
    }

    /// Rows that sum up every use, at a stop.
    pub fn all(&self, now: WallTime) -> Vec<AuditEntry> {
        self.close(now, |_key, _known| true)
    }

    fn close(&self, now: WallTime, over: impl Fn(&Key, &Use) -> bool) -> Vec<AuditEntry> {
        let closed: Vec<(Key, Use)> = self.open().extract_if(|key, known| over(key, known)).collect();
        // A single read has had its row.
        let several = closed.into_iter().filter(|(_, known)| known.count > 1);
        let rows = several.map(|(key, known)| {
            let detail = json!({
                "from": known.window.start,
                "to": known.window.end,
                "first_at": known.first,
                "last_at": known.last,
                "count": known.count,
            });
            let target = Target { kind: "camera", id: key.camera.as_str() };
            known.author.did(now, key.read.action(), target, detail)
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::Principal;

    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime(1_793_500_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn reads_of_one_use_are_two_rows() {
        let reads = Reads::default();
        let author = Author::new(&Principal::system());
        let camera = CameraId::new("gate").unwrap();
        let note = |now: i64, read, from: i64, to: i64| {
            reads.note(at(now), &author, &camera, read, Interval::new(at(from), at(to)))
        };
        let first = note(0, Read::Playback, -60, -50).unwrap();
        assert_eq!((first.action.as_str(), first.target_id.as_deref()), ("view_playback", Some("gate")));
        assert_eq!(first.detail, json!({ "from": at(-60), "to": at(-50) }));
        assert_eq!(note(1, Read::Playback, -50, -40), None);
        assert_eq!(note(500, Read::Playback, -70, -60), None);
        assert!(note(500, Read::Download, 0, 1).is_some());
        assert!(reads.due(at(599)).is_empty());
        let rows = reads.due(at(600));
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let expect =
            json!({ "from": at(-70), "to": at(-40), "first_at": at(0), "last_at": at(500), "count": 3 });
        assert_eq!((row.action.as_str(), &row.detail), ("view_playback", &expect));
        assert!(reads.due(at(600)).is_empty());
        // The next one begins anew, and a single read is not summed up.
        assert!(note(601, Read::Playback, 0, 1).is_some());
        assert!(note(602, Read::Frame, 0, 1).is_some() && note(603, Read::Frame, 1, 2).is_none());
        assert!(reads.due(at(602 + 3599)).iter().all(|row| row.action != "view_frame"));
        let frames = reads.due(at(602 + 3600));
        assert!(frames.iter().any(|row| row.action == "view_frame" && row.detail["count"] == json!(2)));
        assert!(reads.all(at(700)).is_empty());
    }

    #[test]
    fn downloads_that_are_not_resumed_have_no_row_more() {
        let reads = Reads::default();
        let (author, gate) = (Author::new(&Principal::system()), CameraId::new("gate").unwrap());
        let window = Interval::new(at(0), at(60));
        for second in 0..3 {
            reads.begun(at(second), &author, &gate, Read::Download, window);
        }
        assert_eq!(reads.all(at(9)), []);
        reads.begun(at(10), &author, &gate, Read::Download, window);
        let later = Interval::new(at(120), at(180));
        assert_eq!(reads.note(at(11), &author, &gate, Read::Download, later), None);
        let rows = reads.all(at(12));
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&row.detail["count"], &row.detail["to"]), (&json!(2), &json!(at(180))));
    }

    #[test]
    fn open_uses_are_bounded() {
        let reads = Reads::default();
        let author = Author::new(&Principal::system());
        for n in 0..2 * BOUND {
            let camera = CameraId::new(&format!("c{n}")).unwrap();
            let row = reads.note(at(0), &author, &camera, Read::Playback, Interval::new(at(0), at(1)));
            assert!(row.is_some());
        }
        assert_eq!(reads.open().len(), BOUND);
    }
}
