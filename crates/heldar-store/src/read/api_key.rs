//! Reads of the credentials of machines. None of them belongs to a camera: a limited scope sees nothing.

use heldar_base::{Scope, Secret};

use super::account::scope_from;
use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{ApiKey, ApiKeyFields, OldKey, Page};
use crate::sql::{Columns, Query, Row, args};

const KEYS: &str = "SELECT id, name, key_hash, key_prefix, old_key_hash, old_valid_until_us, role, active, capabilities,
    scope_kind, scope_cameras, scope_sites, allowed_networks, description, expires_us, revoked_us, last_used_us,
    last_used_ip, created_by, created_us, updated_us, revision FROM api_key WHERE TRUE";

fn old_key_from(c: &mut Columns<'_>) -> Result<Option<OldKey>, StoreError> {
    let (hash, valid_until) = (c.opt_text()?, c.opt_time()?);
    let old = hash.zip(valid_until);
    Ok(old.map(|(hash, valid_until)| OldKey { hash: Secret::new(hash), valid_until }))
}

fn key_from(row: &Row) -> Result<ApiKey, StoreError> {
    let mut c = row.columns();
    Ok(ApiKey {
        id: c.text()?,
        fields: ApiKeyFields {
            name: c.text()?,
            key_hash: Secret::new(c.text()?),
            key_prefix: c.text()?,
            old_key: old_key_from(&mut c)?,
            role: c.text()?,
            active: c.flag()?,
            capabilities: c.opt_text()?,
            grant: scope_from(&mut c)?,
            description: c.opt_text()?,
            expires_at: c.opt_time()?,
            revoked_at: c.opt_time()?,
        },
        last_used_at: c.opt_time()?,
        last_used_ip: c.opt_text()?,
        created_by: c.opt_text()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
    })
}

pub(crate) fn list_query(after: Option<&str>, limit: u32) -> Query {
    let mut query = Query::new(KEYS, Vec::new());
    query.push_if("AND id > $", after);
    query.push("ORDER BY id LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn one_query(id: &str) -> Query {
    let mut query = Query::new(KEYS, Vec::new());
    query.push("AND id = $", args![id]);
    query
}

impl crate::Store {
    /// Keys by id. The cursor is the id of the last row.
    pub async fn api_keys(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ApiKey, String>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.query(list_query(after, limit)).await?;
        Ok(Page::cut(all(&rows, key_from)?, page_limit(limit), |key| key.id.clone()))
    }

    /// One key.
    pub async fn api_key(&self, scope: &Scope, id: &str) -> Result<Option<ApiKey>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.query(one_query(id)).await?;
        rows.first().map(key_from).transpose()
    }
}
