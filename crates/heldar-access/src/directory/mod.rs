//! The copy in memory from which every request is decided.
//!
//! Whoever changes the store changes it here right after the commit, and nothing is allowed that is not here: so rights
//! hold as long as the process runs, whatever becomes of the store (auth-system.md 14).

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use heldar_base::{
    Capability, Cidr, Credential, KeySecret, Micros, Principal, PrincipalKind, Role, Secret, WallTime,
};

use crate::{Grant, KeyGrant, ScopeSpec, SiteCameras, TokenHash, TokenKind};

/// Networks that a credential may be used from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Option<Vec<Cidr>>);

impl Networks {
    /// From the store, a JSON array; what cannot be read allows no address.
    pub fn stored(text: &str) -> Self {
        let texts: Option<Vec<String>> = serde_json::from_str(text).ok();
        Networks(texts.and_then(|texts| texts.iter().map(|text| text.parse().ok()).collect()))
    }

    /// An empty list allows every address.
    pub fn allow(&self, address: IpAddr) -> bool {
        self.0.as_ref().is_some_and(|list| list.is_empty() || heldar_base::contains(list, address))
    }

    /// As it is shown.
    pub fn texts(&self) -> Vec<String> {
        match &self.0 {
            Some(list) => list.iter().map(ToString::to_string).collect(),
            None => vec!["<unparseable>".to_owned()],
        }
    }
}

/// A person who may sign in.
#[derive(Clone, Debug)]
pub struct Person {
    /// `usr_…`.
    pub id: String,
    /// As written.
    pub username: String,
    /// The form under which it is unique.
    pub username_key: String,
    /// Hash of the password.
    pub password_hash: Secret<String>,
    /// What others see.
    pub display_name: Option<String>,
    /// `None`: the stored one cannot be read.
    pub role: Option<Role>,
    /// Whether it may sign in.
    pub active: bool,
    /// Whether it has to choose a password first.
    pub must_change_password: bool,
    /// Where its rights hold.
    pub scope: ScopeSpec,
    /// Where it may come from.
    pub networks: Networks,
}

impl Person {
    /// What others see; never empty.
    pub fn name(&self) -> &str {
        self.display_name.as_deref().filter(|name| !name.trim().is_empty()).unwrap_or(&self.username)
    }
}

/// An API key.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `key_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `None`: the stored one cannot be read.
    pub role: Option<Role>,
    /// What it may do.
    pub grant: KeyGrant,
    /// Where its rights hold.
    pub scope: ScopeSpec,
    /// Where it may come from.
    pub networks: Networks,
    /// Whether it is switched on.
    pub active: bool,
    /// When it ends.
    pub expires_at: Option<WallTime>,
    /// When it was withdrawn.
    pub revoked_at: Option<WallTime>,
    /// Of its token.
    pub hash: TokenHash,
    /// Of the token before, and until when that works too.
    pub old: Option<(TokenHash, WallTime)>,
}

/// A sign-in of a person.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// `ses_…`.
    pub id: String,
    /// Whose.
    pub person: String,
    /// Of its token.
    pub hash: TokenHash,
    /// When it began.
    pub created_at: WallTime,
    /// When it was last used.
    pub last_used_at: WallTime,
    /// When it ends.
    pub expires_at: WallTime,
    /// Where it began.
    pub ip: Option<String>,
    /// In which program.
    pub user_agent: Option<String>,
}

/// How long sign-ins last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRules {
    /// From the sign-in on, and from each use on where use prolongs.
    pub ttl: Micros,
    /// Longest time without use.
    pub idle: Option<Micros>,
    /// Up to which age use prolongs it.
    pub max_lifetime: Option<Micros>,
}

/// Why a credential is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Unknown, ended, expired or withdrawn; or what is stored of it cannot be used.
    Invalid,
    /// It holds, but not from here.
    Address,
}

/// Who a credential stands for.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Who.
    pub principal: Arc<Principal>,
    /// A password must be chosen first.
    pub must_change_password: bool,
    /// Until when this holds if nobody uses or changes anything.
    pub until: Option<WallTime>,
    /// Rights that a stricter tier would take from this key.
    pub would_lose: bool,
}

#[derive(Debug)]
struct Session {
    sign_in: SignIn,
    last_used: AtomicI64,
    expires: AtomicI64,
    /// What the store has of `last_used`.
    stored: AtomicI64,
}

#[derive(Debug, Default)]
struct KeyUse {
    last_used: AtomicI64,
    address: Mutex<Option<IpAddr>>,
    stored: AtomicI64,
}

/// Use of a key that the store has not yet heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTouched {
    /// Which key.
    pub id: String,
    /// When it was last used.
    pub at: WallTime,
    /// From where.
    pub address: Option<IpAddr>,
}

/// Use of a sign-in that the store has not yet heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTouched {
    /// Which.
    pub id: String,
    /// When it was last used.
    pub at: WallTime,
    /// When it ends.
    pub expires_at: WallTime,
}

/// People, keys, sign-ins, and the cameras of sites.
#[derive(Debug)]
pub struct Directory {
    rules: SessionRules,
    enforced: bool,
    people: HashMap<String, Person>,
    usernames: HashMap<String, String>,
    keys: HashMap<String, (Machine, Arc<KeyUse>)>,
    key_hashes: HashMap<TokenHash, String>,
    sessions: HashMap<String, Session>,
    session_hashes: HashMap<TokenHash, String>,
    sites: SiteCameras,
    /// Principals as they follow from all of this; forgotten at each change.
    made: Mutex<HashMap<Credential, Arc<Principal>>>,
}

impl Directory {
    /// An expiry that moves by less is not worth telling.
    const WORTH_TELLING: Micros = Micros::from_secs(60);

    /// Nobody yet. `enforced`: the stricter tier of machine auth is in force.
    pub fn new(rules: SessionRules, enforced: bool) -> Self {
        Directory {
            rules,
            enforced,
            people: HashMap::new(),
            usernames: HashMap::new(),
            keys: HashMap::new(),
            key_hashes: HashMap::new(),
            sessions: HashMap::new(),
            session_hashes: HashMap::new(),
            sites: SiteCameras::default(),
            made: Mutex::default(),
        }
    }

    fn changed(&mut self) {
        self.made.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the stricter tier of machine auth is in force.
    pub fn enforced(&self) -> bool {
        self.enforced
    }

    /// Whether there is anybody who may sign in.
    pub fn has_people(&self) -> bool {
        !self.people.is_empty()
    }

    /// How many sign-ins there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The cameras of sites, to be changed.
    pub fn sites_mut(&mut self) -> &mut SiteCameras {
        self.changed();
        &mut self.sites
    }

    /// The cameras of sites.
    pub fn sites(&self) -> &SiteCameras {
        &self.sites
    }

    /// A person is there, or has changed.
    pub fn put_person(&mut self, person: Person) {
        self.changed();
        self.usernames.insert(person.username_key.clone(), person.id.clone());
        self.people.insert(person.id.clone(), person);
    }

    /// A person is gone, with every sign-in.
    pub fn remove_person(&mut self, id: &str) {
        self.changed();
        if let Some(person) = self.people.remove(id) {
            self.usernames.remove(&person.username_key);
        }
        self.end_sessions_of(id, None);
    }

    /// The person of a username, in any case.
    pub fn person_named(&self, username: &str) -> Option<&Person> {
        self.usernames.get(&crate::fold_username(username)).and_then(|id| self.people.get(id))
    }

    /// A person.
    pub fn person(&self, id: &str) -> Option<&Person> {
        self.people.get(id)
    }

    /// A key is there, or has changed.
    pub fn put_key(&mut self, key: Machine) {
        self.changed();
        let used = self.forget_key(&key.id).unwrap_or_default();
        self.key_hashes.insert(key.hash, key.id.clone());
        if let Some((hash, _)) = key.old {
            self.key_hashes.insert(hash, key.id.clone());
        }
        self.keys.insert(key.id.clone(), (key, used));
    }

    /// A key is gone.
    pub fn remove_key(&mut self, id: &str) {
        self.changed();
        self.forget_key(id);
    }

    fn forget_key(&mut self, id: &str) -> Option<Arc<KeyUse>> {
        let (key, used) = self.keys.remove(id)?;
        self.key_hashes.remove(&key.hash);
        if let Some((hash, _)) = key.old {
            self.key_hashes.remove(&hash);
        }
        Some(used)
    }

    /// A key.
    pub fn key(&self, id: &str) -> Option<&Machine> {
        self.keys.get(id).map(|(key, _)| key)
    }

    /// A key was last used then and from there, as far as is known here.
    pub fn key_use(&self, id: &str) -> Option<(WallTime, Option<IpAddr>)> {
        let (_, used) = self.keys.get(id)?;
        let at = used.last_used.load(Ordering::Relaxed);
        (at > 0).then(|| (WallTime(at), *used.address.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Somebody has signed in.
    pub fn put_session(&mut self, sign_in: SignIn) {
        self.session_hashes.insert(sign_in.hash, sign_in.id.clone());
        let session = Session {
            last_used: AtomicI64::new(sign_in.last_used_at.0),
            stored: AtomicI64::new(sign_in.last_used_at.0),
            expires: AtomicI64::new(sign_in.expires_at.0),
            sign_in,
        };
        self.sessions.insert(session.sign_in.id.clone(), session);
    }

    /// A sign-in ends; true if there was one.
    pub fn end_session(&mut self, id: &str) -> bool {
        self.changed();
        let Some(session) = self.sessions.remove(id) else { return false };
        self.session_hashes.remove(&session.sign_in.hash);
        true
    }

    /// Every sign-in of a person ends, but for one; their ids.
    pub fn end_sessions_of(&mut self, person: &str, except: Option<&str>) -> Vec<String> {
        let theirs = |session: &&Session| {
            session.sign_in.person == person && except != Some(session.sign_in.id.as_str())
        };
        let ids: Vec<String> =
            self.sessions.values().filter(theirs).map(|session| session.sign_in.id.clone()).collect();
        for id in &ids {
            self.end_session(id);
        }
        ids
    }

    /// Forgets sign-ins that are over by themselves.
    pub fn expire(&mut self, now: WallTime) {
        let over: Vec<String> = self
            .sessions
            .values()
            .filter(|session| self.session_end(session) <= now)
            .map(|session| session.sign_in.id.clone())
            .collect();
        for id in over {
            self.end_session(&id);
        }
    }

    /// The sign-in of this id, as it stands.
    pub fn session(&self, id: &str) -> Option<SignIn> {
        self.sessions.get(id).map(Self::standing)
    }

    /// Every sign-in of a person, the newest first.
    pub fn sessions_of(&self, person: &str) -> Vec<SignIn> {
        let theirs = self.sessions.values().filter(|session| session.sign_in.person == person);
        let mut list: Vec<SignIn> = theirs.map(Self::standing).collect();
        list.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        list
    }

    fn standing(session: &Session) -> SignIn {
        SignIn {
            last_used_at: WallTime(session.last_used.load(Ordering::Relaxed)),
            expires_at: WallTime(session.expires.load(Ordering::Relaxed)),
            ..session.sign_in.clone()
        }
    }

    /// When a sign-in ends by itself.
    fn session_end(&self, session: &Session) -> WallTime {
        let expires = WallTime(session.expires.load(Ordering::Relaxed));
        let last_used = WallTime(session.last_used.load(Ordering::Relaxed));
        self.rules.idle.map_or(expires, |idle| expires.min(last_used + idle))
    }

    /// When a sign-in ends for want of use; `None` where that does not happen.
    pub fn idle_end(&self, id: &str) -> Option<WallTime> {
        let session = self.sessions.get(id)?;
        self.rules.idle.map(|idle| WallTime(session.last_used.load(Ordering::Relaxed)) + idle)
    }

    /// What a token stands for, whether or not it holds.
    pub fn find(&self, token: &str, now: WallTime) -> Option<Credential> {
        let hash = TokenHash::of(token);
        match TokenHash::kind_of(token) {
            TokenKind::Session => self.session_hashes.get(&hash).cloned().map(Credential::Session),
            TokenKind::Key => {
                let id = self.key_hashes.get(&hash)?;
                let (key, _) = self.keys.get(id)?;
                let is_over = key.old.is_some_and(|(old, until)| old == hash && until <= now);
                let secret = || KeySecret { key: id.clone(), generation: hash.generation() };
                (!is_over).then(|| Credential::Key(secret()))
            }
        }
    }

    /// Who a credential stands for now, wherever it is used from.
    ///
    /// # Errors
    /// [`Refused::Invalid`].
    pub fn resolve(&self, credential: &Credential, now: WallTime) -> Result<Resolved, Refused> {
        match credential {
            Credential::Nothing => Err(Refused::Invalid),
            Credential::Session(id) => self.resolve_session(credential, id, now),
            Credential::Key(secret) => self.resolve_key(credential, secret, now),
        }
    }

    /// Checks where it is used from.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn resolve_from(
        &self,
        credential: &Credential,
        address: IpAddr,
        now: WallTime,
    ) -> Result<Resolved, Refused> {
        let resolved = self.resolve(credential, now)?;
        let networks = match credential {
            Credential::Nothing => None,
            Credential::Session(_) => self.people.get(&resolved.principal.id).map(|person| &person.networks),
            Credential::Key(secret) => self.keys.get(&secret.key).map(|(key, _)| &key.networks),
        };
        if networks.is_some_and(|networks| networks.allow(address)) {
            Ok(resolved)
        } else {
            Err(Refused::Address)
        }
    }

    fn resolve_session(&self, credential: &Credential, id: &str, now: WallTime) -> Result<Resolved, Refused> {
        let session = self.sessions.get(id).ok_or(Refused::Invalid)?;
        let person = self.people.get(&session.sign_in.person).filter(|person| person.active);
        let person = person.ok_or(Refused::Invalid)?;
        let until = self.session_end(session);
        if until <= now {
            return Err(Refused::Invalid);
        }
        let grant = Grant::of_person(person.role, &person.scope).filter(|grant| grant.check().is_ok());
        let (grant, role) = grant.zip(person.role).ok_or(Refused::Invalid)?;
        let principal = self.principal(credential, || Principal {
            kind: PrincipalKind::User,
            id: person.id.clone(),
            name: person.name().to_owned(),
            role,
            scope: grant.scope.resolve(&self.sites),
            capabilities: grant.capabilities,
            credential: credential.clone(),
        });
        let must_change_password = person.must_change_password;
        Ok(Resolved { principal, must_change_password, until: Some(until), would_lose: false })
    }

    fn resolve_key(
        &self,
        credential: &Credential,
        secret: &KeySecret,
        now: WallTime,
    ) -> Result<Resolved, Refused> {
        let (key, _) = self.keys.get(&secret.key).ok_or(Refused::Invalid)?;
        // A secret ends with the key, and an old one with the time that it was left.
        let until = if key.hash.generation() == secret.generation {
            key.expires_at
        } else {
            let old = key.old.filter(|(hash, _)| hash.generation() == secret.generation);
            let (_, until) = old.ok_or(Refused::Invalid)?;
            Some(key.expires_at.map_or(until, |at| at.min(until)))
        };
        let is_over = until.is_some_and(|at| at <= now);
        if !key.active || key.revoked_at.is_some() || is_over {
            return Err(Refused::Invalid);
        }
        let grant = Grant::of_key(key.role, &key.grant, &key.scope, self.enforced);
        let grant = grant.filter(|grant| grant.check().is_ok());
        let (grant, role) = grant.zip(key.role).ok_or(Refused::Invalid)?;
        let principal = self.principal(credential, || Principal {
            kind: PrincipalKind::ApiKey,
            id: key.id.clone(),
            name: key.name.clone(),
            role,
            scope: grant.scope.resolve(&self.sites),
            capabilities: grant.capabilities,
            credential: credential.clone(),
        });
        let would_lose = key.grant == KeyGrant::ByRole && !self.lost_by(role).is_empty();
        Ok(Resolved { principal, must_change_password: false, until, would_lose })
    }

    /// What the stricter tier would take from a key without an explicit grant.
    pub fn lost_by(&self, role: Role) -> Vec<Capability> {
        let (now, then) = (role.capabilities(self.enforced), role.capabilities(true));
        now.difference(&then).copied().collect()
    }

    fn principal(&self, credential: &Credential, make: impl FnOnce() -> Principal) -> Arc<Principal> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(principal) = made.get(credential) {
            return Arc::clone(principal);
        }
        let principal = Arc::new(make());
        made.insert(credential.clone(), Arc::clone(&principal));
        principal
    }

    /// Notes use. Where use prolongs a sign-in and its end has moved by a minute or more: the new end.
    pub fn touch(&self, credential: &Credential, address: Option<IpAddr>, now: WallTime) -> Option<WallTime> {
        match credential {
            Credential::Nothing => None,
            Credential::Session(id) => {
                let session = self.sessions.get(id)?;
                session.last_used.fetch_max(now.0, Ordering::Relaxed);
                let latest = session.sign_in.created_at + self.rules.max_lifetime?;
                let moved = (now + self.rules.ttl).min(latest);
                let before = WallTime(session.expires.load(Ordering::Relaxed));
                if moved - before < Self::WORTH_TELLING {
                    return None;
                }
                session.expires.fetch_max(moved.0, Ordering::Relaxed);
                Some(moved)
            }
            Credential::Key(secret) => {
                let (_, used) = self.keys.get(&secret.key)?;
                used.last_used.fetch_max(now.0, Ordering::Relaxed);
                if address.is_some() {
                    *used.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
                }
                None
            }
        }
    }

    /// Use since the last call, for the store.
    pub fn touched(&self) -> (Vec<SessionTouched>, Vec<KeyTouched>) {
        let news = |last: &AtomicI64, stored: &AtomicI64| {
            let at = last.load(Ordering::Relaxed);
            (stored.swap(at, Ordering::Relaxed) != at).then_some(WallTime(at))
        };
        let sessions = self.sessions.values().filter_map(|session| {
            Some(SessionTouched {
                at: news(&session.last_used, &session.stored)?,
                id: session.sign_in.id.clone(),
                expires_at: WallTime(session.expires.load(Ordering::Relaxed)),
            })
        });
        let keys = self.keys.values().filter_map(|(key, used)| {
            Some(KeyTouched {
                at: news(&used.last_used, &used.stored)?,
                id: key.id.clone(),
                address: *used.address.lock().unwrap_or_else(PoisonError::into_inner),
            })
        });
        (sessions.collect(), keys.collect())
    }

    /// Active keys without an explicit grant, by name.
    pub fn legacy_keys(&self) -> Vec<(&str, &str)> {
        let legacy = |key: &&Machine| key.active && key.revoked_at.is_none() && key.grant == KeyGrant::ByRole;
        let keys = self.keys.values().map(|(key, _)| key).filter(legacy);
        let mut list: Vec<(&str, &str)> = keys.map(|key| (key.name.as_str(), key.id.as_str())).collect();
        list.sort_unstable();
        list
    }
}

#[cfg(test)]
mod tests;
