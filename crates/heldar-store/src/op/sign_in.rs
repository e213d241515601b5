//! Writes of login sessions and of sign-in protection.
//!
//! Failures are counted and looked at inside the one transaction of the group, so that guesses in parallel cannot pass
//! the threshold, and a sign-in cannot pass a lock that was set while its password was being verified.

use heldar_base::{Micros, Secret, WallTime};

use super::{AppendAudit, Apply, Durability, OpError, Tx, conflict, not_found};
use crate::model::{AuditEntry, SignInSession};
use crate::sql::{args, statements};

/// Most known clients of an account.
const KNOWN_CLIENTS: u32 = 32;

statements! {
    ACCOUNT_ACTIVE = "SELECT active, password_hash FROM account WHERE id = $1";
    ACCOUNT_SIGNED_IN = "UPDATE account SET last_login_us = $2 WHERE id = $1";
    SESSION_INSERT = "INSERT INTO session (id, token_hash, account_id, created_us, last_used_us, expires_us, ip,
        user_agent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    SESSION_TOUCH = "UPDATE session SET last_used_us = $2, expires_us = $3 WHERE id = $1";
    SESSION_DELETE = "DELETE FROM session WHERE id = $1";
    SESSIONS_OF_DELETE = "DELETE FROM session WHERE account_id = $1 AND id <> $2";
    FAILURE = "SELECT failures, locked_until_us FROM sign_in_failure WHERE account_id = $1 AND client = $2";
    FAILURE_PUT = "INSERT INTO sign_in_failure (account_id, client, failures, locked_until_us, updated_us)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id, client) DO UPDATE SET failures = excluded.failures,
        locked_until_us = excluded.locked_until_us, updated_us = excluded.updated_us";
    FAILURES_DELETE = "DELETE FROM sign_in_failure WHERE account_id = $1";
    KNOWN_PUT = "INSERT INTO known_client (account_id, client, last_us, expires_us) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_id, client) DO UPDATE SET last_us = excluded.last_us, expires_us = excluded.expires_us";
    KNOWN_CUT = "DELETE FROM known_client WHERE account_id = $1 AND client NOT IN
        (SELECT client FROM known_client WHERE account_id = $1 ORDER BY last_us DESC, client LIMIT $2)";
}

/// Begins a login session of a person whose password was right. Forgets the failures of the account, and knows the client
/// from now on. Refused with [`crate::ErrorKind::NotFound`] when the account is gone or inactive, and with
/// [`crate::ErrorKind::Conflict`] when the client is locked out of it or its password is another by now.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The login session.
    pub session: SignInSession,
    /// Hash that the password was verified against.
    pub password_hash: Secret<String>,
    /// What the client is counted as when it fails; each is looked at.
    pub clients: Vec<String>,
    /// What the client is known as from now on, and until when; of each account the 32 newest are kept.
    pub known: Vec<(String, Option<WallTime>)>,
    /// Now.
    pub now: WallTime,
}

impl Apply for SignIn {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let s = &self.session;
        let account = s.account.as_str();
        let row = tx.row(ACCOUNT_ACTIVE, args![account]).await?.ok_or_else(|| not_found("account"))?;
        let mut columns = row.columns();
        if !columns.flag()? {
            return Err(not_found("active account"));
        }
        if columns.text()? != *self.password_hash.expose() {
            return Err(conflict("the password was changed since it was verified"));
        }
        for client in &self.clients {
            let stored = stored_failure(tx, account, client).await?;
            if stored.locked_until.is_some_and(|until| until > self.now) {
                return Err(conflict("the client is locked out of the account"));
            }
        }
        let row = args![
            s.id.as_str(),
            s.token_hash.expose().as_str(),
            account,
            s.created_at,
            s.last_used_at,
            s.expires_at,
            s.ip.as_deref(),
            s.user_agent.as_deref(),
        ];
        tx.run(SESSION_INSERT, row).await?;
        tx.run(FAILURES_DELETE, args![account]).await?;
        for (client, expires_at) in &self.known {
            tx.run(KNOWN_PUT, args![account, client.as_str(), self.now, *expires_at]).await?;
        }
        tx.run(KNOWN_CUT, args![account, KNOWN_CLIENTS]).await?;
        tx.run(ACCOUNT_SIGNED_IN, args![account, self.now]).await?;
        Ok(())
    }
}

/// What a client has behind it after a failed sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Consecutive failures.
    pub failures: u32,
    /// First instant at which it may try again; `None`: at once.
    pub locked_until: Option<WallTime>,
    /// True when this failure locked it.
    pub newly_locked: bool,
}

/// Counts a failed sign-in to an account from a client. The one that reaches the threshold locks the client out; while
/// it is, nothing advances; when the lock has run out, counting starts anew. Refused with
/// [`crate::ErrorKind::NotFound`] when there is no such account.
#[derive(Clone, Debug)]
pub struct CountFailure {
    /// Id of the account.
    pub account: String,
    /// What the client is counted as.
    pub client: String,
    /// So many lock it out; 0: nothing does.
    pub max_failures: u32,
    /// For how long; nothing or less: not at all.
    pub lock: Micros,
    /// Audit row of the lock, where this failure locks the client out; its detail becomes `locked_until`.
    pub on_lock: Option<Box<AuditEntry>>,
    /// Now.
    pub now: WallTime,
}

impl Apply for CountFailure {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Failure, OpError> {
        let (account, client) = (self.account.as_str(), self.client.as_str());
        if tx.row(ACCOUNT_ACTIVE, args![account]).await?.is_none() {
            return Err(not_found("account"));
        }
        let stored = stored_failure(tx, account, client).await?;
        if stored.locked_until.is_some_and(|until| until > self.now) {
            return Ok(Failure { newly_locked: false, ..stored });
        }
        let failure = self.next(stored);
        let row = args![account, client, failure.failures, failure.locked_until, self.now];
        tx.run(FAILURE_PUT, row).await?;
        if let (true, Some(until), Some(entry)) = (failure.newly_locked, failure.locked_until, &self.on_lock)
        {
            let mut entry = AuditEntry::clone(entry);
            entry.detail = serde_json::json!({ "locked_until": until });
            AppendAudit { entry }.apply(tx).await?;
        }
        Ok(failure)
    }
}

impl CountFailure {
    /// The failure that follows what is stored, which is not locked now.
    fn next(&self, stored: Failure) -> Failure {
        let before = if stored.locked_until.is_some() { 0 } else { stored.failures };
        let failures = before.saturating_add(1);
        let locks = self.max_failures > 0 && self.lock.0 > 0 && failures >= self.max_failures;
        let locked_until = locks.then(|| WallTime(self.now.0.saturating_add(self.lock.0)));
        Failure { failures, locked_until, newly_locked: locks }
    }
}

/// Forgets the failed sign-ins to an account from every client; answers with how many clients had some.
#[derive(Clone, Debug)]
pub struct ClearFailures {
    /// Id of the account.
    pub account: String,
}

impl Apply for ClearFailures {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        Ok(tx.run(FAILURES_DELETE, args![self.account.as_str()]).await?)
    }
}

/// Notes uses of login sessions; those that have ended are passed over.
#[derive(Clone, Debug)]
pub struct TouchSessions {
    /// Of each: its id, its last use, its expiry.
    pub touched: Vec<(String, WallTime, WallTime)>,
}

impl Apply for TouchSessions {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        for (id, last_used, expires) in &self.touched {
            tx.run(SESSION_TOUCH, args![id.as_str(), *last_used, *expires]).await?;
        }
        Ok(())
    }
}

/// Ends login sessions; answers with how many there were.
#[derive(Clone, Debug)]
pub struct EndSessions {
    /// Their ids.
    pub ids: Vec<String>,
}

impl Apply for EndSessions {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        let mut ended = 0;
        for id in &self.ids {
            ended += tx.run(SESSION_DELETE, args![id.as_str()]).await?;
        }
        Ok(ended)
    }
}

/// Ends the login sessions of an account; answers with how many there were.
#[derive(Clone, Debug)]
pub struct EndSessionsOf {
    /// Id of the account.
    pub account: String,
    /// The one that goes on.
    pub except: Option<String>,
}

impl Apply for EndSessionsOf {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        // No id is empty.
        let except = self.except.as_deref().unwrap_or_default();
        Ok(tx.run(SESSIONS_OF_DELETE, args![self.account.as_str(), except]).await?)
    }
}

/// What is stored of a client; nothing counts as no failures.
async fn stored_failure(tx: &mut Tx<'_>, account: &str, client: &str) -> Result<Failure, OpError> {
    let (failures, locked_until) = match tx.row(FAILURE, args![account, client]).await? {
        None => (0, None),
        Some(row) => {
            let mut columns = row.columns();
            (columns.number()?, columns.opt_time()?)
        }
    };
    Ok(Failure { failures, locked_until, newly_locked: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted() {
        let check = |max_failures, lock, stored: (u32, Option<i64>), expect: (u32, Option<i64>)| {
            let (account, client) = (String::new(), String::new());
            let now = WallTime(1000);
            let count =
                CountFailure { account, client, max_failures, lock: Micros(lock), on_lock: None, now };
            let stored =
                Failure { failures: stored.0, locked_until: stored.1.map(WallTime), newly_locked: false };
            let next = count.next(stored);
            assert_eq!((next.failures, next.locked_until.map(|until| until.0)), expect);
            assert_eq!(next.newly_locked, expect.1.is_some());
        };
        check(3, 50, (0, None), (1, None));
        check(3, 50, (2, None), (3, Some(1050)));
        // A lock that has run out: anew.
        check(3, 50, (3, Some(1000)), (1, None));
        check(1, 50, (1, Some(900)), (1, Some(1050)));
        // The threshold was lowered since.
        check(2, 50, (4, None), (5, Some(1050)));
        // Disabled by either.
        check(0, 50, (9, None), (10, None));
        check(3, 0, (9, None), (10, None));
        check(3, -1, (u32::MAX, None), (u32::MAX, None));
        check(3, i64::MAX, (2, None), (3, Some(i64::MAX)));
    }
}
