//! Reads of login sessions and of sign-in protection. None of it belongs to a camera: a limited scope sees nothing.

use heldar_base::{Scope, Secret};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{ClientCursor, KnownClient, Page, SignInFailure, SignInSession};
use crate::sql::{Query, Row, args};

const SESSIONS: &str =
    "SELECT id, token_hash, account_id, created_us, last_used_us, expires_us, ip, user_agent
    FROM session WHERE TRUE";
const FAILURES: &str =
    "SELECT account_id, client, failures, locked_until_us, updated_us FROM sign_in_failure WHERE TRUE";
const KNOWN: &str = "SELECT account_id, client, last_us, expires_us FROM known_client WHERE TRUE";

fn session_from(row: &Row) -> Result<SignInSession, StoreError> {
    let mut c = row.columns();
    Ok(SignInSession {
        id: c.text()?,
        token_hash: Secret::new(c.text()?),
        account: c.text()?,
        created_at: c.time()?,
        last_used_at: c.time()?,
        expires_at: c.time()?,
        ip: c.opt_text()?,
        user_agent: c.opt_text()?,
    })
}

fn failure_from(row: &Row) -> Result<SignInFailure, StoreError> {
    let mut c = row.columns();
    Ok(SignInFailure {
        account: c.text()?,
        client: c.text()?,
        failures: c.number()?,
        locked_until: c.opt_time()?,
        updated_at: c.time()?,
    })
}

fn known_from(row: &Row) -> Result<KnownClient, StoreError> {
    let mut c = row.columns();
    Ok(KnownClient { account: c.text()?, client: c.text()?, last_at: c.time()?, expires_at: c.opt_time()? })
}

pub(crate) fn sessions_query(account: Option<&str>, after: Option<&str>, limit: u32) -> Query {
    let mut query = Query::new(SESSIONS, Vec::new());
    query.push_if("AND account_id = $", account);
    query.push_if("AND id > $", after);
    query.push("ORDER BY id LIMIT $", args![fetch_limit(limit)]);
    query
}

/// Completes a list of rows about accounts and clients.
fn by_client(head: &'static str, account: Option<&str>, after: Option<&ClientCursor>, limit: u32) -> Query {
    let mut query = Query::new(head, Vec::new());
    query.push_if("AND account_id = $", account);
    if let Some(cursor) = after {
        query.push(
            "AND (account_id, client) > ($, $)",
            args![cursor.account.as_str(), cursor.client.as_str()],
        );
    }
    query.push("ORDER BY account_id, client LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn failures_query(account: Option<&str>, after: Option<&ClientCursor>, limit: u32) -> Query {
    by_client(FAILURES, account, after, limit)
}

pub(crate) fn known_query(account: Option<&str>, after: Option<&ClientCursor>, limit: u32) -> Query {
    by_client(KNOWN, account, after, limit)
}

impl crate::Store {
    /// Login sessions by id, of one account or of all, those that have expired and are not yet removed among them. The
    /// cursor is the id of the last row.
    pub async fn sessions(
        &self,
        scope: &Scope,
        account: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<SignInSession, String>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.query(sessions_query(account, after, limit)).await?;
        Ok(Page::cut(all(&rows, session_from)?, page_limit(limit), |session| session.id.clone()))
    }

    /// Failed sign-ins by account and client, of one account or of all, those whose lock has run out among them.
    pub async fn sign_in_failures(
        &self,
        scope: &Scope,
        account: Option<&str>,
        after: Option<&ClientCursor>,
        limit: u32,
    ) -> Result<Page<SignInFailure, ClientCursor>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.query(failures_query(account, after, limit)).await?;
        let cursor =
            |row: &SignInFailure| ClientCursor { account: row.account.clone(), client: row.client.clone() };
        Ok(Page::cut(all(&rows, failure_from)?, page_limit(limit), cursor))
    }

    /// Known clients by account and client, of one account or of all, those that have expired and are not yet removed
    /// among them.
    pub async fn known_clients(
        &self,
        scope: &Scope,
        account: Option<&str>,
        after: Option<&ClientCursor>,
        limit: u32,
    ) -> Result<Page<KnownClient, ClientCursor>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.query(known_query(account, after, limit)).await?;
        let cursor =
            |row: &KnownClient| ClientCursor { account: row.account.clone(), client: row.client.clone() };
        Ok(Page::cut(all(&rows, known_from)?, page_limit(limit), cursor))
    }
}
