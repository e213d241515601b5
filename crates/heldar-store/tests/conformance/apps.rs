//! Statements and reads of apps.

use heldar_base::{Scope, WallTime};
use heldar_store::inspect::{Schema, inspect};
use heldar_store::op::{
    AdvanceCursor, AppendEvents, CreateCamera, EnsureConsumer, PutSetting, RunApp, WriteOp,
};
use heldar_store::{
    APP_ROWS, AppMigration, AppScript, AppSql, AppStatement, AppValue, Condition, DatabaseUrl, ErrorKind,
    Outcome, Store, StoreConfig, StoreError,
};

use crate::world::{Db, at, camera, create_camera, event, fields};

const TABLES: AppScript = AppScript::each(
    "CREATE TABLE zones_seen (seq INTEGER PRIMARY KEY, label TEXT CHECK (length(label) > 0)) STRICT;
     CREATE TABLE zones_part (seq INTEGER NOT NULL REFERENCES zones_seen (seq)) STRICT;
     CREATE TABLE zones_value (id INTEGER PRIMARY KEY, n INTEGER, r REAL, t TEXT, b BLOB) STRICT;
     CREATE VIEW zones_view AS SELECT seq FROM zones_seen;
     CREATE TRIGGER zones_view_put INSTEAD OF INSERT ON zones_view BEGIN
        INSERT INTO zones_seen (seq, label) VALUES (NEW.seq, 'by a view');
     END",
    "CREATE TABLE zones_seen (seq BIGINT PRIMARY KEY, label TEXT COLLATE \"C\" CHECK (length(label) > 0));
     CREATE TABLE zones_part (seq BIGINT NOT NULL REFERENCES zones_seen (seq));
     CREATE TABLE zones_value (id BIGINT PRIMARY KEY, n BIGINT, r DOUBLE PRECISION, t TEXT COLLATE \"C\", b BYTEA,
        small SMALLINT, flag BOOLEAN);
     CREATE VIEW zones_view AS SELECT seq FROM zones_seen",
);
const SEE: AppSql = AppSql::new("INSERT INTO zones_seen (seq, label) VALUES ($1, $2)");
const SEEN: AppSql = AppSql::new("SELECT seq FROM zones_seen ORDER BY seq");
const PUT: AppSql = AppSql::new("INSERT INTO zones_value (id, n, r, t, b) VALUES ($1, $2, $3, $4, $5)");
const GET: AppSql = AppSql::new("SELECT n, r, t, b FROM zones_value WHERE id = $1");

/// A store with the tables of an app and its cursor at 0.
async fn with_app(db: &Db) -> Store {
    let store = db.open().await;
    let steps = [AppMigration { version: 1, name: "first", sql: TABLES }];
    store.migrate_app("zones", &steps, at(0)).await.unwrap();
    store.write(EnsureConsumer { name: "zones".into(), now: at(0) }).await.unwrap();
    store
}

fn run(statements: Vec<AppStatement>) -> RunApp {
    RunApp { app: "zones".into(), statements }
}

fn see(seq: i64, label: &str) -> AppStatement {
    SEE.with(vec![seq.into(), label.into()])
}

fn advance(seq: i64) -> AdvanceCursor {
    AdvanceCursor { consumer: "zones".into(), seq, low_seq: seq, now: at(1) }
}

async fn seen(store: &Store) -> Vec<i64> {
    let rows = store.app_rows(&SEEN, Vec::new()).await.unwrap();
    rows.iter().map(|row| row.int(0).unwrap()).collect()
}

async fn low_seq(store: &Store) -> i64 {
    store.consumer(&Scope::All, "zones").await.unwrap().unwrap().low_seq
}

pub(crate) async fn effects_stand_or_fall_with_the_cursor(db: Db) {
    let store = with_app(&db).await;
    create_camera(&store, "a").await;
    let write = async |seq, statements: Vec<AppStatement>, number: u128| {
        let events = AppendEvents { events: vec![event(number, Some("a"), 0)] };
        let ops: Vec<WriteOp> = vec![advance(seq).into(), run(statements).into(), events.into()];
        store.write_all(ops).await
    };
    let mut outcomes: Vec<Outcome> = write(7, vec![see(7, "x"), see(8, "y")], 1).await.unwrap();
    assert_eq!(outcomes.remove(1).of::<RunApp>().unwrap(), [1, 1]);
    assert_eq!((seen(&store).await, low_seq(&store).await), (vec![7, 8], 7));
    // The same batch once more: the cursor refuses, so that nothing is made of it again.
    let again = write(7, vec![see(9, "x")], 2).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    // A statement that is refused takes the cursor, what ran before it, and the event with it.
    let refused = write(10, vec![see(10, "x"), see(8, "again")], 3).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Rejected);
    assert_eq!((seen(&store).await, low_seq(&store).await), (vec![7, 8], 7));
    assert_eq!(db.numbers("SELECT COUNT(*) FROM event").await, [[1]]);
    write(10, vec![see(10, "x")], 3).await.unwrap();
    assert_eq!((seen(&store).await, low_seq(&store).await), (vec![7, 8, 10], 10));
    // Each statement sees what those before it did, and tells what it changed.
    let rename = AppSql::new("UPDATE zones_seen SET label = $2 WHERE seq >= $1");
    let remove = AppSql::new("DELETE FROM zones_seen WHERE label = $1");
    let statements = vec![
        rename.with(vec![8i64.into(), "new".into()]),
        remove.with(vec!["old".into()]),
        remove.with(vec!["new".into()]),
    ];
    assert_eq!(store.write(run(statements)).await.unwrap(), [2, 0, 2]);
    assert_eq!(store.write(run(Vec::new())).await.unwrap(), [0u64; 0]);
    assert_eq!(seen(&store).await, [7]);
}

pub(crate) async fn a_refused_statement_is_told(db: Db) {
    let store = with_app(&db).await;
    store.write(run(vec![see(1, "x")])).await.unwrap();
    let plain = |text: &'static str| AppSql::new(text).with(Vec::new());
    let value = |at: usize, value: AppValue| {
        let mut values =
            vec![AppValue::Int(1), AppValue::Null, AppValue::Null, AppValue::Null, AppValue::Null];
        values[at] = value;
        PUT.with(values)
    };
    let cases: Vec<(AppStatement, &str)> = vec![
        // By the database: a constraint of each kind, a text that is none.
        (see(1, "x"), "zones_seen"),
        (see(2, ""), "constraint"),
        (plain("INSERT INTO zones_part VALUES (77)"), "constraint"),
        (plain("INSERT INTO zones_part VALUES (NULL)"), "constraint"),
        // One that ends the transaction by itself.
        (
            AppSql::each(
                "INSERT OR ROLLBACK INTO zones_seen (seq) VALUES ($1)",
                "INSERT INTO zones_seen (seq) VALUES ($1)",
            )
            .with(vec![1i64.into()]),
            "zones_seen",
        ),
        (plain("INSERT INTO zones_absent VALUES (1)"), "zones_absent"),
        (plain("UPDATE zones_seen SET"), ""),
        // A value of another type than its column.
        (value(1, "x".into()), ""),
        (value(2, "x".into()), ""),
        (value(4, "x".into()), ""),
        // Before the database is asked.
        (value(2, f64::NAN.into()), "not a number"),
        (value(3, "a\0b".into()), "NUL"),
        (SEE.with(vec![2i64.into()]), "has 2 places and was given 1 values"),
        (SEE.with(vec![2i64.into(), "x".into(), 3i64.into()]), "has 2 places and was given 3 values"),
        (
            AppSql::each("DELETE FROM zones_seen WHERE seq = $1", "DELETE FROM zones_seen")
                .with(vec![1i64.into()]),
            "different places",
        ),
        (plain("DELETE FROM zones_seen; COMMIT"), "more than one statement"),
        (plain("DELETE FROM zones_seen; DELETE FROM zones_value"), "more than one statement"),
        (plain("-- done\nCOMMIT"), "begins with none of"),
        (plain("/* */ rollback"), "begins with none of"),
        (plain("BEGIN"), "begins with none of"),
        (plain("SAVEPOINT a"), "begins with none of"),
        (plain("RELEASE a"), "begins with none of"),
        (plain("PRAGMA foreign_keys = OFF"), "begins with none of"),
        (plain("ATTACH 'x' AS x"), "begins with none of"),
        (plain("VACUUM"), "begins with none of"),
        (plain("SELECT seq FROM zones_seen"), "a change begins with"),
        (plain("WITH x AS (SELECT 1) SELECT 1 FROM x"), "answers with rows"),
        (plain("DELETE FROM zones_seen RETURNING seq"), "answers with rows"),
    ];
    for (number, (statement, reason)) in cases.into_iter().enumerate() {
        // Behind one that is fine, so that there is something to take back.
        let text = format!("{statement:?}");
        let ops: Vec<WriteOp> = vec![
            advance(50).into(),
            run(vec![see(100, "x"), statement]).into(),
            PutSetting { key: "k".into(), value: "v".into(), now: at(1) }.into(),
        ];
        let error: StoreError = store.write_all(ops).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{number} {text}: {error:?}");
        let told = error.to_string();
        assert!(told.starts_with("app `zones`: statement 2 was refused: "), "{number} {text}: {told}");
        assert!(told.contains(reason) && told.len() > 45, "{number} {text}: {told}");
    }
    assert_eq!((seen(&store).await, low_seq(&store).await), (vec![1], 0));
    assert!(store.settings(&Scope::All).await.unwrap().is_empty());
    let health = *store.health().borrow();
    assert_eq!((health.condition, health.lost_groups), (Condition::Up, 0));
    // And the writer goes on.
    store.write(run(vec![see(2, "x")])).await.unwrap();
}

pub(crate) async fn neighbours_of_a_refused_statement_commit(db: Db) {
    let store = with_app(&db).await;
    let mut tasks = Vec::new();
    for number in 0..60i64 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            match number % 6 {
                0 => store.write(run(vec![see(number, "x"), see(number, "x")])).await.map(drop),
                1 => {
                    let leave = AppSql::new("DELETE FROM zones_seen; ROLLBACK").with(Vec::new());
                    store.write(run(vec![leave])).await.map(drop)
                }
                2 => {
                    let setting = PutSetting { key: format!("k{number}"), value: "x".into(), now: at(0) };
                    store.write(setting).await
                }
                3 => store
                    .write(AppendEvents { events: vec![event(1 + number as u128, None, 0)] })
                    .await
                    .map(drop),
                _ => store.write(run(vec![see(number, "x")])).await.map(drop),
            }
        }));
    }
    for (number, task) in tasks.into_iter().enumerate() {
        let kind = task.await.unwrap().map_err(|error| error.kind());
        let expect = if number % 6 < 2 { Err(ErrorKind::Rejected) } else { Ok(()) };
        assert_eq!(kind, expect, "{number}");
    }
    assert_eq!(seen(&store).await, (0..60).filter(|number| number % 6 > 3).collect::<Vec<_>>());
    assert_eq!(store.settings(&Scope::All).await.unwrap().len(), 10);
    assert_eq!(db.numbers("SELECT COUNT(*) FROM event").await, [[10]]);
}

/// A trigger in place of an INSERT on SQLite, and one inside WITH on PostgreSQL, count no rows.
pub(crate) async fn a_refused_neighbour_takes_back_what_is_not_counted(db: Db) {
    let store = with_app(&db).await;
    create_camera(&store, "taken").await;
    let sql = AppSql::each(
        "INSERT INTO zones_view (seq) VALUES ($1)",
        "WITH put AS (INSERT INTO zones_seen (seq) VALUES ($1)) UPDATE zones_seen SET label = 'x' WHERE seq = -1",
    );
    let put = |seq: i64| run(vec![sql.with(vec![seq.into()])]);
    assert_eq!(store.write(put(1)).await.unwrap(), [0]);
    let create = CreateCamera { id: camera("taken"), fields: fields("taken"), now: at(0) };
    let ops: Vec<WriteOp> = vec![put(2).into(), create.into()];
    assert_eq!(store.write_all(ops).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(seen(&store).await, [1]);
}

pub(crate) async fn values_come_back(db: Db) {
    let store = with_app(&db).await;
    let rows: Vec<[AppValue; 4]> = vec![
        [0i64.into(), 0.0.into(), "".into(), Vec::new().into()],
        [i64::MIN.into(), f64::MIN_POSITIVE.into(), "ünï\u{1f4f7}\n'\"$1;--".into(), vec![0u8, 255].into()],
        [i64::MAX.into(), f64::INFINITY.into(), " ".into(), vec![39u8; 5000].into()],
        [AppValue::Null, AppValue::Null, AppValue::Null, AppValue::Null],
        [true.into(), (-1.5).into(), String::from("x").into(), b"x".to_vec().into()],
        [WallTime(5).into(), 1e300.into(), camera("front").into(), AppValue::Null],
        [Some(7u32).into(), Some(0.1).into(), None::<&str>.into(), None::<Vec<u8>>.into()],
        [(-3i32).into(), 2.0.into(), (&camera("yard")).into(), AppValue::Null],
    ];
    for (id, row) in rows.iter().enumerate() {
        let mut values = vec![AppValue::Int(id as i64)];
        values.extend_from_slice(row);
        assert_eq!(store.write(run(vec![PUT.with(values)])).await.unwrap(), [1]);
    }
    for (id, [n, r, t, b]) in rows.iter().enumerate() {
        let found = store.app_rows(&GET, vec![AppValue::Int(id as i64)]).await.unwrap();
        let [row] = &found[..] else { panic!("{found:?}") };
        assert_eq!(AppValue::from(row.opt_int(0).unwrap()), *n);
        assert_eq!(AppValue::from(row.opt_real(1).unwrap()), *r);
        assert_eq!(AppValue::from(row.opt_text(2).unwrap()), *t);
        assert_eq!(AppValue::from(row.opt_bytes(3).unwrap().map(<[u8]>::to_vec)), *b);
        assert_eq!(row.int(1).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(row.int(4).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert!(store.app_rows(&GET, vec![99i64.into()]).await.unwrap().is_empty());
}

/// What a place takes does not depend on who came first.
pub(crate) async fn values_are_of_their_place(db: Db) {
    let store = with_app(&db).await;
    let put = async |id: i64, n: AppValue, r: AppValue| {
        let values = vec![id.into(), n, r, AppValue::Null, AppValue::Null];
        store.write(run(vec![PUT.with(values)])).await.map(drop).map_err(|error| error.kind())
    };
    assert_eq!(put(1, AppValue::Null, 5i64.into()).await, Ok(()));
    assert_eq!(put(2, 6i64.into(), 5.5.into()).await, Ok(()));
    assert_eq!(put(3, "eight ch".into(), AppValue::Null).await, Err(ErrorKind::Rejected));
    assert_eq!(put(4, 5.5.into(), AppValue::Null).await, Err(ErrorKind::Rejected));
    let real = async |id: i64| store.app_rows(&GET, vec![id.into()]).await.unwrap()[0].real(1).unwrap();
    assert_eq!((real(1).await, real(2).await), (5.0, 5.5));
    // Columns that are computed, and places that only a CAST decides.
    let computed = AppSql::new(
        "SELECT COUNT(*), CAST(SUM(n) AS BIGINT), MAX(r) > $1, CAST($2 AS BIGINT) FROM zones_value WHERE id < $3",
    );
    let values = vec![5i64.into(), 1_767_225_600_000_000i64.into(), 3i64.into()];
    let row = &store.app_rows(&computed, values).await.unwrap()[0];
    assert_eq!((row.int(0).unwrap(), row.int(1).unwrap(), row.int(2).unwrap()), (2, 6, 1));
    assert_eq!(row.int(3).unwrap(), 1_767_225_600_000_000);
    if let DatabaseUrl::Postgres(_) = db.url {
        let narrow = AppSql::new("UPDATE zones_value SET small = $1, flag = $2");
        let set = async |small: i64, flag: i64| {
            let outcome = store.write(run(vec![narrow.with(vec![small.into(), flag.into()])])).await;
            outcome.map_err(|error| error.to_string())
        };
        assert_eq!(set(-7, 1).await, Ok(vec![2]));
        assert!(set(40_000, 1).await.unwrap_err().contains("place $1 takes INT2"), "too large");
        assert!(set(1, 2).await.unwrap_err().contains("place $2 takes BOOL, not a whole number"));
        let read = AppSql::new("SELECT small, flag FROM zones_value WHERE flag = $1 LIMIT 1");
        let row = &store.app_rows(&read, vec![true.into()]).await.unwrap()[0];
        assert_eq!((row.int(0).unwrap(), row.int(1).unwrap()), (-7, 1));
        let sum = AppSql::new("SELECT SUM(n) AS total FROM zones_value");
        let refused = store.app_rows(&sum, Vec::new()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Rejected);
        assert!(refused.to_string().contains("`total` is of the type NUMERIC"), "{refused}");
    }
}

pub(crate) async fn reads_are_bounded(db: Db) {
    let store = with_app(&db).await;
    let numbers = AppSql::each(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < $1) SELECT x FROM n",
        "SELECT generate_series(1, CAST($1 AS BIGINT))",
    );
    let most = APP_ROWS as i64;
    let rows = store.app_rows(&numbers, vec![most.into()]).await.unwrap();
    assert_eq!((rows.len(), rows[APP_ROWS - 1].int(0).unwrap()), (APP_ROWS, most));
    // On every connection, so that none is left with rows that nobody took.
    for _ in 0..5 {
        let refused = store.app_rows(&numbers, vec![(most + 1).into()]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Rejected);
        assert!(refused.to_string().contains("more than 100000 rows"), "{refused}");
    }
    assert!(seen(&store).await.is_empty());
}

pub(crate) async fn reads_do_not_write(db: Db) {
    let store = with_app(&db).await;
    store.write(run(vec![see(1, "x")])).await.unwrap();
    let refused = async |sql: AppSql, values: Vec<AppValue>| {
        let error = store.app_rows(&sql, values).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{sql:?}: {error:?}");
        let told = error.to_string();
        assert!(told.starts_with("a read of an app was refused: "), "{told}");
        told
    };
    assert!(refused(SEE, vec![2i64.into(), "x".into()]).await.contains("a read begins with"));
    let returning = AppSql::new("DELETE FROM zones_seen RETURNING seq");
    assert!(refused(returning, Vec::new()).await.contains("a read begins with"));
    let hidden = AppSql::each(
        "WITH x AS (SELECT 1) DELETE FROM zones_seen RETURNING seq",
        "WITH x AS (DELETE FROM zones_seen RETURNING seq) SELECT seq FROM x",
    );
    assert!(refused(hidden, Vec::new()).await.contains("it writes"));
    let plain = AppSql::new("WITH x AS (SELECT 5) DELETE FROM zones_seen");
    assert!(refused(plain, Vec::new()).await.contains("it writes"));
    for text in ["BEGIN", "PRAGMA query_only = OFF", "SET transaction_read_only = off", "SELECT 1; COMMIT"] {
        refused(AppSql::new(text), Vec::new()).await;
    }
    let absent = refused(AppSql::new("SELECT a FROM zones_absent"), Vec::new()).await;
    assert!(absent.contains("zones_absent"), "{absent}");
    assert!(refused(GET, Vec::new()).await.contains("1 places"));
    assert_eq!(seen(&store).await, [1]);
    // The same in a store that was opened for reading alone.
    let reader = Store::open_read_only(db.config()).await.unwrap();
    assert_eq!(seen(&reader).await, [1]);
    assert_eq!(reader.app_rows(&hidden, Vec::new()).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(reader.write(run(vec![see(2, "x")])).await.unwrap_err().kind(), ErrorKind::Unavailable);
    store.close().await;
    assert_eq!(store.app_rows(&SEEN, Vec::new()).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

pub(crate) async fn app_tables_confuse_nobody(db: Db) {
    let store = with_app(&db).await;
    let before = store.size().await.unwrap().used_bytes;
    // Bytes that no engine makes shorter.
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let rows = (0..64i64).map(|id| {
        let bytes: Vec<u8> = (0..16_384).map(|_| noise()).collect();
        PUT.with(vec![id.into(), AppValue::Null, AppValue::Null, AppValue::Null, bytes.into()])
    });
    store.write(run(rows.collect())).await.unwrap();
    let after = store.size().await.unwrap().used_bytes;
    assert!(after >= before + 64 * 16_384, "{before} {after}");
    assert!(store.stream_sums(&Scope::All).await.unwrap().is_empty());
    let found = inspect(&db.url).await.unwrap();
    assert_eq!(found.schema, Schema::Current { number: 6 });
    assert_eq!(found.contents.unwrap().cameras, 0);
    store.close().await;
    assert_eq!(db.open().await.app_rows(&SEEN, Vec::new()).await.unwrap(), []);
}

/// Names the database of a child process that takes batches until it is killed.
const CHILD: &str = "HELDAR_STORE_TEST_APP_CHILD";

/// The child: takes one batch after the other, each with its effect, and tells each that was answered. Does nothing when
/// it is not one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let config = StoreConfig { url: url.parse().unwrap(), max_connections: 4, now: at(0) };
    let store = Store::open(config).await.unwrap();
    let first = low_seq(&store).await + 1;
    for seq in first..first + 100_000 {
        let ops: Vec<WriteOp> = vec![advance(seq).into(), run(vec![see(seq, "x")]).into()];
        store.write_all(ops).await.unwrap();
        println!("taken {seq}");
    }
}

pub(crate) async fn effects_and_cursor_agree_after_a_kill(db: Db) {
    use std::io::BufRead as _;
    with_app(&db).await.close().await;
    let mut told = 0;
    for _ in 0..2 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["apps::child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD, db.text())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let until = told + 150;
        for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(seq) = line.strip_prefix("taken ") {
                told = seq.parse().unwrap();
            }
            if told == until {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(told >= until, "{told}");
        let store = db.open().await;
        let low = low_seq(&store).await;
        assert!(low >= told, "{low} {told}");
        assert_eq!(seen(&store).await, (1..=low).collect::<Vec<_>>());
        store.close().await;
        told = low;
    }
}
