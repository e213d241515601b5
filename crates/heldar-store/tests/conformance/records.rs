//! Record schedules and recordings that something starts.

use heldar_base::{Micros, PublicId, Scope};
use heldar_store::op::{
    CreateRecordSchedule, DeleteCamera, DeleteRecordSchedule, RemoveCamera, TriggerRecording, Unarmed,
    UpdateCamera, UpdateRecordSchedule, WriteOp,
};
use heldar_store::{
    AuditFilter, CameraFields, ErrorKind, EventFilter, RecordMode, RecordSchedule, RecordScheduleFields,
    RecordWindow, Store,
};
use serde_json::json;

use crate::world::{Db, at, audit, camera, create_camera, fields, scope};

pub(crate) fn record_schedule_id(number: u128) -> PublicId {
    PublicId::new(RecordSchedule::PREFIX, number)
}

pub(crate) fn record_schedule(number: u128, name: &str, seconds: i64) -> CreateRecordSchedule {
    let fields =
        RecordScheduleFields { days: vec![0, 6, 0], start_minute: 0, end_minute: 1439, enabled: true };
    CreateRecordSchedule { id: record_schedule_id(number), camera: camera(name), fields, now: at(seconds) }
}

pub(crate) fn trigger(name: &str, seconds: i64, number: u128) -> TriggerRecording {
    TriggerRecording {
        camera: camera(name),
        source: "api".to_owned(),
        now: at(seconds),
        reach: Some(at(seconds) - Micros::from_secs(4)),
        event_id: format!("00000000-0000-4000-8000-0000000{number:05}"),
        unarmed: Unarmed::Skip,
        audit: None,
    }
}

async fn change(store: &Store, name: &str, change: impl FnOnce(&mut CameraFields)) {
    let stored = store.camera(&Scope::All, &camera(name)).await.unwrap().unwrap();
    let mut fields = stored.fields;
    change(&mut fields);
    let update = UpdateCamera { id: camera(name), fields, revision: stored.revision, now: at(1) };
    store.write(update).await.unwrap();
}

pub(crate) async fn record_by_events(store: &Store, name: &str) {
    change(store, name, |fields| fields.record_mode = RecordMode::Event).await;
}

async fn told(store: &Store) -> Vec<serde_json::Value> {
    let filter = EventFilter { event_type: Some("record_triggered".to_owned()), ..EventFilter::default() };
    let events = store.events(&Scope::All, &filter, None, 100).await.unwrap().rows;
    events.into_iter().rev().map(|event| event.event.payload).collect()
}

pub(crate) async fn record_schedules_are_kept(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    let made = store.write(record_schedule(1, "a", 5)).await.unwrap();
    let expect = RecordSchedule {
        id: record_schedule_id(1),
        camera: camera("a"),
        fields: record_schedule(1, "a", 5).fields,
        created_at: at(5),
        updated_at: at(5),
        revision: 1,
    };
    assert_eq!(made, expect);
    assert_eq!(store.record_schedule(&Scope::All, record_schedule_id(1)).await.unwrap(), Some(expect));
    let refused = async |create| store.write::<CreateRecordSchedule>(create).await.unwrap_err().kind();
    assert_eq!(refused(record_schedule(1, "b", 5)).await, ErrorKind::Conflict);
    assert_eq!(refused(record_schedule(2, "nowhere", 5)).await, ErrorKind::NotFound);

    let fields = RecordScheduleFields { days: vec![3], start_minute: 1320, end_minute: 360, enabled: false };
    let update = |revision| UpdateRecordSchedule {
        id: record_schedule_id(1),
        fields: fields.clone(),
        revision,
        now: at(20),
    };
    let changed = store.write(update(1)).await.unwrap();
    assert_eq!((&changed.fields, changed.revision, changed.updated_at), (&fields, 2, at(20)));
    assert_eq!(store.write(update(1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    let gone = UpdateRecordSchedule { id: record_schedule_id(9), ..update(1) };
    assert_eq!(store.write(gone).await.unwrap_err().kind(), ErrorKind::NotFound);

    store.write(record_schedule(5, "b", 3)).await.unwrap();
    store.write(record_schedule(6, "b", 1)).await.unwrap();
    let ids = |rows: &[RecordSchedule]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    let of_b = store.record_schedules(&Scope::All, &camera("b")).await.unwrap();
    assert_eq!(ids(&of_b), [record_schedule_id(6), record_schedule_id(5)]);
    assert!(store.record_schedules(&scope(&["a"]), &camera("b")).await.unwrap().is_empty());
    assert_eq!(store.record_schedule(&scope(&["a"]), record_schedule_id(5)).await.unwrap(), None);
    store.write(DeleteRecordSchedule { id: record_schedule_id(6) }).await.unwrap();
    let again = store.write(DeleteRecordSchedule { id: record_schedule_id(6) }).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);

    // A camera out of use takes no new ones and keeps its own; one that is deleted takes them along.
    store.write(RemoveCamera { id: camera("b"), now: at(30) }).await.unwrap();
    assert_eq!(refused(record_schedule(7, "b", 5)).await, ErrorKind::NotFound);
    assert_eq!(store.record_schedules(&Scope::All, &camera("b")).await.unwrap().len(), 1);
    store.write(DeleteCamera { id: camera("b") }).await.unwrap();
    assert!(store.record_schedules(&Scope::All, &camera("b")).await.unwrap().is_empty());
}

pub(crate) async fn triggers_open_and_extend_windows(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    record_by_events(&store, "a").await;
    let first = store.write(trigger("a", 100, 1)).await.unwrap().unwrap();
    let window = RecordWindow {
        camera: camera("a"),
        opened_at: at(100),
        from: at(90),
        recorded_from: at(96),
        end: at(130),
        source: "api".to_owned(),
    };
    assert_eq!((&first.window, first.is_new), (&window, true));
    assert_eq!((first.pre_roll_seconds, first.post_roll_seconds), (10, 30));
    // While it is open it is extended, by whatever happens, and never shortened.
    let zone = TriggerRecording { source: "zone_event".to_owned(), ..trigger("a", 120, 2) };
    let longer = store.write(zone).await.unwrap().unwrap();
    assert_eq!((longer.window, longer.is_new), (RecordWindow { end: at(150), ..window.clone() }, false));
    change(&store, "a", |fields| fields.post_roll_seconds = 1).await;
    let same = store.write(trigger("a", 125, 3)).await.unwrap().unwrap();
    assert_eq!(same.window.end, at(150));
    assert_eq!(
        told(&store).await,
        [json!({"window_end": at(130), "source": "api", "recorded_from": at(96)})]
    );
    // At its end it is over: the next one is another, told anew.
    change(&store, "a", |fields| (fields.post_roll_seconds, fields.pre_roll_seconds) = (5, 0)).await;
    let next = TriggerRecording { reach: None, ..trigger("a", 150, 4) };
    let next = store.write(next).await.unwrap().unwrap();
    assert!(next.is_new);
    assert_eq!((next.window.from, next.window.recorded_from, next.window.end), (at(150), at(150), at(155)));
    assert_eq!(told(&store).await.len(), 2);
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.record_window(&Scope::All, &camera("a")).await.unwrap(), Some(next.window));
    assert_eq!(store.record_window(&scope(&["b"]), &camera("a")).await.unwrap(), None);
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    assert_eq!(store.record_window(&Scope::All, &camera("a")).await.unwrap(), None);
}

pub(crate) async fn what_does_not_record_by_events_is_not_triggered(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let check = async |mode, enabled, record_enabled, expect: bool| {
        change(&store, "a", |fields| {
            (fields.record_mode, fields.enabled, fields.record_enabled) = (mode, enabled, record_enabled);
        })
        .await;
        assert_eq!(store.write(trigger("a", 100, 1)).await.unwrap().is_some(), expect, "{mode} {enabled}");
        let refuse = TriggerRecording {
            unarmed: Unarmed::Refuse,
            audit: Some(audit(1, Some("a"), 100)),
            ..trigger("a", 100, 1)
        };
        let refused = store.write(refuse).await.err().map(|error| error.kind());
        assert_eq!(refused, (!expect).then_some(ErrorKind::Conflict));
        let rows = store.audit(&Scope::All, &AuditFilter::default(), None, 10).await.unwrap().rows;
        assert_eq!(rows.len(), usize::from(expect));
    };
    check(RecordMode::Continuous, true, true, false).await;
    check(RecordMode::Scheduled, true, true, false).await;
    check(RecordMode::Event, false, true, false).await;
    check(RecordMode::Event, true, false, false).await;
    assert_eq!(store.record_window(&Scope::All, &camera("a")).await.unwrap(), None);
    check(RecordMode::ScheduledEvent, true, true, true).await;
    assert!(store.write(trigger("nowhere", 1, 9)).await.unwrap().is_none());
}

pub(crate) async fn a_trigger_commits_with_what_led_to_it(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    record_by_events(&store, "a").await;
    let entry = heldar_store::AuditEntry { detail: json!({}), ..audit(1, Some("a"), 100) };
    let audited = TriggerRecording { audit: Some(entry), ..trigger("a", 100, 1) };
    store.write(audited).await.unwrap();
    let rows = store.audit(&Scope::All, &AuditFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(rows[0].detail, json!({"window_end": at(130), "post_roll_seconds": 30}));
    // Together with a write that is refused nothing of it happens.
    let ops: Vec<WriteOp> = vec![
        trigger("a", 200, 2).into(),
        CreateRecordSchedule {
            fields: record_schedule(1, "a", 1).fields,
            ..record_schedule(1, "nowhere", 1)
        }
        .into(),
    ];
    assert!(store.write_all(ops).await.is_err());
    let window = store.record_window(&Scope::All, &camera("a")).await.unwrap().unwrap();
    assert_eq!((window.opened_at, told(&store).await.len()), (at(100), 1));
    assert_eq!(fields("a").record_mode, RecordMode::Continuous);
}
