//! Databases of earlier schemas, as their versions left them.

use heldar_base::Scope;
use heldar_store::inspect::{Schema, inspect};
use heldar_store::op::{AppendZoneEvents, InsertSnapshot, MarkEventSeen, PutPreference};
use heldar_store::{
    AuditFilter, DatabaseUrl, ErrorKind, EventFilter, FeedFloors, NewZoneEvent, Preference, Seen, Store,
    TimeRange,
};

use crate::people::create_person;
use crate::records::record_schedule;
use crate::seen::{create_task, frame, store_batch};
use crate::snapshots::{schedule, snapshot};
use crate::webhooks::create_webhook;
use crate::world::{Db, at, audit, camera, create_camera};
use crate::zone_events::zone_event;
use crate::zones::create_zone;

/// Schema 1 with the checksums that its versions recorded.
const SQLITE_1: &str = include_str!("../../src/schema/sqlite_1.sql");
const SQLITE_1_SUM: &str = "70809958931d34409fecb4eaa2894a6cbd7a7b0961ca193863f9d1b23d6081ab";
const POSTGRES_1: &str = include_str!("../../src/schema/postgres_1.sql");
const POSTGRES_1_SUM: &str = "a479fc3e08c880a76bbafd5a7c4c276d7c3b7013b50c26aed7880873b13ad48f";
/// Schema 2 beside schema 1, likewise.
const SQLITE_2: &str = include_str!("../../src/schema/sqlite_2.sql");
const SQLITE_2_SUM: &str = "e564603dadf6406de41a54ff1a953141707a9f3df485d7689c62b1d9c6c814b8";
const POSTGRES_2: &str = include_str!("../../src/schema/postgres_2.sql");
const POSTGRES_2_SUM: &str = "9a93ef0879cadf9b55f20f44372b6594929bb82de7daf042ceca0dc1c64de435";
/// Schema 3 beside schema 2, likewise.
const SQLITE_3: &str = include_str!("../../src/schema/sqlite_3.sql");
const SQLITE_3_SUM: &str = "8a8669a66a17cead0276af907b536e4e3a7b0f848a289861779eb0247c59ab14";
const POSTGRES_3: &str = include_str!("../../src/schema/postgres_3.sql");
const POSTGRES_3_SUM: &str = "ed5390148bd3e29e60a0c3ae0ba4e6ad26491535dc1ad845cc731c115fae1949";
/// Schema 4 beside schema 3, likewise.
const SQLITE_4: &str = include_str!("../../src/schema/sqlite_4.sql");
const SQLITE_4_SUM: &str = "0d2e61ca1b6d9f48d14a12a47b9a662396018ad070bd3b1f8f2e30468ce7a15f";
const POSTGRES_4: &str = include_str!("../../src/schema/postgres_4.sql");
const POSTGRES_4_SUM: &str = "829fe2461dafa89dd175488a8a15184791d3009cd2140903953df5c50208a699";

/// Schema 5 beside schema 4, likewise.
const SQLITE_5: &str = include_str!("../../src/schema/sqlite_5.sql");
const SQLITE_5_SUM: &str = "f9f53d54796a591c3f178afaab0678d1f9a1f4a2d2661c0778f774b813cbc5d4";
const POSTGRES_5: &str = include_str!("../../src/schema/postgres_5.sql");
const POSTGRES_5_SUM: &str = "2ec18191ebae92d601aba89b190cf453d06a2faac11192bf34e19675baafb3b8";

/// A few rows of schema 1.
const ROWS: &str = r#"
INSERT INTO setting (key, value, updated_us) VALUES ('limit', '7', 5);
INSERT INTO site (id, name, timezone, created_us, updated_us, revision) VALUES ('north', 'North', NULL, 5, 5, 1);
INSERT INTO camera (id, name, site_id, vendor, rtsp_port, record_stream, record_sub, rtsp_transport, channel,
    capabilities, record_enabled, segment_seconds, retention_hours, record_audio, record_mode, pre_roll_seconds,
    post_roll_seconds, mirror_enabled, anr_enabled, native_anpr_enabled, native_events_enabled, enabled, live_warm,
    priority, device_tls, created_us, updated_us, revision)
    VALUES ('front', 'Front', 'north', 'generic', 554, 'main', 0, 'auto', 1, '{}', 1, 60, 24, 0, 'continuous', 10, 30,
    0, 0, 0, 0, 1, 0, 100, 'off', 5, 6, 3);
INSERT INTO event (seq, id, camera_id, event_type, severity, timestamp_us, created_us, payload)
    VALUES (1, '00000000-0000-4000-8000-000000000001', 'front', 'camera_offline', 'warning', 7, 7, '{}');
UPDATE writer_state SET next_seq = 1001, epoch = 4;
"#;

/// A database of schema 1 with rows in it.
async fn of_schema_1(db: &Db) {
    let (text, sum, number) = match &db.url {
        DatabaseUrl::Sqlite(_) => (SQLITE_1, SQLITE_1_SUM, "INTEGER"),
        DatabaseUrl::Postgres(_) => (POSTGRES_1, POSTGRES_1_SUM, "BIGINT"),
    };
    let record = format!(
        "CREATE TABLE migration (component TEXT NOT NULL, number {number} NOT NULL, name TEXT NOT NULL,
            checksum TEXT NOT NULL, applied_us {number} NOT NULL, PRIMARY KEY (component, number));
         INSERT INTO migration VALUES ('core', 1, 'first', '{sum}', 5);"
    );
    for sql in [&record, text, ROWS] {
        db.tamper(sql).await.unwrap();
    }
}

/// Schema 2 on top of [`of_schema_1`].
async fn of_schema_2(db: &Db) {
    of_schema_1(db).await;
    let (text, sum) = match &db.url {
        DatabaseUrl::Sqlite(_) => (SQLITE_2, SQLITE_2_SUM),
        DatabaseUrl::Postgres(_) => (POSTGRES_2, POSTGRES_2_SUM),
    };
    db.tamper(text).await.unwrap();
    db.tamper(&format!("INSERT INTO migration VALUES ('core', 2, 'accounts', '{sum}', 6)")).await.unwrap();
}

/// Schema 3 on top of [`of_schema_2`].
async fn of_schema_3(db: &Db) {
    of_schema_2(db).await;
    let (text, sum) = match &db.url {
        DatabaseUrl::Sqlite(_) => (SQLITE_3, SQLITE_3_SUM),
        DatabaseUrl::Postgres(_) => (POSTGRES_3, POSTGRES_3_SUM),
    };
    db.tamper(text).await.unwrap();
    db.tamper(&format!("INSERT INTO migration VALUES ('core', 3, 'perception', '{sum}', 7)")).await.unwrap();
}

/// Schema 4 on top of [`of_schema_3`].
async fn of_schema_4(db: &Db) {
    of_schema_3(db).await;
    let (text, sum) = match &db.url {
        DatabaseUrl::Sqlite(_) => (SQLITE_4, SQLITE_4_SUM),
        DatabaseUrl::Postgres(_) => (POSTGRES_4, POSTGRES_4_SUM),
    };
    db.tamper(text).await.unwrap();
    db.tamper(&format!("INSERT INTO migration VALUES ('core', 4, 'snapshots', '{sum}', 8)")).await.unwrap();
}

/// Schema 5 on top of [`of_schema_4`].
async fn of_schema_5(db: &Db) {
    of_schema_4(db).await;
    let (text, sum) = match &db.url {
        DatabaseUrl::Sqlite(_) => (SQLITE_5, SQLITE_5_SUM),
        DatabaseUrl::Postgres(_) => (POSTGRES_5, POSTGRES_5_SUM),
    };
    db.tamper(text).await.unwrap();
    let record = format!("INSERT INTO migration VALUES ('core', 5, 'zones and feed', '{sum}', 9)");
    db.tamper(&record).await.unwrap();
}

pub(crate) async fn schema_5_is_brought_up_to_date(db: Db) {
    of_schema_5(&db).await;
    let found = inspect(&db.url).await.unwrap();
    assert_eq!(found.schema, Schema::Older { number: 5, newest: 6 });
    let store = db.open().await;
    assert_eq!(
        db.numbers("SELECT number, applied_us FROM migration ORDER BY number").await,
        [[1, 5], [2, 6], [3, 7], [4, 8], [5, 9], [6, at(0).0]]
    );
    // What is new begins empty, and begins after what was there.
    let all = Scope::All;
    assert!(store.webhooks(&all).await.unwrap().is_empty());
    let made = store.write(create_webhook(1, "phone", 1)).await.unwrap();
    let events = store.events(&all, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert!(made.standing.cursor_seq >= events[0].seq);
    // Record modes work for cameras that were there.
    let front = camera("front");
    assert!(store.record_schedules(&all, &front).await.unwrap().is_empty());
    assert_eq!(store.record_window(&all, &front).await.unwrap(), None);
    store.write(record_schedule(1, "front", 1)).await.unwrap();
    assert_eq!(store.record_schedules(&all, &front).await.unwrap().len(), 1);
    store.close().await;
    assert_eq!(db.open().await.webhooks(&all).await.unwrap(), [made]);
}

pub(crate) async fn schema_4_is_brought_up_to_date(db: Db) {
    of_schema_4(&db).await;
    // The oldest event and the oldest batch are not the first ones that ever were.
    db.tamper("UPDATE event SET seq = 500").await.unwrap();
    db.tamper(
        "INSERT INTO outbox (seq, line_no, producer_no, frame_key, part, ticketed, late, captured_us, created_us,
            detection_count, event_seq) VALUES (700, 1, 1, NULL, 0, 0, 0, 7, 7, 0, NULL)",
    )
    .await
    .unwrap();
    let found = inspect(&db.url).await.unwrap();
    assert_eq!(found.schema, Schema::Older { number: 4, newest: 6 });
    let store = db.open().await;
    assert_eq!(
        db.numbers("SELECT number, applied_us FROM migration ORDER BY number").await,
        [[1, 5], [2, 6], [3, 7], [4, 8], [5, at(0).0], [6, at(0).0]]
    );
    // What is new begins empty and works for cameras that were there.
    let (all, front) = (Scope::All, camera("front"));
    assert!(store.camera_zones(&all, &front).await.unwrap().is_empty());
    assert!(store.write(create_zone(1, "front", "hall", 1)).await.unwrap().new);
    let new = NewZoneEvent { zone_event: zone_event(1, "front", 2), event: None };
    store.write(AppendZoneEvents { events: vec![new] }).await.unwrap();
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.camera_zones(&all, &front).await.unwrap().len(), 1);
    let stored = store.zone_event(&all, zone_event(1, "front", 2).id).await.unwrap().unwrap();
    assert_eq!(stored.zone_event, zone_event(1, "front", 2));
    let all = Scope::All;
    assert_eq!(store.feed_floors(&all).await.unwrap(), FeedFloors { events: 499, batches: 699 });
    let event = store.event(&all, "00000000-0000-4000-8000-000000000001").await.unwrap().unwrap();
    assert_eq!((event.seq, event.seen), (500, None));
    let seen = Seen { by: "Ann".into(), at: at(1) };
    let mark = MarkEventSeen { seq: 500, seen: seen.clone(), audit: audit(1, None, 1) };
    assert_eq!(store.write(mark).await.unwrap(), seen);
}

pub(crate) async fn schema_3_is_brought_up_to_date(db: Db) {
    of_schema_3(&db).await;
    let found = inspect(&db.url).await.unwrap();
    assert_eq!(found.schema, Schema::Older { number: 3, newest: 6 });
    let store = db.open().await;
    assert_eq!(
        db.numbers("SELECT number, applied_us FROM migration ORDER BY number").await,
        [[1, 5], [2, 6], [3, 7], [4, at(0).0], [5, at(0).0], [6, at(0).0]]
    );
    // What is new begins empty and works for cameras that were there.
    let (all, front) = (Scope::All, camera("front"));
    assert!(store.snapshot_schedules(&all, &front).await.unwrap().is_empty());
    store.write(schedule(1, "front", 1)).await.unwrap();
    store.write(InsertSnapshot { snapshot: snapshot(1, "front", 2) }).await.unwrap();
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.snapshot_schedules(&all, &front).await.unwrap().len(), 1);
    let taken = store.snapshots(&all, &front, TimeRange::default(), None, 10).await.unwrap();
    assert_eq!(taken.rows, [snapshot(1, "front", 2)]);
}

pub(crate) async fn schema_2_is_brought_up_to_date(db: Db) {
    of_schema_2(&db).await;
    let found = inspect(&db.url).await.unwrap();
    assert_eq!(found.schema, Schema::Older { number: 2, newest: 6 });
    let store = db.open().await;
    assert_eq!(
        db.numbers("SELECT number, applied_us FROM migration ORDER BY number").await,
        [[1, 5], [2, 6], [3, at(0).0], [4, at(0).0], [5, at(0).0], [6, at(0).0]]
    );
    // What is new begins empty and works for cameras that were there.
    let all = Scope::All;
    assert!(store.tasks(&all, None, 10).await.unwrap().rows.is_empty());
    let totals = store.perception_totals(&all).await.unwrap().unwrap();
    assert_eq!((totals.batches, totals.detections), (0, 0));
    store.write(create_task(1, "front", "motion", 1)).await.unwrap();
    let seq = store_batch(&store, frame("front", "w:1", 1)).await;
    let events = store.events(&all, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert!(seq > events[0].seq, "batches take numbers of the sequence of events");
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.batch(&all, seq).await.unwrap().unwrap().detections.len(), 1);
    assert_eq!(store.camera_tasks(&all, &camera("front")).await.unwrap().len(), 1);
}

pub(crate) async fn schema_1_is_brought_up_to_date(db: Db) {
    of_schema_1(&db).await;
    let found = inspect(&db.url).await.unwrap();
    assert_eq!((found.schema, found.contents), (Schema::Older { number: 1, newest: 6 }, None));
    let refused = Store::open_read_only(db.config()).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);

    let store = db.open().await;
    assert_eq!(inspect(&db.url).await.unwrap().schema, Schema::Current { number: 6 });
    assert_eq!(
        db.numbers("SELECT number, applied_us FROM migration ORDER BY number").await,
        [[1, 5], [2, at(0).0], [3, at(0).0], [4, at(0).0], [5, at(0).0], [6, at(0).0]]
    );
    let all = Scope::All;
    let front = store.camera(&all, &camera("front")).await.unwrap().unwrap();
    assert_eq!((front.fields.name.as_str(), front.revision), ("Front", 3));
    assert_eq!(store.sites(&all, None, 10).await.unwrap().rows[0].camera_count, 1);
    assert_eq!(store.settings(&all).await.unwrap()[0].value, "7");
    let events = store.events(&all, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(events.iter().map(|row| row.seq).collect::<Vec<_>>(), [1]);
    assert!(store.audit(&all, &AuditFilter::default(), None, 10).await.unwrap().rows.is_empty());

    // What is new begins empty and works, and so does what was there.
    assert!(store.accounts(&all, None, 10).await.unwrap().rows.is_empty());
    let ada = create_person(&store, 1, "Ada", "admin").await;
    store.write(PutPreference { owner: ada.clone(), document: "{}".into(), now: at(1) }).await.unwrap();
    create_camera(&store, "yard").await;
    store.close().await;
    let store = db.open().await;
    let preference = Preference { document: "{}".into(), updated_at: at(1) };
    assert_eq!(store.preference(&all, &ada).await.unwrap(), Some(preference));
    assert_eq!(inspect(&db.url).await.unwrap().contents.unwrap().cameras, 2);
}
