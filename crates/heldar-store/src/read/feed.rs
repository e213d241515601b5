//! Reads of the feed: events and batches together, in commit order.

use std::sync::Arc;

use heldar_base::{CameraId, Scope};

use super::{all, page_limit};
use crate::error::StoreError;
use crate::model::{FeedBatches, FeedFloors, FeedPage, FeedRow, FeedWants, FullBatch};
use crate::read::batch;
use crate::read::event::{committed_query, event_from};
use crate::sql::{CameraFilter, Query};

const FLOORS: &str = "SELECT event_seq, batch_seq FROM feed_floor WHERE id = 1";

pub(crate) fn floors_query() -> Query {
    Query::new(FLOORS, Vec::new())
}

impl crate::Store {
    /// Events and batches after a number and up to another one, of a camera or of all, in commit order: at most `limit` of
    /// each, and at most `detections` detections, but for a batch that alone has more. `up_to` must be committed: see
    /// [`Store::committed`](Self::committed).
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn feed(
        &self,
        scope: &Scope,
        camera: Option<&CameraId>,
        wants: FeedWants,
        (after, up_to): (i64, i64),
        (limit, detections): (u32, usize),
    ) -> Result<FeedPage, StoreError> {
        let limit = page_limit(limit);
        let mut page = FeedPage { rows: Vec::new(), reached: up_to };
        let Some(filter) = CameraFilter::new(scope, camera) else { return Ok(page) };
        if wants.events {
            let rows = self.query(committed_query(&filter, after, up_to, limit)).await?;
            let events = all(&rows, event_from)?;
            if events.len() >= limit as usize
                && let Some(last) = events.last()
            {
                page.reached = last.seq;
            }
            page.rows.extend(events.into_iter().map(FeedRow::Event));
        }
        if wants.batches > FeedBatches::Leave {
            let batches = self.committed_batches(&filter, (after, page.reached), limit).await?;
            page.reached = batches.reached;
            let mut rows = batches.rows;
            if wants.batches == FeedBatches::Full {
                if let Some(reached) = batch::cut_to_detections(&mut rows, detections) {
                    page.reached = reached;
                }
                let full = self.with_detections(rows).await?;
                page.rows.extend(full.into_iter().map(|FullBatch { batch, detections }| FeedRow::Batch {
                    batch: Arc::new(batch),
                    detections: Some(detections),
                }));
            } else {
                let headers = rows.into_iter().map(Arc::new);
                page.rows.extend(headers.map(|batch| FeedRow::Batch { batch, detections: None }));
            }
            let reached = page.reached;
            page.rows.retain(|row| row.seq() <= reached);
            page.rows.sort_unstable_by_key(FeedRow::seq);
        }
        Ok(page)
    }

    /// What age has removed of the feed. A limited scope sees nothing of that.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn feed_floors(&self, scope: &Scope) -> Result<FeedFloors, StoreError> {
        if !scope.is_all() {
            return Ok(FeedFloors::default());
        }
        let rows = self.query(floors_query()).await?;
        let Some(row) = rows.first() else { return Ok(FeedFloors::default()) };
        let mut c = row.columns();
        Ok(FeedFloors { events: c.int()?, batches: c.int()? })
    }
}
