//! Reads of consumers and their dead letters.

use heldar_base::Scope;

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Consumer, DeadLetter, Page};
use crate::sql::{CameraFilter, Query, Row, args};

const CONSUMERS: &str = "SELECT c.consumer, c.kind, c.low_seq, c.finished_above, c.parked, c.updated_us,
    (SELECT COUNT(*) FROM (SELECT o.seq FROM outbox o WHERE o.seq > c.low_seq LIMIT $) n),
    (SELECT o.created_us FROM outbox o WHERE o.seq > c.low_seq ORDER BY o.seq LIMIT 1)
    FROM consumer_cursor c WHERE TRUE";
const FINISHED: &str = "SELECT seq FROM consumer_finished WHERE consumer = $";
const LETTERS: &str = "SELECT d.consumer, d.seq, w.camera_id, d.task_type, d.attempts, d.first_failed_us,
    d.last_failed_us, d.error, d.replay FROM dead_letter d CROSS JOIN watched_camera w
    WHERE w.camera_no = d.camera_no AND w.camera_id IS NOT NULL";

fn consumer_from(row: &Row) -> Result<Consumer, StoreError> {
    let mut c = row.columns();
    Ok(Consumer {
        name: c.text()?,
        kind: c.word()?,
        low_seq: c.int()?,
        finished_above: c.int()?,
        parked: c.int()?,
        updated_at: c.time()?,
        batches_above: c.int()?,
        waiting_since: c.opt_time()?,
    })
}

fn letter_from(row: &Row) -> Result<DeadLetter, StoreError> {
    let mut c = row.columns();
    Ok(DeadLetter {
        consumer: c.text()?,
        seq: c.int()?,
        camera: c.word()?,
        task_type: c.text()?,
        attempts: c.number()?,
        first_failed_at: c.time()?,
        last_failed_at: c.time()?,
        error: c.text()?,
        replay: c.flag()?,
    })
}

pub(crate) fn list_query(name: Option<&str>) -> Query {
    let mut query = Query::new(CONSUMERS, args![Consumer::LAG_LIMIT]);
    query.push_if("AND c.consumer = $", name);
    query.push("ORDER BY c.consumer", Vec::new());
    query
}

pub(crate) fn finished_query(consumer: &str, after: i64, limit: u32) -> Query {
    let mut query = Query::new(FINISHED, args![consumer]);
    query.push("AND seq > $ ORDER BY seq LIMIT $", args![after, fetch_limit(limit)]);
    query
}

/// Which dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// All.
    All,
    /// Those that are to be tried again.
    ToReplay,
}

pub(crate) fn letters_query(
    filter: &CameraFilter<'_>,
    consumer: &str,
    which: Letters,
    after: Option<i64>,
    limit: u32,
) -> Query {
    let mut query = Query::new(LETTERS, Vec::new());
    query.cameras("w.camera_id", filter);
    query.push("AND d.consumer = $", args![consumer]);
    if which == Letters::ToReplay {
        query.push("AND d.replay = 1", Vec::new());
    }
    query.push_if("AND d.seq > $", after);
    query.push("ORDER BY d.seq LIMIT $", args![fetch_limit(limit)]);
    query
}

impl crate::Store {
    /// Every consumer by name. They belong to no camera: a limited scope sees none.
    pub async fn consumers(&self, scope: &Scope) -> Result<Vec<Consumer>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(list_query(None)).await?;
        all(&rows, consumer_from)
    }

    /// One consumer. A limited scope sees none.
    pub async fn consumer(&self, scope: &Scope, name: &str) -> Result<Option<Consumer>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.query(list_query(Some(name))).await?;
        rows.first().map(consumer_from).transpose()
    }

    /// Batches above the low-water mark of a consumer that it has finished, after a number. The cursor is the last one.
    /// A limited scope sees none.
    pub async fn finished_batches(
        &self,
        scope: &Scope,
        consumer: &str,
        after: i64,
        limit: u32,
    ) -> Result<Page<i64, i64>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.query(finished_query(consumer, after, limit)).await?;
        let seqs = all(&rows, |row| row.columns().int())?;
        Ok(Page::cut(seqs, page_limit(limit), |seq| *seq))
    }

    /// Dead letters of a consumer by batch. The cursor is the number of the last one.
    pub async fn dead_letters(
        &self,
        scope: &Scope,
        consumer: &str,
        which: Letters,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Page<DeadLetter, i64>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Page::empty()) };
        let rows = self.query(letters_query(&filter, consumer, which, after, limit)).await?;
        Ok(Page::cut(all(&rows, letter_from)?, page_limit(limit), |letter| letter.seq))
    }
}
