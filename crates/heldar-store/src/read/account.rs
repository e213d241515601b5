//! Reads of people and of what is theirs. None of it belongs to a camera: a limited scope sees nothing.

use heldar_base::{Scope, Secret};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Account, AccountFields, Page, Preference, StoredScope};
use crate::sql::{Columns, Query, Row, args};

const ACCOUNTS: &str = "SELECT id, username, username_key, display_name, password_hash, role, active,
    must_change_password, scope_kind, scope_cameras, scope_sites, allowed_networks, last_login_us, created_us,
    updated_us, revision FROM account WHERE TRUE";
const PREFERENCE: &str = "SELECT document, updated_us FROM preference WHERE owner = $";

fn account_from(row: &Row) -> Result<Account, StoreError> {
    let mut c = row.columns();
    Ok(Account {
        id: c.text()?,
        fields: AccountFields {
            username: c.text()?,
            username_key: c.text()?,
            display_name: c.opt_text()?,
            password_hash: Secret::new(c.text()?),
            role: c.text()?,
            active: c.flag()?,
            must_change_password: c.flag()?,
            grant: scope_from(&mut c)?,
        },
        last_login_at: c.opt_time()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
    })
}

/// The four columns of what an account or a key may reach.
pub(super) fn scope_from(c: &mut Columns<'_>) -> Result<StoredScope, StoreError> {
    Ok(StoredScope { kind: c.text()?, cameras: c.text()?, sites: c.text()?, networks: c.text()? })
}

pub(crate) fn list_query(after: Option<&str>, limit: u32) -> Query {
    let mut query = Query::new(ACCOUNTS, Vec::new());
    query.push_if("AND id > $", after);
    query.push("ORDER BY id LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn one_query(id: &str) -> Query {
    let mut query = Query::new(ACCOUNTS, Vec::new());
    query.push("AND id = $", args![id]);
    query
}

pub(crate) fn preference_query(owner: &str) -> Query {
    Query::new(PREFERENCE, args![owner])
}

impl crate::Store {
    /// Accounts by id. The cursor is the id of the last row.
    pub async fn accounts(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Account, String>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.query(list_query(after, limit)).await?;
        Ok(Page::cut(all(&rows, account_from)?, page_limit(limit), |account| account.id.clone()))
    }

    /// One account.
    pub async fn account(&self, scope: &Scope, id: &str) -> Result<Option<Account>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.query(one_query(id)).await?;
        rows.first().map(account_from).transpose()
    }

    /// The preference of an account or of [`Preference::SYSTEM`].
    pub async fn preference(&self, scope: &Scope, owner: &str) -> Result<Option<Preference>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.query(preference_query(owner)).await?;
        let preference = |row: &Row| {
            let mut c = row.columns();
            Ok(Preference { document: c.text()?, updated_at: c.time()? })
        };
        rows.first().map(preference).transpose()
    }
}
