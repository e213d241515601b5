//! What is special about PostgreSQL: a connection that breaks, a server that restarts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use heldar_base::Scope;
use heldar_store::op::{AdvanceCursor, AppendEvents, EnsureConsumer, PutSetting, RunApp};
use heldar_store::{AppMigration, AppScript, AppSql, Condition, ErrorKind, Store};
use heldar_testkit::{PostgresCluster, Stop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Db, at, cluster, create_feed, event};

/// What a proxy does to the next COMMIT that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It arrives, its answer does not.
    LoseAnswer,
    /// It does not arrive.
    LoseCommit,
    /// The client is cut off at once, and the COMMIT arrives later.
    Late,
}

/// Passes connections on to the server.
struct Proxy {
    port: u16,
    fault: Arc<Mutex<Fault>>,
}

impl Proxy {
    async fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(Mutex::new(Fault::None));
        let shared = Arc::clone(&fault);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(pass(client, upstream, Arc::clone(&shared)));
            }
        });
        Proxy { port, fault }
    }

    fn inject(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

/// Passes bytes both ways until one side ends or a fault happens.
async fn pass(mut client: TcpStream, mut server: TcpStream, fault: Arc<Mutex<Fault>>) {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                let commits = up[..count].windows(7).any(|bytes| bytes == b"COMMIT\0");
                let fault = if commits { std::mem::replace(&mut *fault.lock().unwrap(), Fault::None) } else { Fault::None };
                match fault {
                    Fault::None => server.write_all(&up[..count]).await.unwrap(),
                    Fault::LoseCommit => return,
                    Fault::LoseAnswer => {
                        server.write_all(&up[..count]).await.unwrap();
                        let _answer = server.read(&mut down).await.unwrap();
                        return;
                    }
                    Fault::Late => {
                        drop(client);
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        server.write_all(&up[..count]).await.unwrap();
                        let _answer = server.read(&mut down).await;
                        return;
                    }
                }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn setting(key: &str) -> PutSetting {
    PutSetting { key: key.to_owned(), value: "x".to_owned(), now: at(0) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_is_looked_up() {
    let url = cluster().create_database().unwrap();
    let name = url.rsplit('/').next().unwrap().to_owned();
    let proxy = Proxy::start(cluster().port()).await;
    let db = Db::at(cluster().url(proxy.port, &name));
    let store = db.open().await;
    for (fault, stored) in [(Fault::LoseAnswer, true), (Fault::LoseCommit, false), (Fault::Late, true)] {
        proxy.inject(fault);
        let key = format!("{fault:?}");
        let outcome = store.write(setting(&key)).await;
        let kind = outcome.map_err(|error| error.kind());
        assert_eq!(kind, if stored { Ok(()) } else { Err(ErrorKind::Unavailable) }, "{fault:?}");
        let keys: Vec<_> = store.settings(&Scope::All).await.unwrap().into_iter().map(|s| s.key).collect();
        assert_eq!(keys.contains(&key), stored, "{fault:?}: {keys:?}");
        // The writer is back, or comes back.
        store.health().wait_for(|health| health.condition == Condition::Up).await.unwrap();
        store.write(setting("after")).await.unwrap();
    }
    assert_eq!(store.health().borrow().lost_groups, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apps_effects_share_a_lost_commit() {
    let url = cluster().create_database().unwrap();
    let name = url.rsplit('/').next().unwrap().to_owned();
    let proxy = Proxy::start(cluster().port()).await;
    let db = Db::at(cluster().url(proxy.port, &name));
    let store = db.open().await;
    let table = AppScript::new("CREATE TABLE zones_seen (seq BIGINT PRIMARY KEY)");
    store
        .migrate_app("zones", &[AppMigration { version: 1, name: "seen", sql: table }], at(0))
        .await
        .unwrap();
    store.write(EnsureConsumer { name: "zones".into(), now: at(0) }).await.unwrap();
    let see = AppSql::new("INSERT INTO zones_seen (seq) VALUES ($1)");
    let take = async |seq: i64| {
        let advance = AdvanceCursor { consumer: "zones".into(), seq, low_seq: seq, now: at(1) };
        let run = RunApp { app: "zones".into(), statements: vec![see.with(vec![seq.into()])] };
        store.write_all(vec![advance.into(), run.into()]).await.map(drop).map_err(|error| error.kind())
    };
    for (fault, seq, stored) in
        [(Fault::LoseAnswer, 1, true), (Fault::LoseCommit, 2, false), (Fault::Late, 3, true)]
    {
        proxy.inject(fault);
        // What is to be waited for is never told as a refusal.
        assert_eq!(take(seq).await, if stored { Ok(()) } else { Err(ErrorKind::Unavailable) }, "{fault:?}");
        store.health().wait_for(|health| health.condition == Condition::Up).await.unwrap();
        let again = if stored { Err(ErrorKind::Conflict) } else { Ok(()) };
        assert_eq!(take(seq).await, again, "{fault:?}");
    }
    assert_eq!(db.numbers("SELECT seq FROM zones_seen ORDER BY seq").await, [[1], [2], [3]]);
    assert_eq!(store.consumer(&Scope::All, "zones").await.unwrap().unwrap().low_seq, 3);
}

#[tokio::test]
async fn all_text_compares_bytewise() {
    let db = Db::postgres();
    db.open().await.close().await;
    let linguistic = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = 'public'
        AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'";
    assert_eq!(db.numbers(linguistic).await, [[0]]);
}

/// Writes until it has been answered `rounds` times; unavailable writes are sent again. The event numbers it got.
async fn write_through(store: Store, writer: u128, rounds: u128) -> Vec<i64> {
    let mut seqs = Vec::new();
    let mut round = 0;
    while round < rounds {
        let number = writer * 10_000 + round;
        let done = async {
            let events = AppendEvents { events: vec![event(number, None, 0)] };
            let seq = store.write(events).await?;
            store.write(setting(&number.to_string())).await?;
            Ok::<_, heldar_store::StoreError>(seq)
        };
        match done.await {
            Ok(seq) => {
                seqs.extend(seq);
                round += 1;
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy), "{error:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    seqs
}

async fn restart_while_writing(how: Stop) {
    let cluster = Arc::new(PostgresCluster::start().unwrap_or_else(|error| panic!("{error}")));
    let db = Db::at(cluster.create_database().unwrap());
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    let writers: Vec<_> =
        (0..8).map(|writer| tokio::spawn(write_through(store.clone(), writer, 150))).collect();
    let mut health = store.health();
    for _ in 0..2 {
        while store.settings(&Scope::All).await.unwrap().len() < 30 {}
        let stopped = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || stopped.stop(how).unwrap()).await.unwrap();
        health.wait_for(|health| health.condition == Condition::Down).await.unwrap();
        let refused = store.write(feed.sealed(0, 1)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(store.settings(&Scope::All).await.is_err());
        let started = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || started.resume().unwrap()).await.unwrap();
        health.wait_for(|health| health.condition == Condition::Up).await.unwrap();
    }
    let mut seqs = Vec::new();
    for writer in writers {
        seqs.extend(writer.await.unwrap());
    }
    seqs.sort_unstable();
    assert!(seqs.windows(2).all(|pair| pair[0] != pair[1]), "a number was used twice");
    // Settings are fully synced: all that were answered are there, however the server ended.
    assert_eq!(store.settings(&Scope::All).await.unwrap().len(), 8 * 150);
    if how == Stop::Fast {
        assert_eq!(store.health().borrow().lost_groups, 0);
        assert_eq!(db.numbers("SELECT COUNT(*) FROM event").await, [[8 * 150]]);
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restarts_while_writing() {
    restart_while_writing(Stop::Fast).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_crashes_while_writing() {
    restart_while_writing(Stop::Immediate).await;
}
