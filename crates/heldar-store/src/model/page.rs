//! Pages of lists.

use heldar_base::WallTime;

/// Part of a list. The cursor names the last row seen by its sort key, so that inserts and deletes between two pages
/// neither repeat nor skip a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The rows, in the order of the list.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` when nothing is left.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// A page without rows and without a next one.
    pub(crate) fn empty() -> Self {
        Page { rows: Vec::new(), next: None }
    }

    /// Makes a page of at most `limit` rows out of up to `limit + 1`; `cursor` reads the sort key of a row.
    pub(crate) fn cut(mut rows: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(cursor) } else { None };
        Page { rows, next }
    }
}

/// A stretch of time whose bounds may be absent: `[from, to)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant inside.
    pub from: Option<WallTime>,
    /// First instant after.
    pub to: Option<WallTime>,
}

impl From<heldar_base::Interval> for TimeRange {
    fn from(interval: heldar_base::Interval) -> Self {
        TimeRange { from: Some(interval.start), to: Some(interval.end) }
    }
}
