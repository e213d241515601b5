//! Login sessions and sign-in protection.

use heldar_base::{Micros, Scope, Secret};
use heldar_store::op::{
    ClearFailures, CountFailure, EndSessions, EndSessionsOf, Failure, Prunable, Prune, SignIn, TouchSessions,
    UpdateAccount,
};
use heldar_store::{AccountFields, AuditFilter, ErrorKind, KnownClient, SignInFailure, Store};

use serde_json::json;

use crate::people::{create_person, failure, failures, hash, person, session, session_id, sign_in};
use crate::world::{Db, at, audit};

async fn session_ids(store: &Store, account: Option<&str>) -> Vec<String> {
    let page = store.sessions(&Scope::All, account, None, 100).await.unwrap();
    page.rows.into_iter().map(|row| row.id).collect()
}

async fn known(store: &Store, account: &str) -> Vec<KnownClient> {
    store.known_clients(&Scope::All, Some(account), None, 100).await.unwrap().rows
}

pub(crate) async fn a_sign_in_opens_a_session(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    let grace = create_person(&store, 2, "Grace", "viewer").await;
    for (account, client) in [(&ada, "source:a"), (&ada, "device:b"), (&grace, "source:a")] {
        store.write(failure(account, client, at(5))).await.unwrap();
    }
    let known_from_now = vec![("source:a".to_owned(), None), ("device:b".to_owned(), Some(at(500)))];
    let op = SignIn { known: known_from_now, ..sign_in(1, &ada, "source:a", 10) };
    store.write(op).await.unwrap();

    let page = store.sessions(&Scope::All, Some(&ada), None, 10).await.unwrap();
    assert_eq!(page.rows, [session(1, &ada, 10)]);
    assert!(!format!("{page:?}").contains(hash(1).expose()));
    let left = failures(&store).await;
    assert_eq!(left.iter().map(|row| row.account.as_str()).collect::<Vec<_>>(), [grace.as_str()]);
    let row = |client: &str, seconds, expires_at| KnownClient {
        account: ada.clone(),
        client: client.to_owned(),
        last_at: at(seconds),
        expires_at,
    };
    assert_eq!(known(&store, &ada).await, [row("device:b", 10, Some(at(500))), row("source:a", 10, None)]);
    let account = store.account(&Scope::All, &ada).await.unwrap().unwrap();
    assert_eq!((account.last_login_at, account.updated_at, account.revision), (Some(at(10)), at(1), 1));

    // Once more: the client is known anew, and both sessions go on.
    let op =
        SignIn { known: vec![("source:a".to_owned(), Some(at(700)))], ..sign_in(2, &ada, "source:a", 20) };
    store.write(op).await.unwrap();
    assert_eq!(
        known(&store, &ada).await,
        [row("device:b", 10, Some(at(500))), row("source:a", 20, Some(at(700)))]
    );
    assert_eq!(session_ids(&store, None).await, [session_id(1), session_id(2)]);
    assert_eq!(session_ids(&store, Some(&grace)).await, Vec::<String>::new());

    // A token is of one session.
    let mut again = sign_in(3, &grace, "source:a", 30);
    again.session.token_hash = hash(1);
    assert_eq!(store.write(again).await.unwrap_err().kind(), ErrorKind::Conflict);
    // Nobody signs in to an account that is not in use.
    let fields = AccountFields { active: false, ..person("Ada", "viewer") };
    store.write(UpdateAccount { id: ada.clone(), fields, revision: 1, now: at(40) }).await.unwrap();
    let refused = store.write(sign_in(4, &ada, "source:a", 50)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

pub(crate) async fn failures_lock_and_locks_run_out(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    let count = async |client: &str, seconds| {
        let on_lock = Some(Box::new(audit(u128::try_from(seconds).unwrap(), None, seconds)));
        let op = CountFailure { on_lock, ..failure(&ada, client, at(seconds)) };
        let Failure { failures, locked_until, newly_locked } = store.write(op).await.unwrap();
        (failures, locked_until, newly_locked)
    };
    assert_eq!(count("source:a", 0).await, (1, None, false));
    assert_eq!(count("source:b", 0).await, (1, None, false));
    assert_eq!(count("source:a", 1).await, (2, None, false));
    assert_eq!(count("source:a", 2).await, (3, Some(at(62)), true));
    // Neither the count nor the lock moves while it holds.
    for seconds in [3, 61] {
        assert_eq!(count("source:a", seconds).await, (3, Some(at(62)), false));
    }
    // The lock, and nothing else, has left its row.
    let rows = store.audit(&Scope::All, &AuditFilter::default(), None, 10).await.unwrap().rows;
    let details: Vec<_> = rows.into_iter().map(|row| row.detail).collect();
    assert_eq!(details, [json!({ "locked_until": at(62) })]);
    let row = |client: &str, failures, locked_until, seconds| SignInFailure {
        account: ada.clone(),
        client: client.to_owned(),
        failures,
        locked_until,
        updated_at: at(seconds),
    };
    assert_eq!(failures(&store).await, [row("source:a", 3, Some(at(62)), 2), row("source:b", 1, None, 0)]);

    // The right password does not help that client, however it is called; another one is let in.
    let op =
        SignIn { clients: vec!["device:x".into(), "source:a".into()], ..sign_in(1, &ada, "source:a", 30) };
    assert_eq!(store.write(op).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(session_ids(&store, None).await.is_empty());
    assert!(known(&store, &ada).await.is_empty());
    assert_eq!(store.account(&Scope::All, &ada).await.unwrap().unwrap().last_login_at, None);
    assert_eq!(failures(&store).await.len(), 2);

    // It has run out at its instant, and counting starts anew.
    assert_eq!(count("source:a", 62).await, (1, None, false));
    assert_eq!(count("source:a", 63).await, (2, None, false));
    assert_eq!(count("source:a", 64).await, (3, Some(at(124)), true));
    let other =
        SignIn { password_hash: Secret::new("another".to_owned()), ..sign_in(2, &ada, "source:b", 65) };
    let kind = store.write(other).await.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Conflict, "the password was changed while it was verified");
    store.write(sign_in(2, &ada, "source:b", 65)).await.unwrap();
    assert!(failures(&store).await.is_empty(), "a sign-in unlocks");

    for seconds in [70, 71, 72] {
        count("source:a", seconds).await;
    }
    let op = sign_in(3, &ada, "source:a", 132);
    store.write(op).await.expect("the lock has run out");

    for client in ["source:a", "source:b"] {
        count(client, 140).await;
    }
    let clear = ClearFailures { account: ada.clone() };
    assert_eq!(store.write(clear.clone()).await.unwrap(), 2);
    assert_eq!(store.write(clear).await.unwrap(), 0);
    let harmless = CountFailure { lock: Micros(0), max_failures: 1, ..failure(&ada, "source:a", at(150)) };
    let failure = store.write(harmless).await.unwrap();
    assert_eq!((failure.failures, failure.locked_until), (1, None));
}

pub(crate) async fn parallel_guesses_stop_at_the_threshold(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    let guesses: Vec<_> = (0..40)
        .map(|number| {
            let (store, op) = (store.clone(), failure(&ada, "source:a", at(number)));
            tokio::spawn(async move { store.write(op).await })
        })
        .collect();
    let mut answers = Vec::new();
    for guess in guesses {
        answers.push(guess.await.unwrap().unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| answer.newly_locked).count(), 1);
    assert!(answers.iter().all(|answer| answer.failures <= 3), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.locked_until.is_none()).count(), 2);
    assert_eq!(failures(&store).await[0].failures, 3);
}

pub(crate) async fn the_newest_clients_are_known(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    let grace = create_person(&store, 2, "Grace", "viewer").await;
    store.write(sign_in(1000, &grace, "source:0", 0)).await.unwrap();
    for number in 0..40u8 {
        let client = format!("source:{number}");
        store.write(sign_in(number.into(), &ada, &client, number.into())).await.unwrap();
        // One of the oldest keeps coming back.
        store.write(sign_in(100 + u128::from(number), &ada, "source:0", number.into())).await.unwrap();
    }
    let mut clients: Vec<_> = known(&store, &ada).await.into_iter().map(|row| row.client).collect();
    let mut expect: Vec<_> = (9..40).map(|number| format!("source:{number}")).collect();
    expect.push("source:0".to_owned());
    clients.sort();
    expect.sort();
    assert_eq!(clients, expect);
    assert_eq!(known(&store, &grace).await.len(), 1);
}

pub(crate) async fn sessions_are_used_and_end(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    let grace = create_person(&store, 2, "Grace", "viewer").await;
    for (number, account) in [(1, &ada), (2, &ada), (3, &ada), (4, &grace), (5, &grace)] {
        store.write(sign_in(number, account, "source:a", 10)).await.unwrap();
    }
    let touched = vec![(session_id(1), at(50), at(150)), (session_id(99), at(50), at(150))];
    store.write(TouchSessions { touched }).await.unwrap();
    let rows = store.sessions(&Scope::All, Some(&ada), None, 10).await.unwrap().rows;
    assert_eq!((rows[0].last_used_at, rows[0].expires_at, rows[0].created_at), (at(50), at(150), at(10)));
    assert_eq!((rows[1].last_used_at, rows[1].expires_at), (at(10), at(110)));

    let ids = vec![session_id(5), session_id(99)];
    assert_eq!(store.write(EndSessions { ids: ids.clone() }).await.unwrap(), 1);
    assert_eq!(store.write(EndSessions { ids }).await.unwrap(), 0);
    let all_but = |except: Option<String>| EndSessionsOf { account: ada.clone(), except };
    assert_eq!(store.write(all_but(Some(session_id(2)))).await.unwrap(), 2);
    assert_eq!(session_ids(&store, None).await, [session_id(2), session_id(4)]);
    assert_eq!(store.write(all_but(None)).await.unwrap(), 1);
    assert_eq!(session_ids(&store, None).await, [session_id(4)]);
}

pub(crate) async fn what_has_expired_is_pruned(db: Db) {
    let store = db.open().await;
    let ada = create_person(&store, 1, "Ada", "viewer").await;
    // Of each kind five rows that expire at 110, 120 ... 150, of failures ones that were last counted at 10 ... 50.
    for number in 1..=5u8 {
        let (seconds, client) = (i64::from(number) * 10, format!("source:{number}"));
        let known = vec![(client.clone(), Some(at(seconds + 100))), ("source:for ever".to_owned(), None)];
        let op = SignIn { known, ..sign_in(number.into(), &ada, &client, seconds) };
        store.write(op).await.unwrap();
    }
    for number in 1..=5u8 {
        store.write(failure(&ada, &format!("source:{number}"), at(i64::from(number) * 10))).await.unwrap();
    }
    // One that was locked out early and for long.
    let long = CountFailure { max_failures: 1, lock: Micros(1_000_000_000), ..failure(&ada, "long", at(1)) };
    store.write(long).await.unwrap();
    for (what, before) in
        [(Prunable::Sessions, 140), (Prunable::KnownClients, 140), (Prunable::SignInFailures, 40)]
    {
        let prune = |limit| Prune { what, before: at(before), limit };
        assert_eq!(store.write(prune(2)).await.unwrap(), 2, "{what:?}");
        assert_eq!(store.write(prune(500)).await.unwrap(), 1, "{what:?}");
        assert_eq!(store.write(prune(500)).await.unwrap(), 0, "{what:?}");
    }
    assert_eq!(session_ids(&store, None).await, [session_id(4), session_id(5)]);
    let clients: Vec<_> = known(&store, &ada).await.into_iter().map(|row| row.client).collect();
    assert_eq!(clients, ["source:4", "source:5", "source:for ever"]);
    let clients: Vec<_> = failures(&store).await.into_iter().map(|row| row.client).collect();
    assert_eq!(clients, ["long", "source:4", "source:5"]);
    let late = Prune { what: Prunable::SignInFailures, before: at(2000), limit: 500 };
    assert_eq!(store.write(late).await.unwrap(), 3);
}
