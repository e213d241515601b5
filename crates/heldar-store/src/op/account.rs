//! Writes of people and of what is theirs.
//!
//! One account that can administer everything must stay once there is one. The rule is looked at in the transaction
//! that would break it: of two demotions at once the second is refused.

use heldar_base::WallTime;

use super::{Apply, Durability, OpError, Tx, conflict, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{AccountFields, Preference};
use crate::sql::{Arg, args, statements};

statements! {
    ACCOUNT_STATE = "SELECT revision, CASE WHEN role = 'admin' AND active = 1 AND scope_kind = 'all' THEN 1 ELSE 0 END
        FROM account WHERE id = $1";
    ACCOUNT_ANY = "SELECT 1 FROM account LIMIT 1";
    ADMINISTRATOR_BESIDE = "SELECT 1 FROM account WHERE role = 'admin' AND active = 1 AND scope_kind = 'all'
        AND id <> $1 LIMIT 1";
    USERNAME_TAKEN = "SELECT 1 FROM account WHERE username_key = $1 AND id <> $2";
    ACCOUNT_INSERT = "INSERT INTO account (id, updated_us, username, username_key, display_name, password_hash, role,
        active, must_change_password, scope_kind, scope_cameras, scope_sites, allowed_networks, created_us, revision)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $2, 1)";
    ACCOUNT_UPDATE = "UPDATE account SET updated_us = $2, username = $3, username_key = $4, display_name = $5,
        password_hash = $6, role = $7, active = $8, must_change_password = $9, scope_kind = $10, scope_cameras = $11,
        scope_sites = $12, allowed_networks = $13, revision = revision + 1 WHERE id = $1";
    ACCOUNT_DELETE = "DELETE FROM account WHERE id = $1";
    PREFERENCE_PUT = "INSERT INTO preference (owner, document, updated_us) VALUES ($1, $2, $3)
        ON CONFLICT (owner) DO UPDATE SET document = excluded.document, updated_us = excluded.updated_us";
    PREFERENCE_DELETE = "DELETE FROM preference WHERE owner = $1";
}

/// Makes an account. Refused with [`ErrorKind::Conflict`] when the id or the username is taken, or when it was to be
/// the first one and is not.
#[derive(Clone, Debug)]
pub struct CreateAccount {
    /// Its id.
    pub id: String,
    /// What can be set.
    pub fields: AccountFields,
    /// Only if there is no account.
    pub first: bool,
    /// Now.
    pub now: WallTime,
}

impl Apply for CreateAccount {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if self.first && tx.row(ACCOUNT_ANY, Vec::new()).await?.is_some() {
            return Err(conflict("an account exists already"));
        }
        if tx.row(ACCOUNT_STATE, args![self.id.as_str()]).await?.is_some() {
            return Err(conflict(format!("the account id `{}` is taken", self.id)));
        }
        require_username(tx, &self.id, &self.fields).await?;
        tx.run(ACCOUNT_INSERT, account_args(&self.id, &self.fields, self.now)).await?;
        Ok(())
    }
}

/// Changes an account. Refused with [`ErrorKind::NotFound`], with [`ErrorKind::Conflict`] when it was changed since
/// `revision` or the username is taken, or with [`ErrorKind::InUse`] when no active administrator would be left.
#[derive(Clone, Debug)]
pub struct UpdateAccount {
    /// Its id.
    pub id: String,
    /// What can be set, changed or not.
    pub fields: AccountFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateAccount {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let state = account_state(tx, &self.id).await?;
        if state.revision != self.revision {
            return Err(conflict("the account was changed by someone else"));
        }
        require_username(tx, &self.id, &self.fields).await?;
        if state.administers && !self.fields.administers() {
            require_administrator_beside(tx, &self.id).await?;
        }
        tx.run(ACCOUNT_UPDATE, account_args(&self.id, &self.fields, self.now)).await?;
        Ok(())
    }
}

/// Deletes an account with its login sessions, its failures, its known clients and its preference. Refused with
/// [`ErrorKind::NotFound`], or with [`ErrorKind::InUse`] when no active administrator would be left.
#[derive(Clone, Debug)]
pub struct DeleteAccount {
    /// Its id.
    pub id: String,
}

impl Apply for DeleteAccount {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if account_state(tx, &self.id).await?.administers {
            require_administrator_beside(tx, &self.id).await?;
        }
        tx.run(PREFERENCE_DELETE, args![self.id.as_str()]).await?;
        tx.run(ACCOUNT_DELETE, args![self.id.as_str()]).await?;
        Ok(())
    }
}

/// Sets the preference of an owner, replaced whole. Refused with [`ErrorKind::NotFound`] when the owner is neither an
/// account nor [`Preference::SYSTEM`].
#[derive(Clone, Debug)]
pub struct PutPreference {
    /// Whose.
    pub owner: String,
    /// JSON object.
    pub document: String,
    /// Now.
    pub now: WallTime,
}

impl Apply for PutPreference {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if self.owner != Preference::SYSTEM {
            account_state(tx, &self.owner).await?;
        }
        tx.run(PREFERENCE_PUT, args![self.owner.as_str(), self.document.as_str(), self.now]).await?;
        Ok(())
    }
}

/// What decides whether an account may change.
struct AccountState {
    revision: i64,
    /// [`AccountFields::administers`] of what is stored.
    administers: bool,
}

async fn account_state(tx: &mut Tx<'_>, id: &str) -> Result<AccountState, OpError> {
    let row = tx.row(ACCOUNT_STATE, args![id]).await?.ok_or_else(|| not_found("account"))?;
    let mut columns = row.columns();
    Ok(AccountState { revision: columns.int()?, administers: columns.flag()? })
}

async fn require_username(tx: &mut Tx<'_>, id: &str, fields: &AccountFields) -> Result<(), OpError> {
    match tx.row(USERNAME_TAKEN, args![fields.username_key.as_str(), id]).await? {
        Some(_) => Err(conflict(format!("the username `{}` is taken", fields.username))),
        None => Ok(()),
    }
}

async fn require_administrator_beside(tx: &mut Tx<'_>, id: &str) -> Result<(), OpError> {
    match tx.row(ADMINISTRATOR_BESIDE, args![id]).await? {
        Some(_) => Ok(()),
        None => Err(refused(ErrorKind::InUse, "this is the last active administrator")),
    }
}

/// `$1` to `$13` of the insert and the update.
fn account_args(id: &str, f: &AccountFields, now: WallTime) -> Vec<Arg> {
    args![
        id,
        now,
        f.username.as_str(),
        f.username_key.as_str(),
        f.display_name.as_deref(),
        f.password_hash.expose().as_str(),
        f.role.as_str(),
        f.active,
        f.must_change_password,
        f.grant.kind.as_str(),
        f.grant.cameras.as_str(),
        f.grant.sites.as_str(),
        f.grant.networks.as_str(),
    ]
}
