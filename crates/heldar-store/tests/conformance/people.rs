//! Accounts, keys and login sessions to test with.

use heldar_base::{Micros, PublicId, Scope, Secret, WallTime};
use heldar_store::op::{CountFailure, CreateAccount, CreateApiKey, SignIn};
use heldar_store::{
    Account, AccountFields, ApiKey, ApiKeyFields, SignInFailure, SignInSession, Store, StoredScope,
};

use crate::world::at;

pub(crate) fn account_id(number: u128) -> String {
    PublicId::new(Account::PREFIX, number).to_string()
}

pub(crate) fn key_id(number: u128) -> String {
    PublicId::new(ApiKey::PREFIX, number).to_string()
}

pub(crate) fn session_id(number: u128) -> String {
    PublicId::new(SignInSession::PREFIX, number).to_string()
}

/// What stands for a SHA-256.
pub(crate) fn hash(number: u128) -> Secret<String> {
    Secret::new(format!("{number:064x}"))
}

pub(crate) fn everything() -> StoredScope {
    let list = || "[]".to_owned();
    StoredScope { kind: "all".to_owned(), cameras: list(), sites: list(), networks: list() }
}

pub(crate) fn person(name: &str, role: &str) -> AccountFields {
    AccountFields {
        username: name.to_owned(),
        username_key: name.to_lowercase(),
        display_name: None,
        password_hash: password_hash(),
        role: role.to_owned(),
        active: true,
        must_change_password: false,
        grant: everything(),
    }
}

pub(crate) fn create(number: u128, fields: AccountFields) -> CreateAccount {
    CreateAccount { id: account_id(number), fields, first: false, now: at(1) }
}

pub(crate) async fn create_person(store: &Store, number: u128, name: &str, role: &str) -> String {
    store.write(create(number, person(name, role))).await.unwrap();
    account_id(number)
}

pub(crate) fn machine(number: u128, name: &str) -> ApiKeyFields {
    ApiKeyFields {
        name: name.to_owned(),
        key_hash: hash(number),
        key_prefix: "vok_00000000".to_owned(),
        old_key: None,
        role: "integration".to_owned(),
        active: true,
        capabilities: None,
        grant: everything(),
        description: None,
        expires_at: None,
        revoked_at: None,
    }
}

pub(crate) async fn create_key(store: &Store, number: u128, name: &str) -> String {
    let (id, fields) = (key_id(number), machine(number, name));
    store.write(CreateApiKey { id: id.clone(), fields, created_by: None, now: at(1) }).await.unwrap();
    id
}

pub(crate) fn session(number: u128, account: &str, seconds: i64) -> SignInSession {
    SignInSession {
        id: session_id(number),
        token_hash: hash(number),
        account: account.to_owned(),
        created_at: at(seconds),
        last_used_at: at(seconds),
        expires_at: at(seconds + 100),
        ip: Some("203.0.113.7".to_owned()),
        user_agent: None,
    }
}

fn password_hash() -> Secret<String> {
    Secret::new("$argon2id$of everybody".to_owned())
}

/// A sign-in from a client that is known by the same name afterwards.
pub(crate) fn sign_in(number: u128, account: &str, client: &str, seconds: i64) -> SignIn {
    SignIn {
        session: session(number, account, seconds),
        password_hash: password_hash(),
        clients: vec![client.to_owned()],
        known: vec![(client.to_owned(), None)],
        now: at(seconds),
    }
}

/// A failure of which three lock the client out for a minute.
pub(crate) fn failure(account: &str, client: &str, now: WallTime) -> CountFailure {
    let lock = Micros(60_000_000);
    let (account, client) = (account.to_owned(), client.to_owned());
    CountFailure { account, client, max_failures: 3, lock, on_lock: None, now }
}

pub(crate) async fn failures(store: &Store) -> Vec<SignInFailure> {
    store.sign_in_failures(&Scope::All, None, None, 1000).await.unwrap().rows
}
