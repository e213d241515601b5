//! What is special about SQLite: the file, its log, its locks.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use heldar_base::Scope;
use heldar_store::op::{PutSegment, PutSetting};
use heldar_store::{DatabaseUrl, Engine};

use crate::world::{Db, at, create_feed};

fn path(db: &Db) -> PathBuf {
    match &db.url {
        DatabaseUrl::Sqlite(path) => path.clone(),
        DatabaseUrl::Postgres(_) => panic!("not a file"),
    }
}

#[tokio::test]
async fn the_file_is_set_up_once() {
    let db = Db::sqlite();
    let store = db.open().await;
    assert_eq!(store.engine(), Engine::Sqlite);
    let mode = std::fs::metadata(path(&db)).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert_eq!(db.numbers("PRAGMA auto_vacuum").await, [[2]], "incremental");
    let size = store.size().await.unwrap();
    assert!(size.used_bytes > 50_000 && size.used_bytes < 1_000_000, "{size:?}");
    store.close().await;
    let log = path(&db).with_file_name("heldar.db-wal");
    assert!(!log.exists(), "an orderly end leaves no log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded() {
    let db = Db::sqlite();
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    let log = path(&db).with_file_name("heldar.db-wal");
    let mut longest = 0;
    for start in 0..400 {
        let index = Some(vec![7; 512 << 10]);
        store.write(PutSegment { index, ..feed.sealed(start, start + 1) }).await.unwrap();
        store.segment(&Scope::All, feed.id(start)).await.unwrap();
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }
    // 200 MiB went through. Above 32 MiB the log is started anew, at the latest a second later.
    assert!(longest > 4 << 20, "{longest}");
    assert!(longest < 64 << 20, "{longest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_lock_is_waited_for() {
    let db = Db::sqlite();
    let store = db.open().await;
    let holder = rusqlite::Connection::open(path(&db)).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes: Vec<_> = (0..64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = format!("k{number}");
                store.write(PutSetting { key, value: "x".into(), now: at(0) }).await
            })
        })
        .collect();
    // Long enough for the writer to have met the lock.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(writes.iter().all(|write| !write.is_finished()));
    holder.execute_batch("ROLLBACK").unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
}
