//! Accounts, preferences, keys.

use heldar_base::Scope;
use heldar_store::op::{
    CountFailure, CreateAccount, CreateApiKey, DeleteAccount, DeleteApiKey, PutPreference, TouchKeys,
    UpdateAccount, UpdateApiKey,
};
use heldar_store::{
    Account, AccountFields, ApiKey, ApiKeyFields, ErrorKind, OldKey, Preference, Store, StoreError,
    StoredScope, WriteOp,
};

use crate::people::{
    account_id, create, create_key, create_person, everything, failure, failures, hash, key_id, machine,
    person, session_id, sign_in,
};
use crate::world::{Db, at};

async fn stored(store: &Store, id: &str) -> Account {
    store.account(&Scope::All, id).await.unwrap().unwrap()
}

fn told(error: &StoreError) -> (ErrorKind, String) {
    (error.kind(), error.to_string())
}

pub(crate) async fn accounts_are_kept(db: Db) {
    let store = db.open().await;
    let full = AccountFields {
        display_name: Some("Ada L.".to_owned()),
        must_change_password: true,
        grant: StoredScope {
            kind: "cameras".to_owned(),
            // Kept as it is, readable or not.
            cameras: "[\"front\"".to_owned(),
            sites: "[\"north\"]".to_owned(),
            networks: "[\"10.0.0.0/8\"]".to_owned(),
        },
        ..person("Ada", "made of thin air")
    };
    store.write(create(1, full.clone())).await.unwrap();
    create_person(&store, 2, "Grace", "viewer").await;
    let ada = stored(&store, &account_id(1)).await;
    let expect = Account {
        id: account_id(1),
        fields: full.clone(),
        last_login_at: None,
        created_at: at(1),
        updated_at: at(1),
        revision: 1,
    };
    assert_eq!(ada, expect);
    assert!(!format!("{ada:?} {:?}", create(1, full.clone())).contains("argon2id"));

    for (taken, message) in [
        (create(1, person("Linus", "viewer")), format!("the account id `{}` is taken", account_id(1))),
        (create(3, person("ADA", "viewer")), "the username `ADA` is taken".to_owned()),
    ] {
        let error = store.write(taken).await.unwrap_err();
        assert_eq!(told(&error), (ErrorKind::Conflict, message));
    }
    let fields = AccountFields { active: false, display_name: None, ..person("ada", "guard") };
    let update = |number, fields: &AccountFields, revision| UpdateAccount {
        id: account_id(number),
        fields: fields.clone(),
        revision,
        now: at(5),
    };
    store.write(update(1, &fields, 1)).await.unwrap();
    let after = stored(&store, &account_id(1)).await;
    assert_eq!((after.fields, after.created_at, after.updated_at), (fields.clone(), at(1), at(5)));
    assert_eq!(after.revision, 2);
    for (number, fields, revision, kind) in [
        (1, fields.clone(), 1, ErrorKind::Conflict),
        (1, person("Grace", "viewer"), 2, ErrorKind::Conflict),
        (9, person("Nobody", "viewer"), 1, ErrorKind::NotFound),
    ] {
        let refused = store.write(update(number, &fields, revision)).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{number} {fields:?}");
    }
    let page = store.accounts(&Scope::All, None, 10).await.unwrap();
    let names: Vec<_> = page.rows.iter().map(|row| row.fields.username.as_str()).collect();
    assert_eq!(names, ["ada", "Grace"]);
    assert_eq!(stored(&store, &account_id(1)).await.revision, 2, "what was refused changed nothing");
}

pub(crate) async fn there_is_one_first_account(db: Db) {
    let store = db.open().await;
    let first = |number, name| CreateAccount { first: true, ..create(number, person(name, "admin")) };
    let (one, two) = tokio::join!(store.write(first(1, "Ada")), store.write(first(2, "Grace")));
    let refused: Vec<_> = [one, two].into_iter().filter_map(Result::err).collect();
    assert_eq!(
        refused.iter().map(told).collect::<Vec<_>>(),
        [(ErrorKind::Conflict, "an account exists already".to_owned())]
    );
    assert_eq!(store.accounts(&Scope::All, None, 10).await.unwrap().rows.len(), 1);
}

/// Makes an account something that does not administer.
fn demote(number: u128, name: &str) -> UpdateAccount {
    UpdateAccount { id: account_id(number), fields: person(name, "viewer"), revision: 1, now: at(2) }
}

pub(crate) async fn the_last_administrator_stays(db: Db) {
    let store = db.open().await;
    create_person(&store, 1, "Ada", "admin").await;
    // None of these could take over.
    let limited = StoredScope { kind: "cameras".to_owned(), ..everything() };
    for (number, fields) in [
        (2, AccountFields { active: false, ..person("Grace", "admin") }),
        (3, AccountFields { grant: limited.clone(), ..person("Linus", "admin") }),
        (4, person("Dennis", "manager")),
    ] {
        store.write(create(number, fields)).await.unwrap();
    }
    let last = (ErrorKind::InUse, "this is the last active administrator".to_owned());
    for fields in [
        person("Ada", "manager"),
        AccountFields { active: false, ..person("Ada", "admin") },
        AccountFields { grant: limited, ..person("Ada", "admin") },
    ] {
        let update = UpdateAccount { fields, ..demote(1, "Ada") };
        assert_eq!(told(&store.write(update).await.unwrap_err()), last);
    }
    assert_eq!(told(&store.write(DeleteAccount { id: account_id(1) }).await.unwrap_err()), last);
    // What leaves it an administrator is fine, and so is all that concerns the others.
    let rename = UpdateAccount { fields: person("Ada L", "admin"), ..demote(1, "Ada") };
    store.write(rename).await.unwrap();
    store.write(demote(2, "Grace")).await.unwrap();
    store.write(DeleteAccount { id: account_id(3) }).await.unwrap();
    // With another one it may go.
    create_person(&store, 5, "Ken", "admin").await;
    store.write(DeleteAccount { id: account_id(1) }).await.unwrap();
    assert_eq!(told(&store.write(demote(5, "Ken")).await.unwrap_err()), last);
}

pub(crate) async fn two_demotions_at_once_leave_one(db: Db) {
    let store = db.open().await;
    create_person(&store, 1, "Ada", "admin").await;
    create_person(&store, 2, "Grace", "admin").await;
    // As one write: neither happens.
    let both: Vec<WriteOp> = vec![demote(1, "Ada").into(), demote(2, "Grace").into()];
    assert_eq!(store.write_all(both).await.unwrap_err().kind(), ErrorKind::InUse);
    let administrators = async || {
        let rows = store.accounts(&Scope::All, None, 10).await.unwrap().rows;
        rows.iter().filter(|row| row.fields.administers()).count()
    };
    assert_eq!(administrators().await, 2);
    // As writes of their own in one group: the second is refused, and the group commits.
    // While the first write is committed the two wait side by side.
    let before = PutPreference { owner: Preference::SYSTEM.into(), document: "{}".into(), now: at(2) };
    let (before, one, two) =
        tokio::join!(store.write(before), store.write(demote(1, "Ada")), store.write(demote(2, "Grace")));
    before.unwrap();
    let refused: Vec<_> = [one, two].into_iter().filter_map(Result::err).map(|error| error.kind()).collect();
    assert_eq!(refused, [ErrorKind::InUse]);
    assert_eq!(administrators().await, 1);
}

pub(crate) async fn an_account_takes_what_is_its_own(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    let grace = create_person(&store, 2, "Grace", "viewer").await;
    for (number, account) in [(1, &ada), (2, &grace)] {
        store.write(sign_in(number, account, "source:a", 10)).await.unwrap();
        store.write(failure(account, "source:b", at(11))).await.unwrap();
        let document = format!("{{\"of\":{number}}}");
        store.write(PutPreference { owner: account.clone(), document, now: at(12) }).await.unwrap();
    }
    store.write(DeleteAccount { id: ada.clone() }).await.unwrap();
    for table in ["account", "session", "sign_in_failure", "known_client", "preference"] {
        let count = db.numbers(&format!("SELECT COUNT(*) FROM {table}")).await;
        assert_eq!(count, [[1]], "{table}");
    }
    assert!(store.account(&Scope::All, &ada).await.unwrap().is_none());
    assert!(store.preference(&Scope::All, &ada).await.unwrap().is_none());
    assert!(store.preference(&Scope::All, &grace).await.unwrap().is_some());
    let kinds = [
        store.write(DeleteAccount { id: ada.clone() }).await.unwrap_err().kind(),
        store.write(sign_in(3, &ada, "source:a", 20)).await.unwrap_err().kind(),
        store.write(CountFailure { max_failures: 1, ..failure(&ada, "x", at(20)) }).await.unwrap_err().kind(),
        store
            .write(PutPreference { owner: ada, document: "{}".into(), now: at(20) })
            .await
            .unwrap_err()
            .kind(),
    ];
    assert_eq!(kinds, [ErrorKind::NotFound; 4]);
    let left = failures(&store).await;
    assert_eq!(left.iter().map(|row| row.account.as_str()).collect::<Vec<_>>(), [grace]);
    let page = store.sessions(&Scope::All, None, None, 10).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), [session_id(2)]);
}

pub(crate) async fn preferences_are_kept(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    for owner in [ada.as_str(), Preference::SYSTEM] {
        assert_eq!(store.preference(&Scope::All, owner).await.unwrap(), None);
        for (document, seconds) in [("{\"theme\":\"dark\"}", 2), ("{}", 3)] {
            let put = PutPreference { owner: owner.into(), document: document.into(), now: at(seconds) };
            store.write(put).await.unwrap();
            let expect = Preference { document: document.into(), updated_at: at(seconds) };
            assert_eq!(store.preference(&Scope::All, owner).await.unwrap(), Some(expect));
        }
    }
}

pub(crate) async fn api_keys_are_kept(db: Db) {
    let store = db.open().await;
    let full = ApiKeyFields {
        old_key: Some(OldKey { hash: hash(11), valid_until: at(60) }),
        capabilities: Some("[\"ai:ingest\"]".to_owned()),
        grant: StoredScope { kind: "cameras".into(), cameras: "[\"a\"]".into(), ..everything() },
        description: Some("counts cars".to_owned()),
        expires_at: Some(at(1000)),
        revoked_at: Some(at(900)),
        ..machine(1, "counter")
    };
    let create = |number, fields: ApiKeyFields| CreateApiKey {
        id: key_id(number),
        fields,
        created_by: Some(account_id(1)),
        now: at(1),
    };
    store.write(create(1, full.clone())).await.unwrap();
    let other = create_key(&store, 2, "other").await;
    let stored = async |id: &str| store.api_key(&Scope::All, id).await.unwrap().unwrap();
    let expect = ApiKey {
        id: key_id(1),
        fields: full.clone(),
        last_used_at: None,
        last_used_ip: None,
        created_by: Some(account_id(1)),
        created_at: at(1),
        updated_at: at(1),
        revision: 1,
    };
    let one = stored(&key_id(1)).await;
    assert_eq!(one, expect);
    let shown = format!("{one:?}");
    assert!(!shown.contains(hash(1).expose()) && !shown.contains(hash(11).expose()), "{shown}");
    // An id again, and a secret that another key has.
    for taken in [create(1, machine(5, "x")), create(3, machine(2, "x"))] {
        assert_eq!(store.write(taken).await.unwrap_err().kind(), ErrorKind::Conflict);
    }

    // Rotated: the secret before goes on for a while.
    let rotated = ApiKeyFields {
        key_hash: hash(21),
        old_key: Some(OldKey { hash: hash(2), valid_until: at(70) }),
        ..machine(2, "renamed")
    };
    let update = |id: &str, fields: &ApiKeyFields, revision| UpdateApiKey {
        id: id.to_owned(),
        fields: fields.clone(),
        revision,
        now: at(10),
    };
    store.write(update(&other, &rotated, 1)).await.unwrap();
    let touched = vec![
        (other.clone(), at(20), Some("::1".to_owned())),
        (key_id(9), at(20), None),
        (key_id(1), at(21), None),
    ];
    store.write(TouchKeys { touched }).await.unwrap();
    let two = stored(&other).await;
    assert_eq!((two.fields, two.updated_at, two.revision), (rotated, at(10), 2));
    assert_eq!((two.last_used_at, two.last_used_ip.as_deref()), (Some(at(20)), Some("::1")));
    assert_eq!(stored(&key_id(1)).await.last_used_at, Some(at(21)));
    for (id, revision, kind) in
        [(other.as_str(), 1, ErrorKind::Conflict), (&key_id(9), 1, ErrorKind::NotFound)]
    {
        let refused = store.write(update(id, &machine(7, "x"), revision)).await.unwrap_err();
        assert_eq!(refused.kind(), kind);
    }
    store.write(DeleteApiKey { id: other.clone() }).await.unwrap();
    assert_eq!(store.write(DeleteApiKey { id: other }).await.unwrap_err().kind(), ErrorKind::NotFound);
    let page = store.api_keys(&Scope::All, None, 10).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), [key_id(1)]);
}
