//! API keys: made, changed, rotated, deleted.

use std::sync::Arc;

use heldar_access::{Grant, KeyGrant, Token, TokenKind};
use heldar_base::{Capability, Clock as _, Micros, Role, Scope, Secret, WallTime};
use heldar_http::Patch;
use heldar_store::op::{CreateApiKey, DeleteApiKey, UpdateApiKey};
use heldar_store::{ApiKey, ApiKeyFields, AuditEntry, ErrorKind, OldKey, PAGE_LIMIT};
use serde_json::{Value, json};

use super::people::{ScopeChanges, checked_role, difference, everywhere};
use super::{AccountError, Accounts, load, new_id, random, to_its_end, with};
use crate::registry::{Author, FieldError, Target};

/// Longest name and description in characters.
const MAX_TEXT: usize = 512;
/// Longest time that both secrets of a rotated key work: a week.
const MAX_GRACE_MINUTES: i64 = 10_080;

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// One of the five roles; `integration` without it.
    pub role: Option<String>,
    /// What it may do; the role's without it.
    pub capabilities: Option<Vec<String>>,
    /// Where its rights hold.
    pub scope: ScopeChanges,
    /// When it ends.
    pub expires_at: Option<WallTime>,
    /// Whether wide rights are meant.
    pub confirm_privileged: bool,
    /// What it is for.
    pub description: Option<String>,
}

/// Changes of a key; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct KeyChanges {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Patch<String>,
    /// Whether it works.
    pub active: Option<bool>,
    /// What it may do.
    pub capabilities: Option<Vec<String>>,
    /// Where its rights hold.
    pub scope: ScopeChanges,
    /// When it ends.
    pub expires_at: Option<WallTime>,
    /// Whether it never ends.
    pub never_expires: bool,
    /// Withdrawn for good, since then.
    pub revoked_at: Option<WallTime>,
    /// Whether wide rights are meant.
    pub confirm_privileged: bool,
}

/// A key as administrators see it.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// As stored.
    pub key: ApiKey,
    /// What it may do under the tier that is in force.
    pub capabilities: Vec<Capability>,
    /// Slugs in its grant that this version does not know.
    pub unknown_capabilities: Vec<String>,
    /// Whether its rights follow from its role.
    pub by_role: bool,
    /// Ids in its scope that name nothing.
    pub unknown_scope_ids: Vec<String>,
    /// When and from where it was last used.
    pub last_used: Option<(WallTime, Option<String>)>,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct MintedKey {
    /// Shown once.
    pub token: Token,
    /// The key.
    pub view: KeyView,
}

/// A key with a new secret.
#[derive(Clone, Debug)]
pub struct RotatedKey {
    /// Shown once.
    pub token: Token,
    /// Its id.
    pub id: String,
    /// Until when the old secret works too.
    pub old_valid_until: Option<WallTime>,
}

impl Accounts {
    async fn stored_key(&self, id: &str) -> Result<ApiKey, AccountError> {
        self.store.api_key(&Scope::All, id).await?.ok_or(AccountError::NotFound("API key"))
    }

    fn learn_key(&self, key: &ApiKey) {
        self.change(|directory| match load::machine(key) {
            Some(machine) => directory.put_key(machine),
            None => directory.remove_key(&key.id),
        });
    }

    fn seen_key(&self, key: ApiKey) -> KeyView {
        let fields = &key.fields;
        let grant = KeyGrant::stored(fields.capabilities.as_deref());
        let role = fields.role.parse::<Role>().ok();
        let scope = load::scope(&fields.grant);
        let directory = self.directory();
        let capabilities = Grant::of_key(role, &grant, &scope, directory.enforced());
        let used = directory.key_use(&key.id).map(|(at, ip)| (at, ip.map(|ip| ip.to_string())));
        let stored_use = key.last_used_at.map(|at| (at, key.last_used_ip.clone()));
        KeyView {
            capabilities: capabilities
                .map(|grant| grant.capabilities.into_iter().collect())
                .unwrap_or_default(),
            unknown_capabilities: match &grant {
                KeyGrant::Explicit { unknown, .. } => unknown.clone(),
                KeyGrant::Unreadable => vec!["<unparseable>".to_owned()],
                KeyGrant::ByRole => Vec::new(),
            },
            by_role: grant == KeyGrant::ByRole,
            unknown_scope_ids: scope.unknown(directory.sites()),
            last_used: used.max(stored_use),
            key,
        }
    }

    /// A key.
    ///
    /// # Errors
    /// None of this id; the store.
    pub async fn key(&self, id: &str) -> Result<KeyView, AccountError> {
        let key = self.stored_key(id).await?;
        Ok(self.seen_key(key))
    }

    /// Every key, the newest first.
    ///
    /// # Errors
    /// The store.
    pub async fn keys(&self) -> Result<Vec<KeyView>, AccountError> {
        let (mut keys, mut after): (Vec<KeyView>, Option<String>) = (Vec::new(), None);
        loop {
            let page = self.store.api_keys(&Scope::All, after.as_deref(), PAGE_LIMIT).await?;
            keys.extend(page.rows.into_iter().map(|key| self.seen_key(key)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        keys.sort_by(|a, b| b.key.created_at.cmp(&a.key.created_at).then_with(|| a.key.id.cmp(&b.key.id)));
        Ok(keys)
    }

    /// Checks a grant that is about to be written.
    fn check_key(
        &self,
        role: Option<Role>,
        fields: &ApiKeyFields,
        confirmed: bool,
    ) -> Result<(), AccountError> {
        let written = KeyGrant::stored(fields.capabilities.as_deref());
        let scope = load::scope(&fields.grant);
        let enforced = self.directory().enforced();
        let grant = Grant::of_key(role, &written, &scope, enforced);
        // What cannot be read grants nothing, and stays so.
        grant.map_or(Ok(()), |grant| grant.check_key(&written, confirmed)).map_err(AccountError::from)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// A field, a grant, the store.
    pub async fn create_key(
        self: &Arc<Self>,
        author: Author,
        new: NewKey,
    ) -> Result<MintedKey, AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let name = checked_name(&new.name)?;
            let role = new.role.as_deref().map_or(Ok(Role::Integration), checked_role)?;
            let capabilities = new.capabilities.map(|slugs| KeyGrant::written(&slugs)).transpose()?;
            let token = Token::new(TokenKind::Key, random()?);
            let fields = ApiKeyFields {
                name,
                key_hash: Secret::new(token.hash().to_hex()),
                key_prefix: token.prefix(),
                old_key: None,
                role: role.as_str().to_owned(),
                active: true,
                capabilities: capabilities.and_then(|grant| grant.to_stored()),
                grant: new.scope.merge(&everywhere())?,
                description: checked_description(new.description)?,
                expires_at: new.expires_at,
                revoked_at: None,
            };
            accounts.check_key(Some(role), &fields, new.confirm_privileged)?;
            let _turn = accounts.turn.lock().await;
            let (id, now) = (new_id(ApiKey::PREFIX), accounts.clock.wall());
            let mut detail = shown(&fields);
            detail["confirm_privileged"] = new.confirm_privileged.into();
            let row = author.did(now, "create_api_key", Target { kind: "api_key", id: &id }, detail);
            let created_by = Some(author.actor().to_owned());
            let op = CreateApiKey { id: id.clone(), fields, created_by, now };
            accounts.store.manage(op, with(row)).await?;
            let key = accounts.stored_key(&id).await?;
            accounts.learn_key(&key);
            Ok(MintedKey { token, view: accounts.seen_key(key) })
        })
        .await
    }

    /// Changes a key.
    ///
    /// # Errors
    /// None of this id, a field, a grant, the store.
    pub async fn change_key(
        self: &Arc<Self>,
        author: Author,
        id: String,
        changes: KeyChanges,
    ) -> Result<KeyView, AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let _turn = accounts.turn.lock().await;
            let key = accounts.stored_key(&id).await?;
            let old = key.fields.clone();
            let touches_grant = changes.capabilities.is_some()
                || changes.scope.touches_scope()
                || changes.expires_at.is_some()
                || changes.never_expires;
            let written = changes.capabilities.map(|slugs| KeyGrant::written(&slugs)).transpose()?;
            let fields = ApiKeyFields {
                name: changes.name.as_deref().map_or_else(|| Ok(old.name.clone()), checked_name)?,
                description: checked_description(changes.description.or_clear(old.description.clone()))?,
                active: changes.active.unwrap_or(old.active),
                capabilities: written.map_or_else(|| old.capabilities.clone(), |grant| grant.to_stored()),
                grant: changes.scope.merge(&old.grant)?,
                expires_at: if changes.never_expires { None } else { changes.expires_at.or(old.expires_at) },
                // For good: a later change does not move it.
                revoked_at: old.revoked_at.or(changes.revoked_at),
                ..old.clone()
            };
            if touches_grant {
                accounts.check_key(fields.role.parse().ok(), &fields, changes.confirm_privileged)?;
            }
            if fields == old {
                let key = ApiKey { fields, ..key };
                return Ok(accounts.seen_key(key));
            }
            let now = accounts.clock.wall();
            let (before, after) = difference(&shown(&old), &shown(&fields), false);
            let changed: Vec<&String> =
                after.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
            let detail = json!({ "fields": changed });
            let row = author.did(now, "update_api_key", Target { kind: "api_key", id: &id }, detail);
            let row = AuditEntry { before: Some(before), after: Some(after), ..row };
            let op = UpdateApiKey { id: id.clone(), fields, revision: key.revision, now };
            accounts.store.manage(op, with(row)).await.map_err(AccountError::of("API key"))?;
            let key = accounts.stored_key(&id).await?;
            accounts.learn_key(&key);
            Ok(accounts.seen_key(key))
        })
        .await
    }

    /// Gives a key a new secret; the old one works for so many minutes more.
    ///
    /// # Errors
    /// None of this id; the store.
    pub async fn rotate_key(
        self: &Arc<Self>,
        author: Author,
        id: String,
        grace_minutes: i64,
    ) -> Result<RotatedKey, AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let token = Token::new(TokenKind::Key, random()?);
            let grace = Micros::from_secs(60 * grace_minutes.clamp(0, MAX_GRACE_MINUTES));
            let _turn = accounts.turn.lock().await;
            let key = accounts.stored_key(&id).await?;
            let now = accounts.clock.wall();
            let old_valid_until = (grace.0 > 0).then(|| now + grace);
            let fields = ApiKeyFields {
                old_key: old_valid_until
                    .map(|valid_until| OldKey { hash: key.fields.key_hash.clone(), valid_until }),
                key_hash: Secret::new(token.hash().to_hex()),
                key_prefix: token.prefix(),
                ..key.fields
            };
            let detail = json!({ "old_valid_until": old_valid_until });
            let row = author.did(now, "rotate_api_key", Target { kind: "api_key", id: &id }, detail);
            let op = UpdateApiKey { id: id.clone(), fields, revision: key.revision, now };
            accounts.store.manage(op, with(row)).await.map_err(AccountError::of("API key"))?;
            let key = accounts.stored_key(&id).await?;
            accounts.learn_key(&key);
            Ok(RotatedKey { token, id, old_valid_until })
        })
        .await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// None of this id; the store.
    pub async fn delete_key(self: &Arc<Self>, author: Author, id: String) -> Result<(), AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let _turn = accounts.turn.lock().await;
            let key = accounts.stored_key(&id).await?;
            let detail = json!({ "name": key.fields.name });
            let row = author.did(
                accounts.clock.wall(),
                "delete_api_key",
                Target { kind: "api_key", id: &id },
                detail,
            );
            let row = AuditEntry { before: Some(shown(&key.fields)), ..row };
            let op = DeleteApiKey { id: id.clone() };
            accounts.store.manage(op, with(row)).await.map_err(|error| match error.kind() {
                ErrorKind::NotFound => AccountError::NotFound("API key"),
                _ => error.into(),
            })?;
            accounts.change(|directory| directory.remove_key(&id));
            Ok(())
        })
        .await
    }
}

fn checked_name(name: &str) -> Result<String, AccountError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(FieldError::value("name", "a name is not blank").into());
    }
    checked_length("name", name)?;
    Ok(name.to_owned())
}

fn checked_description(text: Option<String>) -> Result<Option<String>, AccountError> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    text.as_deref().map(|text| checked_length("description", text)).transpose()?;
    Ok(text)
}

fn checked_length(field: &'static str, text: &str) -> Result<(), AccountError> {
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(FieldError::value(field, "no control characters").into());
    }
    if text.chars().count() > MAX_TEXT {
        return Err(FieldError::value(field, format!("at most {MAX_TEXT} characters")).into());
    }
    Ok(())
}

/// What the audit shows of a key.
fn shown(fields: &ApiKeyFields) -> Value {
    let scope = load::scope(&fields.grant);
    let capabilities = match KeyGrant::stored(fields.capabilities.as_deref()) {
        KeyGrant::Explicit { capabilities, .. } => json!(capabilities),
        KeyGrant::ByRole | KeyGrant::Unreadable => Value::Null,
    };
    json!({
        "name": fields.name,
        "role": fields.role,
        "active": fields.active,
        "capabilities": capabilities,
        "legacy_role_expansion": fields.capabilities.is_none(),
        "scope_kind": scope.kind(),
        "scope_cameras": scope.cameras,
        "scope_sites": scope.sites,
        "expires_at": fields.expires_at,
        "revoked_at": fields.revoked_at,
        "description": fields.description,
        "allowed_networks": heldar_access::Networks::stored(&fields.grant.networks).texts(),
    })
}
