//! Reads of zones, of what their engines remember, of occupancy and counters.

use heldar_base::{CameraId, PublicId, Scope};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Page, Zone, ZoneCounters, ZoneFields, ZoneOccupancy, ZoneState};
use crate::sql::{CameraFilter, Query, Row, args, statements};

macro_rules! zone_columns {
    () => {
        "SELECT z.id, z.camera_id, z.name, z.kind, z.polygon, z.dwell_seconds, z.labels, z.severity, z.config, z.enabled,
        z.created_us, z.updated_us, z.revision FROM zone z"
    };
}

statements! {
    BY_ID = concat!(zone_columns!(), " WHERE z.id = $1");
    BY_NAME = concat!(zone_columns!(), " WHERE z.camera_id = $1 AND z.name = $2");
}

/// A zone, for the writer.
pub(crate) const ZONE_BY_ID: crate::sql::Stmt = BY_ID;
/// A zone of a camera by its name, for the writer.
pub(crate) const ZONE_BY_NAME: crate::sql::Stmt = BY_NAME;

const ZONES: &str = concat!(zone_columns!(), " WHERE TRUE");
/// A camera that was removed and may come back keeps its zones, in which nothing happens meanwhile.
const ZONES_IN_USE: &str = concat!(
    zone_columns!(),
    " WHERE EXISTS (SELECT 1 FROM camera c WHERE c.id = z.camera_id AND c.removed_us IS NULL)"
);
const STATES: &str =
    "SELECT s.camera_id, s.seq, s.ticked_us, s.saved_us, s.state FROM zone_state s WHERE TRUE";
const OCCUPANCY: &str = "SELECT o.zone_id, o.count, o.labels, o.state, o.updated_us FROM zone z
    CROSS JOIN zone_occupancy o WHERE o.zone_id = z.id AND z.enabled = 1 AND z.camera_id = $
    ORDER BY z.created_us, z.id";
const COUNTERS: &str =
    "SELECT n.zone_id, n.in_count, n.out_count, n.since_us, n.updated_us, n.by_label FROM zone z
    CROSS JOIN zone_counter n WHERE n.zone_id = z.id";

pub(crate) fn zone_from(row: &Row) -> Result<Zone, StoreError> {
    let mut c = row.columns();
    Ok(Zone {
        id: c.public_id(Zone::PREFIX)?,
        camera: c.word()?,
        fields: ZoneFields {
            name: c.text()?,
            kind: c.text()?,
            polygon: c.text()?,
            dwell_seconds: c.real()?,
            labels: c.text()?,
            severity: c.word()?,
            config: c.text()?,
            enabled: c.flag()?,
        },
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
    })
}

fn state_from(row: &Row) -> Result<ZoneState, StoreError> {
    let mut c = row.columns();
    Ok(ZoneState {
        camera: c.word()?,
        seq: c.int()?,
        ticked_at: c.time()?,
        saved_at: c.time()?,
        bytes: c.blob()?,
    })
}

fn occupancy_from(row: &Row) -> Result<ZoneOccupancy, StoreError> {
    let mut c = row.columns();
    Ok(ZoneOccupancy {
        zone: c.public_id(Zone::PREFIX)?,
        count: c.number()?,
        labels: c.text()?,
        state: c.text()?,
        updated_at: c.time()?,
    })
}

fn counters_from(row: &Row) -> Result<ZoneCounters, StoreError> {
    let mut c = row.columns();
    Ok(ZoneCounters {
        zone: c.public_id(Zone::PREFIX)?,
        inwards: c.int()?,
        outwards: c.int()?,
        since: c.time()?,
        updated_at: c.time()?,
        by_label: c.text()?,
    })
}

pub(crate) fn of_camera_query(camera: &CameraId) -> Query {
    let mut query = Query::new(ZONES, Vec::new());
    query.push("AND z.camera_id = $ ORDER BY z.created_us, z.id", args![camera]);
    query
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, id: PublicId) -> Query {
    let mut query = Query::new(ZONES, Vec::new());
    query.cameras("z.camera_id", filter);
    query.push("AND z.id = $", args![id]);
    query
}

pub(crate) fn list_query(filter: &CameraFilter<'_>, after: Option<PublicId>, limit: u32) -> Query {
    let mut query = Query::new(ZONES_IN_USE, Vec::new());
    query.cameras("z.camera_id", filter);
    query.push_if("AND z.id > $", after);
    query.push("ORDER BY z.id LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn states_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(STATES, Vec::new());
    query.cameras("s.camera_id", filter);
    query.push("ORDER BY s.camera_id", Vec::new());
    query
}

pub(crate) fn occupancy_query(camera: &CameraId) -> Query {
    Query::new(OCCUPANCY, args![camera])
}

pub(crate) fn counters_query(filter: &CameraFilter<'_>, zone: PublicId) -> Query {
    let mut query = Query::new(COUNTERS, Vec::new());
    query.cameras("z.camera_id", filter);
    query.push("AND z.id = $", args![zone]);
    query
}

impl crate::Store {
    /// Every zone of a camera, the oldest first, then by id.
    pub async fn camera_zones(&self, scope: &Scope, camera: &CameraId) -> Result<Vec<Zone>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Vec::new());
        }
        let rows = self.query(of_camera_query(camera)).await?;
        all(&rows, zone_from)
    }

    /// Zones of cameras in use, those that are disabled among them, by id. The cursor is the id of the last row.
    pub async fn zones(
        &self,
        scope: &Scope,
        after: Option<PublicId>,
        limit: u32,
    ) -> Result<Page<Zone, PublicId>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Page::empty()) };
        let rows = self.query(list_query(&filter, after, limit)).await?;
        Ok(Page::cut(all(&rows, zone_from)?, page_limit(limit), |zone| zone.id))
    }

    /// One zone.
    pub async fn zone(&self, scope: &Scope, id: PublicId) -> Result<Option<Zone>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, id)).await?;
        rows.first().map(zone_from).transpose()
    }

    /// What the engine of each camera remembers, by camera.
    pub async fn zone_states(&self, scope: &Scope) -> Result<Vec<ZoneState>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let rows = self.query(states_query(&filter)).await?;
        all(&rows, state_from)
    }

    /// How many are in each enabled zone of a camera, by age of the zone. One that nobody was ever in is left out.
    pub async fn zone_occupancy(
        &self,
        scope: &Scope,
        camera: &CameraId,
    ) -> Result<Vec<ZoneOccupancy>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Vec::new());
        }
        let rows = self.query(occupancy_query(camera)).await?;
        all(&rows, occupancy_from)
    }

    /// Crossings of a line; `None` also when it was never crossed and never reset.
    pub async fn zone_counters(
        &self,
        scope: &Scope,
        zone: PublicId,
    ) -> Result<Option<ZoneCounters>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(counters_query(&filter, zone)).await?;
        rows.first().map(counters_from).transpose()
    }
}
