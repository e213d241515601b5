//! People: made, changed, deleted, and their sign-ins.

use std::sync::Arc;

use heldar_access::{Grant, SignIn, fold_username};
use heldar_base::{Capability, Cidr, Clock as _, Principal, Role, Scope, Secret, WallTime};
use heldar_http::Patch;
use heldar_store::op::{
    AppendAudit, ClearFailures, CreateAccount, DeleteAccount, EndSessions, EndSessionsOf, PutPreference,
    UpdateAccount, WriteOp,
};
use heldar_store::{
    Account, AccountFields, AuditEntry, ClientCursor, ErrorKind, PAGE_LIMIT, Preference, StoredScope,
};
use serde_json::{Map, Value, json};

use super::hashing::Standing;
use super::{AccountError, Accounts, load, lock, new_id, stored_list, to_its_end, with};
use crate::registry::{Author, FieldError, Target};

/// Longest username and display name in characters.
const MAX_NAME: usize = 128;

/// Everything, from everywhere.
pub(super) fn everywhere() -> StoredScope {
    let none = || stored_list(&[]);
    StoredScope { kind: StoredScope::ALL.to_owned(), cameras: none(), sites: none(), networks: none() }
}

/// What is said about a scope; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct ScopeChanges {
    /// `all` or `cameras`.
    pub kind: Option<String>,
    /// Cameras.
    pub cameras: Option<Vec<String>>,
    /// Sites.
    pub sites: Option<Vec<String>>,
    /// Networks that it may be used from.
    pub networks: Option<Vec<String>>,
}

impl ScopeChanges {
    /// Whether anything is said about where rights hold.
    pub(super) fn touches_scope(&self) -> bool {
        self.kind.is_some() || self.cameras.is_some() || self.sites.is_some()
    }

    /// The scope after the changes.
    pub(super) fn merge(self, old: &StoredScope) -> Result<StoredScope, AccountError> {
        let mut merged = old.clone();
        if self.touches_scope() {
            let spec = load::scope(old);
            let kind = self.kind.unwrap_or_else(|| spec.kind().to_owned());
            let (cameras, sites) = (self.cameras.unwrap_or(spec.cameras), self.sites.unwrap_or(spec.sites));
            let spec = heldar_access::ScopeSpec::written(&kind, cameras, sites).map_err(scope_field)?;
            merged.kind = spec.kind().to_owned();
            merged.cameras = stored_list(&spec.cameras);
            merged.sites = stored_list(&spec.sites);
        }
        if let Some(networks) = self.networks {
            let mut list = Vec::new();
            for (index, text) in networks.iter().enumerate() {
                let fault = |_| {
                    let text = "a network is an address or a range such as 10.0.0.0/8 or fd00::/8";
                    AccountError::Element(FieldError::value("allowed_networks", text), index)
                };
                list.push(text.trim().parse::<Cidr>().map_err(fault)?.to_string());
            }
            merged.networks = stored_list(&list);
        }
        Ok(merged)
    }
}

fn scope_field(error: heldar_access::ScopeError) -> AccountError {
    use heldar_access::ScopeError::*;
    let text = error.to_string();
    match error {
        Kind => FieldError::value("scope_kind", text).into(),
        Empty => FieldError::value("scope_cameras", text).into(),
        BlankCamera(index) => AccountError::Element(FieldError::value("scope_cameras", text), index),
        BlankSite(index) => AccountError::Element(FieldError::value("scope_sites", text), index),
    }
}

/// A person to be made.
#[derive(Clone, Debug)]
pub struct NewPerson {
    /// Name to sign in with.
    pub username: String,
    /// Password.
    pub password: Secret<String>,
    /// One of the five roles.
    pub role: String,
    /// What others see.
    pub display_name: Option<String>,
    /// Whether it may sign in.
    pub active: bool,
    /// Whether it has to choose a password first.
    pub must_change_password: bool,
    /// Where its rights hold.
    pub scope: ScopeChanges,
}

impl Default for NewPerson {
    fn default() -> Self {
        NewPerson {
            username: String::new(),
            password: Secret::default(),
            role: Role::Viewer.as_str().to_owned(),
            display_name: None,
            active: true,
            must_change_password: false,
            scope: ScopeChanges::default(),
        }
    }
}

/// Changes of a person; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct PersonChanges {
    /// A new password.
    pub password: Option<Secret<String>>,
    /// One of the five roles.
    pub role: Option<String>,
    /// What others see.
    pub display_name: Patch<String>,
    /// Whether it may sign in.
    pub active: Option<bool>,
    /// Whether it has to choose a password first.
    pub must_change_password: Option<bool>,
    /// Where its rights hold.
    pub scope: ScopeChanges,
}

/// A person as administrators see it.
#[derive(Clone, Debug)]
pub struct PersonView {
    /// As stored.
    pub account: Account,
    /// What it may do.
    pub capabilities: Vec<Capability>,
    /// Until when a client is locked out of the account; the latest.
    pub locked_until: Option<WallTime>,
}

impl Accounts {
    pub(super) async fn stored(&self, id: &str) -> Result<Account, AccountError> {
        self.store.account(&Scope::All, id).await?.ok_or(AccountError::NotFound("user"))
    }

    /// Has the copy in memory know a person as it is stored.
    pub(super) async fn refresh(&self, id: &str) -> Result<(), AccountError> {
        let account = self.stored(id).await?;
        self.change(|directory| directory.put_person(load::person(&account)));
        Ok(())
    }

    fn seen(&self, account: Account, locked_until: Option<WallTime>) -> PersonView {
        let grant = Grant::of_person(account.fields.role.parse().ok(), &load::scope(&account.fields.grant));
        let capabilities = grant.map(|grant| grant.capabilities.into_iter().collect()).unwrap_or_default();
        let locked_until = locked_until.filter(|until| *until > self.clock.wall());
        PersonView { account, capabilities, locked_until }
    }

    /// A person.
    ///
    /// # Errors
    /// None of this id; the store.
    pub async fn view(&self, id: &str) -> Result<PersonView, AccountError> {
        let account = self.stored(id).await?;
        let failures = self.store.sign_in_failures(&Scope::All, Some(id), None, PAGE_LIMIT).await?;
        let locked = failures.rows.iter().filter_map(|row| row.locked_until).max();
        Ok(self.seen(account, locked))
    }

    /// Everybody, by username.
    ///
    /// # Errors
    /// The store.
    pub async fn people(&self) -> Result<Vec<PersonView>, AccountError> {
        let mut locked = std::collections::HashMap::<String, WallTime>::new();
        let mut after: Option<ClientCursor> = None;
        loop {
            let page = self.store.sign_in_failures(&Scope::All, None, after.as_ref(), PAGE_LIMIT).await?;
            for row in page.rows {
                if let Some(until) = row.locked_until {
                    let latest = locked.entry(row.account).or_insert(until);
                    *latest = until.max(*latest);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let (mut people, mut after): (Vec<PersonView>, Option<String>) = (Vec::new(), None);
        loop {
            let page = self.store.accounts(&Scope::All, after.as_deref(), PAGE_LIMIT).await?;
            people.extend(page.rows.into_iter().map(|account| {
                let until = locked.get(&account.id).copied();
                self.seen(account, until)
            }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        people.sort_by(|a, b| a.account.fields.username.cmp(&b.account.fields.username));
        Ok(people)
    }

    pub(super) fn checked_username(&self, username: &str) -> Result<String, AccountError> {
        let username = username.trim();
        if username.is_empty() {
            return Err(FieldError::value("username", "a username is not blank").into());
        }
        checked_length("username", username)?;
        Ok(username.to_owned())
    }

    pub(super) fn check_password(
        &self,
        field: &'static str,
        password: &Secret<String>,
        username: &str,
    ) -> Result<(), AccountError> {
        let checked = self.password_rules().check(password.expose(), username);
        checked.map_err(|fault| FieldError::value(field, fault.to_string()).into())
    }

    /// Makes a person.
    ///
    /// # Errors
    /// A field, a taken name, the store.
    pub async fn create_person(
        self: &Arc<Self>,
        author: Author,
        new: NewPerson,
    ) -> Result<PersonView, AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let username = accounts.checked_username(&new.username)?;
            accounts.check_password("password", &new.password, &username)?;
            let role = checked_role(&new.role)?;
            let grant = new.scope.merge(&everywhere())?;
            let display_name = checked_display_name(new.display_name)?;
            check_grant(role, &grant)?;
            let password_hash = accounts.hashing.make(new.password, Standing::Known).await?;
            let fields = AccountFields {
                username_key: fold_username(&username),
                username,
                display_name,
                password_hash,
                role: role.as_str().to_owned(),
                active: new.active,
                must_change_password: new.must_change_password,
                grant,
            };
            let _turn = accounts.turn.lock().await;
            let (id, now) = (new_id(Account::PREFIX), accounts.clock.wall());
            let target = Target { kind: "user", id: &id };
            let row = author.did(now, "create_user", target, json!({ "role": fields.role }));
            let row = AuditEntry { after: Some(shown(&fields)), ..row };
            let op = CreateAccount { id: id.clone(), fields, first: false, now };
            accounts.store.manage(op, with(row)).await.map_err(|error| match error.kind() {
                ErrorKind::Conflict => AccountError::Taken,
                _ => error.into(),
            })?;
            accounts.refresh(&id).await?;
            accounts.view(&id).await
        })
        .await
    }

    /// Changes a person: clears locks; ends its sign-ins when it is deactivated or gets a password.
    ///
    /// # Errors
    /// None of this id, a field, the last administrator, the store.
    pub async fn change_person(
        self: &Arc<Self>,
        author: Author,
        id: String,
        changes: PersonChanges,
    ) -> Result<PersonView, AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let username = accounts.stored(&id).await?.fields.username;
            if let Some(password) = &changes.password {
                accounts.check_password("password", password, &username)?;
            }
            let new_hash = match changes.password {
                Some(password) => Some(accounts.hashing.make(password, Standing::Known).await?),
                None => None,
            };
            let _turn = accounts.turn.lock().await;
            let account = accounts.stored(&id).await?;
            let old = account.fields;
            let role = changes.role.as_deref().map(checked_role).transpose()?;
            let fields = AccountFields {
                role: role.map_or_else(|| old.role.clone(), |role| role.as_str().to_owned()),
                display_name: checked_display_name(changes.display_name.or_clear(old.display_name.clone()))?,
                active: changes.active.unwrap_or(old.active),
                must_change_password: changes.must_change_password.unwrap_or(old.must_change_password),
                password_hash: new_hash.clone().unwrap_or_else(|| old.password_hash.clone()),
                grant: changes.scope.merge(&old.grant)?,
                ..old.clone()
            };
            if let Ok(role) = fields.role.parse() {
                check_grant(role, &fields.grant)?;
            }
            let now = accounts.clock.wall();
            let ends = new_hash.is_some() || (old.active && !fields.active);
            let target = Target { kind: "user", id: &id };
            let row = author.did(
                now,
                "update_user",
                target,
                json!({ "role": fields.role, "active": fields.active }),
            );
            let (before, after) = difference(&shown(&old), &shown(&fields), new_hash.is_some());
            let row = AuditEntry { before: Some(before), after: Some(after), ..row };
            let mut ops: Vec<WriteOp> = vec![
                UpdateAccount { id: id.clone(), fields, revision: account.revision, now }.into(),
                ClearFailures { account: id.clone() }.into(),
                AppendAudit { entry: row }.into(),
            ];
            if ends {
                ops.push(EndSessionsOf { account: id.clone(), except: None }.into());
            }
            accounts.store.write_all(ops).await.map_err(AccountError::of("user"))?;
            accounts.forget_locks(&id);
            if ends {
                accounts.change(|directory| directory.end_sessions_of(&id, None));
            }
            accounts.refresh(&id).await?;
            accounts.view(&id).await
        })
        .await
    }

    /// Lets every client try again.
    ///
    /// # Errors
    /// None of this id; the store.
    pub async fn unlock_person(
        self: &Arc<Self>,
        author: Author,
        id: String,
    ) -> Result<PersonView, AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let _turn = accounts.turn.lock().await;
            accounts.stored(&id).await?;
            let row =
                author.did(accounts.clock.wall(), "unlock_user", Target { kind: "user", id: &id }, json!({}));
            accounts.store.manage(ClearFailures { account: id.clone() }, with(row)).await?;
            accounts.forget_locks(&id);
            accounts.view(&id).await
        })
        .await
    }

    /// Deletes a person, with everything that is theirs.
    ///
    /// # Errors
    /// None of this id, the own account, the last administrator, the store.
    pub async fn delete_person(self: &Arc<Self>, author: Author, id: String) -> Result<(), AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            if author.actor() == id {
                return Err(AccountError::OwnAccount);
            }
            let _turn = accounts.turn.lock().await;
            let account = accounts.stored(&id).await?;
            let detail = json!({ "username": account.fields.username });
            let row =
                author.did(accounts.clock.wall(), "delete_user", Target { kind: "user", id: &id }, detail);
            let row = AuditEntry { before: Some(shown(&account.fields)), ..row };
            let op = DeleteAccount { id: id.clone() };
            accounts.store.manage(op, with(row)).await.map_err(AccountError::of("user"))?;
            accounts.change(|directory| directory.remove_person(&id));
            lock(&accounts.known).remove(&id);
            accounts.forget_locks(&id);
            Ok(())
        })
        .await
    }

    /// A person's sign-ins, the newest first.
    pub fn sessions_of(&self, person: &str) -> Vec<SignIn> {
        self.directory().sessions_of(person)
    }

    /// Ends one of a person's sign-ins.
    ///
    /// # Errors
    /// The person has no such sign-in; the store.
    pub async fn end_session(
        self: &Arc<Self>,
        author: Author,
        person: String,
        session: String,
    ) -> Result<(), AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let _turn = accounts.turn.lock().await;
            let is_theirs = accounts.directory().session(&session).is_some_and(|s| s.person == person);
            if !is_theirs {
                return Err(AccountError::NotFound("session"));
            }
            let target = Target { kind: "user", id: &person };
            let row =
                author.did(accounts.clock.wall(), "revoke_session", target, json!({ "session": session }));
            accounts.store.manage(EndSessions { ids: vec![session.clone()] }, with(row)).await?;
            accounts.change(|directory| directory.end_session(&session));
            Ok(())
        })
        .await
    }

    /// Ends a person's sign-ins, but for one.
    ///
    /// # Errors
    /// No such person; the store.
    pub async fn end_sessions(
        self: &Arc<Self>,
        author: Author,
        person: String,
        except: Option<String>,
    ) -> Result<(), AccountError> {
        let accounts = self.clone();
        to_its_end(async move {
            let _turn = accounts.turn.lock().await;
            accounts.stored(&person).await?;
            let theirs = accounts.directory().sessions_of(&person);
            let count = theirs.iter().filter(|session| except.as_ref() != Some(&session.id)).count();
            let target = Target { kind: "user", id: &person };
            let row = author.did(accounts.clock.wall(), "revoke_sessions", target, json!({ "count": count }));
            let op = EndSessionsOf { account: person.clone(), except: except.clone() };
            accounts.store.manage(op, with(row)).await?;
            accounts.change(|directory| directory.end_sessions_of(&person, except.as_deref()));
            Ok(())
        })
        .await
    }

    /// What a person, or the system, wants to find as it was left: a JSON object.
    ///
    /// # Errors
    /// The store.
    pub async fn preferences(&self, principal: &Principal) -> Result<String, AccountError> {
        let stored = self.store.preference(&Scope::All, &principal.id).await?;
        Ok(stored.map_or_else(|| "{}".to_owned(), |preference| preference.document))
    }

    /// Replaces it.
    ///
    /// # Errors
    /// The store.
    pub async fn set_preferences(&self, principal: &Principal, document: String) -> Result<(), AccountError> {
        let owner = if principal.credential.id().is_none() { Preference::SYSTEM } else { &principal.id };
        let op = PutPreference { owner: owner.to_owned(), document, now: self.clock.wall() };
        self.store.write(op).await.map_err(AccountError::of("user"))
    }
}

fn checked_length(field: &'static str, text: &str) -> Result<(), AccountError> {
    if text.chars().any(char::is_control) {
        return Err(FieldError::value(field, "no control characters").into());
    }
    if text.chars().count() > MAX_NAME {
        return Err(FieldError::value(field, format!("at most {MAX_NAME} characters")).into());
    }
    Ok(())
}

fn checked_display_name(name: Option<String>) -> Result<Option<String>, AccountError> {
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.as_deref().map(|name| checked_length("display_name", name)).transpose()?;
    Ok(name)
}

pub(super) fn checked_role(role: &str) -> Result<Role, AccountError> {
    let fault = |()| {
        let all: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        FieldError::value("role", format!("expected one of: {}", all.join(", ")))
    };
    Ok(role.parse().map_err(fault)?)
}

fn check_grant(role: Role, stored: &StoredScope) -> Result<(), AccountError> {
    let grant = Grant::of_person(Some(role), &load::scope(stored));
    grant.map_or(Ok(()), |grant| grant.check()).map_err(AccountError::from)
}

/// What the audit shows of a person.
fn shown(fields: &AccountFields) -> Value {
    let scope = load::scope(&fields.grant);
    json!({
        "username": fields.username,
        "display_name": fields.display_name,
        "role": fields.role,
        "active": fields.active,
        "must_change_password": fields.must_change_password,
        "scope_kind": scope.kind(),
        "scope_cameras": scope.cameras,
        "scope_sites": scope.sites,
        "allowed_networks": heldar_access::Networks::stored(&fields.grant.networks).texts(),
    })
}

/// The fields that differ, before and after.
pub(super) fn difference(before: &Value, after: &Value, new_secret: bool) -> (Value, Value) {
    let (mut was, mut is) = (Map::new(), Map::new());
    for (name, value) in after.as_object().into_iter().flatten() {
        let old = &before[name];
        if old != value {
            was.insert(name.clone(), old.clone());
            is.insert(name.clone(), value.clone());
        }
    }
    if new_secret {
        was.insert("password".to_owned(), json!("***"));
        is.insert("password".to_owned(), json!("***"));
    }
    (Value::Object(was), Value::Object(is))
}
