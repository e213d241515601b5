//! Reads of sites and settings.

use heldar_base::{Scope, SiteId};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Page, Setting, Site, SiteFields, SiteView};
use crate::sql::{CameraFilter, Query, Row};

/// Sites with the number of their cameras in use; the count is limited to the scope before it is grouped.
const SITES: &str =
    "SELECT s.id, s.name, s.timezone, s.created_us, s.updated_us, s.revision, coalesce(n.cameras, 0)
    FROM site s";
const COUNTS: &str = "JOIN (SELECT c.site_id, COUNT(*) AS cameras FROM camera c
    WHERE c.site_id IS NOT NULL AND c.removed_us IS NULL";
const COUNTED: &str = "GROUP BY c.site_id) n ON n.site_id = s.id WHERE TRUE";

fn site_from(row: &Row) -> Result<SiteView, StoreError> {
    let mut c = row.columns();
    Ok(SiteView {
        site: Site {
            id: c.word()?,
            fields: SiteFields { name: c.text()?, timezone: c.opt_text()? },
            created_at: c.time()?,
            updated_at: c.time()?,
            revision: c.int()?,
        },
        camera_count: c.int()?,
    })
}

/// Without a scope: all sites. With one: those with a camera of the scope.
fn sites_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(SITES, Vec::new());
    if matches!(filter, CameraFilter::Every) {
        query.push("LEFT", Vec::new());
    }
    query.push(COUNTS, Vec::new());
    query.cameras("c.id", filter);
    query.push(COUNTED, Vec::new());
    query
}

pub(crate) fn list_query(filter: &CameraFilter<'_>, after: Option<&SiteId>, limit: u32) -> Query {
    let mut query = sites_query(filter);
    query.push_if("AND s.id > $", after);
    query.push("ORDER BY s.id LIMIT $", vec![fetch_limit(limit).into()]);
    query
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, id: &SiteId) -> Query {
    let mut query = sites_query(filter);
    query.push("AND s.id = $", vec![id.into()]);
    query
}

pub(crate) fn settings_query() -> Query {
    Query::new("SELECT key, value, updated_us FROM setting ORDER BY key", Vec::new())
}

impl crate::Store {
    /// Sites by id; with a limited scope those that one of its cameras in use belongs to. The cursor is the id of the
    /// last row.
    pub async fn sites(
        &self,
        scope: &Scope,
        after: Option<&SiteId>,
        limit: u32,
    ) -> Result<Page<SiteView, SiteId>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Page::empty()) };
        let rows = self.query(list_query(&filter, after, limit)).await?;
        Ok(Page::cut(all(&rows, site_from)?, page_limit(limit), |row| row.site.id.clone()))
    }

    /// One site.
    pub async fn site(&self, scope: &Scope, id: &SiteId) -> Result<Option<SiteView>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, id)).await?;
        rows.first().map(site_from).transpose()
    }

    /// Every setting that was changed at run time. They belong to no camera: a limited scope sees none.
    pub async fn settings(&self, scope: &Scope) -> Result<Vec<Setting>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(settings_query()).await?;
        all(&rows, |row| {
            let mut c = row.columns();
            Ok(Setting { key: c.text()?, value: c.text()?, updated_at: c.time()? })
        })
    }
}
