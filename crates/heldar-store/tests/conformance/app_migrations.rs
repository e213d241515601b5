//! Schema steps of apps.

use heldar_store::inspect::{Schema, inspect};
use heldar_store::op::RunApp;
use heldar_store::{AppMigration, AppScript, AppSql, DatabaseUrl, ErrorKind, Store, StoreError};

use crate::world::{Db, at};

const FIRST: AppScript = AppScript::each(
    "CREATE TABLE zones_area (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
     CREATE UNIQUE INDEX zones_area_name ON zones_area (name)",
    "CREATE TABLE zones_area (id BIGINT PRIMARY KEY, name TEXT COLLATE \"C\" NOT NULL);
     CREATE UNIQUE INDEX zones_area_name ON zones_area (name)",
);
const SECOND: AppScript = AppScript::new(
    "ALTER TABLE zones_area ADD COLUMN note TEXT;
     INSERT INTO zones_area (id, name, note) VALUES (1, 'yard', '; -- it''s');",
);
const COUNT: AppSql = AppSql::new("SELECT COUNT(*) FROM zones_area");

fn step(version: u32, name: &'static str, sql: AppScript) -> AppMigration {
    AppMigration { version, name, sql }
}

fn both() -> [AppMigration; 2] {
    [step(1, "areas", FIRST), step(2, "notes", SECOND)]
}

/// The kind and text of a refusal.
async fn refused(store: &Store, component: &str, steps: &[AppMigration]) -> (ErrorKind, String) {
    let error: StoreError = store.migrate_app(component, steps, at(9)).await.unwrap_err();
    (error.kind(), error.to_string())
}

async fn recorded(db: &Db) -> Vec<Vec<i64>> {
    db.numbers(
        "SELECT number, applied_us FROM migration WHERE component <> 'core' ORDER BY component, number",
    )
    .await
}

/// Whether there is a table of this name.
async fn has_table(db: &Db, name: &str) -> bool {
    db.numbers(&match &db.url {
        DatabaseUrl::Sqlite(_) => format!("SELECT COUNT(*) FROM sqlite_master WHERE name = '{name}'"),
        DatabaseUrl::Postgres(_) => format!("SELECT COUNT(*) FROM pg_class WHERE relname = '{name}'"),
    })
    .await
        == [[1]]
}

pub(crate) async fn steps_are_applied_once(db: Db) {
    let store = db.open().await;
    assert_eq!(store.migrate_app("zones", &[], at(1)).await.unwrap(), 0);
    assert_eq!(store.migrate_app("zones", &both()[..1], at(1)).await.unwrap(), 1);
    assert_eq!(store.migrate_app("zones", &both(), at(2)).await.unwrap(), 1);
    assert_eq!(store.migrate_app("zones", &both(), at(3)).await.unwrap(), 0);
    assert_eq!(recorded(&db).await, [[1, at(1).0], [2, at(2).0]]);
    // Another app has steps of its own, with the same numbers.
    let other = step(1, "first", AppScript::each("CREATE TABLE entry_line (id INTEGER)", "-- nothing to do"));
    assert_eq!(store.migrate_app("entry_exit", &[other], at(4)).await.unwrap(), 1);
    store.close().await;
    // The store's own steps do not mind.
    assert_eq!(inspect(&db.url).await.unwrap().schema, Schema::Current { number: 6 });
    let store = db.open().await;
    assert_eq!(store.migrate_app("zones", &both(), at(5)).await.unwrap(), 0);
    assert_eq!(store.app_rows(&COUNT, Vec::new()).await.unwrap()[0].int(0).unwrap(), 1);
    assert_eq!(recorded(&db).await, [[1, at(4).0], [1, at(1).0], [2, at(2).0]]);
    Store::open_read_only(db.config()).await.unwrap().close().await;
}

pub(crate) async fn a_changed_step_stops_the_start(db: Db) {
    let store = db.open().await;
    store.migrate_app("zones", &both()[..1], at(1)).await.unwrap();
    // One space more, with a step behind that would be new.
    let changed =
        step(1, "areas", AppScript::each("CREATE TABLE  zones_area (id)", "CREATE TABLE  zones_area (id)"));
    let (kind, text) = refused(&store, "zones", &[changed, both()[1]]).await;
    assert_eq!(kind, ErrorKind::Corrupt);
    assert_eq!(
        text,
        "schema step 1 `areas` of app `zones` of the database differs from that of this version"
    );
    assert_eq!(recorded(&db).await, [[1, at(1).0]]);
    // An older version of the app finds what a newer one did.
    store.migrate_app("zones", &both(), at(2)).await.unwrap();
    let (kind, text) = refused(&store, "zones", &both()[..1]).await;
    assert_eq!(kind, ErrorKind::Corrupt);
    assert_eq!(
        text,
        "the database has schema step 2 `notes` of app `zones`, which this version does not know"
    );
    assert_eq!(refused(&store, "zones", &[]).await.0, ErrorKind::Corrupt);
    // A name may change.
    assert_eq!(store.migrate_app("zones", &[step(1, "regions", FIRST), both()[1]], at(3)).await.unwrap(), 0);
}

pub(crate) async fn a_refused_step_leaves_nothing(db: Db) {
    let store = db.open().await;
    let bad = AppScript::new("CREATE TABLE zones_half (a BIGINT); INSERT INTO zones_absent VALUES (1)");
    let steps = |last: AppMigration| [both()[0], both()[1], last];
    let (kind, text) = refused(&store, "zones", &steps(step(3, "half", bad))).await;
    assert_eq!(kind, ErrorKind::Rejected);
    assert!(text.starts_with("app `zones`: schema step 3 `half` was refused: "), "{text}");
    assert!(text.contains("zones_absent"), "{text}");
    assert!(!has_table(&db, "zones_half").await);
    // Those before it stay, and it can be mended.
    assert_eq!(recorded(&db).await.len(), 2);
    let mended = step(3, "half", AppScript::new("CREATE TABLE zones_half (a BIGINT)"));
    assert_eq!(store.migrate_app("zones", &steps(mended), at(3)).await.unwrap(), 1);
    assert!(has_table(&db, "zones_half").await);
}

pub(crate) async fn bad_lists_are_refused(db: Db) {
    let store = db.open().await;
    let long = "a".repeat(33);
    for component in ["", "Zones", "zones2", "zones-", "zönes", long.as_str(), "core"] {
        let (kind, text) = refused(&store, component, &both()).await;
        assert_eq!(kind, ErrorKind::Rejected);
        assert!(text.contains(&format!("`{component}`")), "{text}");
    }
    let [one, two] = both();
    for steps in [vec![two], vec![two, one], vec![one, one], vec![step(0, "areas", FIRST)]] {
        let (kind, text) = refused(&store, "zones", &steps).await;
        assert_eq!(kind, ErrorKind::Rejected);
        assert!(text.contains("is missing where"), "{text}");
    }
    for (sql, why) in [
        ("CREATE TABLE zones_x (a BIGINT); COMMIT; CREATE TABLE zones_y (a BIGINT)", "begins with COMMIT"),
        ("PRAGMA user_version = 7", "begins with PRAGMA"),
        ("SET search_path = a", "begins with SET"),
        (
            "CREATE TABLE zones_x (a BIGINT REFERENCES zones_area (id) DEFERRABLE INITIALLY DEFERRED)",
            "DEFERRED",
        ),
        ("CREATE TABLE zones_x (a TEXT DEFAULT 'open)", "does not end"),
    ] {
        // A defect of either text is told on both engines, before the first step.
        for script in [AppScript::each(sql, ""), AppScript::each("", sql)] {
            let (kind, text) = refused(&store, "zones", &[one, step(2, "bad", script)]).await;
            assert_eq!(kind, ErrorKind::Rejected);
            assert!(text.starts_with("app `zones`: schema step 2 `bad` is not taken ("), "{text}");
            assert!(text.contains(why), "{text}");
        }
    }
    assert!(recorded(&db).await.is_empty());
    assert!(!has_table(&db, "zones_area").await);
    store.close().await;
    assert_eq!(refused(&store, "zones", &both()).await.0, ErrorKind::Unavailable);
}

pub(crate) async fn bodies_hold_statements(db: Db) {
    let store = db.open().await;
    let script = AppScript::each(
        "CREATE TRIGGER zones_count AFTER INSERT ON zones_area BEGIN
            UPDATE zones_area SET note = 'first' WHERE id = NEW.id AND note IS NULL;
            UPDATE zones_area SET note = CASE WHEN note = 'first' THEN 'then; END' ELSE note END WHERE id = NEW.id;
         END",
        "CREATE FUNCTION zones_count() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN
            NEW.note = coalesce(NEW.note, 'then; END'); RETURN NEW; END; $body$;
         CREATE TRIGGER zones_count BEFORE INSERT ON zones_area FOR EACH ROW EXECUTE FUNCTION zones_count()",
    );
    let [one, two] = both();
    assert_eq!(store.migrate_app("zones", &[one, two, step(3, "count", script)], at(1)).await.unwrap(), 3);
    let put = AppSql::new("INSERT INTO zones_area (id, name) VALUES ($1, $2)");
    let statements = vec![put.with(vec![5i64.into(), "gate".into()])];
    assert_eq!(store.write(RunApp { app: "zones".into(), statements }).await.unwrap(), [1]);
    let read = AppSql::new("SELECT note FROM zones_area WHERE id = $1");
    let rows = store.app_rows(&read, vec![5i64.into()]).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "then; END");
}
