//! The copy in memory, made from the store.

use std::collections::HashMap;

use heldar_access::{
    Directory, KeyGrant, Machine, Networks, Person, ScopeSpec, SessionRules, SignIn, TokenHash,
};
use heldar_base::{Scope, WallTime};
use heldar_config::AccountSettings;
use heldar_store::{Account, ApiKey, CameraQuery, PAGE_LIMIT, SignInSession, Store, StoreError, StoredScope};

use super::KnownClients;

/// What a start reads.
pub(super) struct Loaded {
    pub(super) directory: Directory,
    pub(super) known: KnownClients,
    pub(super) locks: HashMap<(String, String), WallTime>,
}

pub(super) async fn load(
    store: &Store,
    settings: &AccountSettings,
    enforced: bool,
    now: WallTime,
) -> Result<Loaded, StoreError> {
    let rules = SessionRules {
        ttl: settings.session_ttl,
        idle: settings.session_idle,
        max_lifetime: settings.session_max_lifetime,
    };
    let mut directory = Directory::new(rules, enforced);
    let (mut after, mut more) = (None, true);
    while more {
        let page = store.accounts(&Scope::All, after.as_deref(), PAGE_LIMIT).await?;
        page.rows.iter().for_each(|account| directory.put_person(person(account)));
        (more, after) = (page.next.is_some(), page.next);
    }
    let (mut after, mut more) = (None, true);
    while more {
        let page = store.api_keys(&Scope::All, after.as_deref(), PAGE_LIMIT).await?;
        page.rows.iter().filter_map(machine).for_each(|key| directory.put_key(key));
        (more, after) = (page.next.is_some(), page.next);
    }
    let (mut after, mut more) = (None, true);
    while more {
        let page = store.sessions(&Scope::All, None, after.as_deref(), PAGE_LIMIT).await?;
        page.rows.iter().filter_map(sign_in).for_each(|session| directory.put_session(session));
        (more, after) = (page.next.is_some(), page.next);
    }
    let mut known = KnownClients::new();
    let (mut after, mut more) = (None, true);
    while more {
        let page = store.known_clients(&Scope::All, None, after.as_ref(), PAGE_LIMIT).await?;
        for row in page.rows {
            known.entry(row.account).or_default().insert(row.client, (row.last_at, row.expires_at));
        }
        (more, after) = (page.next.is_some(), page.next);
    }
    let mut locks = HashMap::new();
    let (mut after, mut more) = (None, true);
    while more {
        let page = store.sign_in_failures(&Scope::All, None, after.as_ref(), PAGE_LIMIT).await?;
        for row in page.rows {
            if let Some(until) = row.locked_until.filter(|until| *until > now) {
                locks.insert((row.account, row.client), until);
            }
        }
        (more, after) = (page.next.is_some(), page.next);
    }
    sites(store, &mut directory).await?;
    Ok(Loaded { directory, known, locks })
}

async fn sites(store: &Store, directory: &mut Directory) -> Result<(), StoreError> {
    let (mut after, mut more) = (None, true);
    while more {
        let page = store.sites(&Scope::All, after.as_ref(), PAGE_LIMIT).await?;
        page.rows.into_iter().for_each(|view| directory.sites_mut().put_site(view.site.id));
        (more, after) = (page.next.is_some(), page.next);
    }
    let query = CameraQuery { include_removed: true, ..CameraQuery::default() };
    let (mut after, mut more) = (None, true);
    while more {
        let page = store.cameras(&Scope::All, &query, after.as_ref(), PAGE_LIMIT).await?;
        for camera in page.rows {
            directory.sites_mut().put_camera(camera.id, camera.fields.site_id);
        }
        (more, after) = (page.next.is_some(), page.next);
    }
    Ok(())
}

pub(super) fn scope(stored: &StoredScope) -> ScopeSpec {
    ScopeSpec::stored(&stored.kind, &stored.cameras, &stored.sites)
}

pub(super) fn person(account: &Account) -> Person {
    let fields = &account.fields;
    Person {
        id: account.id.clone(),
        username: fields.username.clone(),
        username_key: fields.username_key.clone(),
        display_name: fields.display_name.clone(),
        password_hash: fields.password_hash.clone(),
        role: fields.role.parse().ok(),
        active: fields.active,
        must_change_password: fields.must_change_password,
        scope: scope(&fields.grant),
        networks: Networks::stored(&fields.grant.networks),
    }
}

/// `None` for a hash that is none: nothing has it.
pub(super) fn machine(key: &ApiKey) -> Option<Machine> {
    let fields = &key.fields;
    let old = fields.old_key.as_ref();
    Some(Machine {
        id: key.id.clone(),
        name: fields.name.clone(),
        role: fields.role.parse().ok(),
        grant: KeyGrant::stored(fields.capabilities.as_deref()),
        scope: scope(&fields.grant),
        networks: Networks::stored(&fields.grant.networks),
        active: fields.active,
        expires_at: fields.expires_at,
        revoked_at: fields.revoked_at,
        hash: TokenHash::from_hex(fields.key_hash.expose())?,
        old: old.and_then(|old| Some((TokenHash::from_hex(old.hash.expose())?, old.valid_until))),
    })
}

pub(super) fn sign_in(session: &SignInSession) -> Option<SignIn> {
    Some(SignIn {
        id: session.id.clone(),
        person: session.account.clone(),
        hash: TokenHash::from_hex(session.token_hash.expose())?,
        created_at: session.created_at,
        last_used_at: session.last_used_at,
        expires_at: session.expires_at,
        ip: session.ip.clone(),
        user_agent: session.user_agent.clone(),
    })
}
