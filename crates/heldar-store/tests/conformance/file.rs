//! What is special about SQLite: the file, its log, its locks.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use heldar_base::Scope;
use heldar_store::op::{PutSegment, PutSetting};
use heldar_store::{Condition, DatabaseUrl, Engine, ErrorKind, Store, StoreConfig, TimeRange};

use crate::world::{Db, at, create_feed, main_stream};

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

/// Names the database of a child process whose files cannot grow past a limit.
const CHILD: &str = "HELDAR_STORE_TEST_LIMITED";

/// The child: writes until there is no room, says so, waits for room, and goes on. Does nothing when it is not one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_without_room() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let config = StoreConfig { url: url.parse().unwrap(), max_connections: 4, now: at(0) };
    let store = Store::open(config).await.unwrap();
    let feed = create_feed(&store, "a").await;
    let mut stored = 0;
    let error = loop {
        let index = Some(vec![7; 64 << 10]);
        match store.write(PutSegment { index, ..feed.sealed(stored, stored + 1) }).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    // What is there can still be read.
    let page =
        store.segments(&Scope::All, &main_stream("a"), TimeRange::default(), None, 5000).await.unwrap();
    assert_eq!(page.rows.len(), usize::try_from(stored).unwrap());
    println!("no room");
    loop {
        let index = Some(vec![7; 64 << 10]);
        match store.write(PutSegment { index, ..feed.sealed(stored, stored + 1) }).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        }
        store.health().wait_for(|health| health.condition == Condition::Up).await.unwrap();
    }
    let totals = store.streams(&Scope::All).await.unwrap()[0].totals;
    assert_eq!(totals.segment_count, stored + 1);
    println!("room again");
    store.close().await;
}

#[test]
fn no_room_is_survived() {
    use std::io::BufRead as _;
    let db = Db::sqlite();
    // Half of 1 KiB is the unit of the limit; without the signal a write that exceeds it fails.
    let limited =
        "trap '' XFSZ; ulimit -S -f 12288; exec \"$0\" file::child_without_room --exact --nocapture";
    let mut child = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, db.text())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.ends_with("no room") {
            let pid = child.id().to_string();
            let raised =
                std::process::Command::new("prlimit").args(["--fsize=unlimited", "--pid", &pid]).status();
            assert!(raised.unwrap().success());
        }
        said.push(line);
    }
    assert!(child.wait().unwrap().success(), "{said:?}");
    assert!(said.iter().any(|line| line.ends_with("room again")), "{said:?}");
}
