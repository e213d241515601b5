//! Reads the segments of a camera page by page, oldest first.
//!
//! Owns: a buffer of at most one page and what is asked for next. Never: a decision about a segment.

use std::collections::VecDeque;

use heldar_base::{Interval, Micros, SegmentId, WallTime};

use super::age::Importance;
use super::{Activity, ActivityQuery, Segment, SegmentQuery};

/// Rows of the first page; an idle sweep reads no more.
const FIRST_PAGE: usize = 4;
/// Rows of a page at most; each page is four times the one before.
const MAX_PAGE: usize = 256;
/// Consecutive segments of a run join; the clock may move the seam by this much.
const SEAM: Micros = Micros::from_secs(2);
/// Most dependent segments in a row whose need is honoured. Longer rows come from streams without sync samples, where
/// keeping what the last one needs would keep everything.
pub const MAX_CHAIN: usize = 8;

/// What must be supplied before the planner can go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    Segments(SegmentQuery),
    Activity(ActivityQuery),
}

/// A segment and what it shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) segment: Segment,
    pub(super) motion: bool,
    pub(super) alert: bool,
}

/// Whether rows need to know of motion and alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActivityUse {
    Needed,
    Ignored,
}

#[derive(Clone, Debug)]
pub(super) struct Cursor {
    camera: usize,
    ended_from: WallTime,
    activity: ActivityUse,
    after: Option<SegmentId>,
    buffer: VecDeque<Row>,
    /// Rows at the end of the buffer whose activity is not known yet.
    unknown: usize,
    more: bool,
    page: usize,
}

impl Cursor {
    /// From the oldest segment that ends at or past `ended_from`.
    pub(super) fn new(camera: usize, ended_from: WallTime, activity: ActivityUse) -> Self {
        Cursor {
            camera,
            ended_from,
            activity,
            after: None,
            buffer: VecDeque::new(),
            unknown: 0,
            more: true,
            page: FIRST_PAGE,
        }
    }

    /// The next segment.
    pub(super) fn front(&self) -> Result<Option<Row>, Need> {
        self.known()?;
        match self.buffer.front() {
            Some(row) => Ok(Some(*row)),
            None if self.more => Err(self.next_page()),
            None => Ok(None),
        }
    }

    /// Leaves the next segment behind.
    pub(super) fn pop(&mut self) {
        self.buffer.pop_front();
    }

    /// The first answer of `ask` among segments that need the front one, directly or through each other.
    pub(super) fn needed_by<T>(&self, ask: impl Fn(&Row) -> Option<T>) -> Result<Option<T>, Need> {
        self.known()?;
        let Some(front) = self.buffer.front().map(|row| row.segment) else { return Ok(None) };
        let (mut end, mut links) = (front.end, 0);
        for row in self.buffer.iter().skip(1) {
            if row.segment.id.start > end + SEAM {
                return Ok(None);
            }
            if row.segment.id.stream_no != front.id.stream_no {
                continue;
            }
            if !row.segment.dependent || links == MAX_CHAIN {
                return Ok(None);
            }
            if let Some(answer) = ask(row) {
                return Ok(Some(answer));
            }
            end = row.segment.end;
            links += 1;
        }
        if self.more { Err(self.next_page()) } else { Ok(None) }
    }

    /// Takes a page; rows at or before the last one seen are dropped, so that an index that changes meanwhile cannot
    /// lead in circles.
    pub(super) fn feed(&mut self, rows: impl IntoIterator<Item = Segment>) {
        let mut count = 0;
        let mut news = 0;
        for segment in rows {
            count += 1;
            if self.after.is_none_or(|after| order(after) < order(segment.id)) {
                self.after = Some(segment.id);
                self.buffer.push_back(Row { segment, motion: false, alert: false });
                news += 1;
            }
        }
        self.more = count >= self.page && news > 0;
        self.page = (self.page * 4).min(MAX_PAGE);
        if self.activity == ActivityUse::Needed {
            self.unknown += news;
        }
    }

    /// Takes the activity of the newest page.
    pub(super) fn feed_activity(&mut self, activity: &Activity) {
        let known = self.buffer.len() - self.unknown.min(self.buffer.len());
        for row in self.buffer.iter_mut().skip(known) {
            let interval = row.segment.interval();
            row.motion = activity.motion.overlaps(&interval);
            row.alert = activity.alert.overlaps(&interval);
        }
        self.unknown = 0;
    }

    fn known(&self) -> Result<(), Need> {
        let known = self.buffer.len() - self.unknown.min(self.buffer.len());
        let unknown = self.buffer.iter().skip(known).map(|row| row.segment.interval());
        match unknown.reduce(|a, b| Interval::new(a.start.min(b.start), a.end.max(b.end))) {
            Some(window) => Err(Need::Activity(ActivityQuery { camera: self.camera, window })),
            None => Ok(()),
        }
    }

    fn next_page(&self) -> Need {
        Need::Segments(SegmentQuery {
            camera: self.camera,
            after: self.after,
            ended_from: self.ended_from,
            limit: self.page,
        })
    }
}

/// Oldest first, over both streams.
pub(super) fn order(id: SegmentId) -> (WallTime, i64) {
    (id.start, id.stream_no)
}

impl Row {
    /// True when it shows what is asked for.
    pub(super) fn shows(&self, importance: Importance) -> bool {
        match importance {
            Importance::Motion => self.motion,
            Importance::Alert => self.alert,
        }
    }
}
