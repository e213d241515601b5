//! Events and audit.

use heldar_base::{Interval, Micros, Scope};
use heldar_store::op::{
    AppendAudit, AppendEvents, CreateCamera, CreateSite, Prunable, Prune, PutGap, ReturnFreePages,
};
use heldar_store::{
    AuditEntry, AuditFilter, AuditOutcome, EventCount, EventFilter, Gap, GapFilter, GapOrder, NewEvent,
    Severity, SiteFields, TimeRange,
};
use serde_json::json;

use crate::world::{Db, at, audit, camera, create_camera, create_feed, event, fields, gap, scope, site};

pub(crate) async fn events_are_numbered_once(db: Db) {
    let store = db.open().await;
    let append = |events: Vec<NewEvent>| AppendEvents { events };
    let first = store.write(append(vec![event(1, None, 5), event(2, Some("a"), 1)])).await.unwrap();
    let second = store.write(append(vec![event(2, Some("a"), 1), event(3, None, 3)])).await.unwrap();
    assert!(first[0] < first[1]);
    assert_eq!(second[0], first[1], "an event that is there keeps its number");
    assert!(second[1] > first[1]);
    let page = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap();
    let stored: Vec<_> = page.rows.iter().map(|row| (row.event.clone(), row.seq)).collect();
    let expect =
        [(event(1, None, 5), first[0]), (event(3, None, 3), second[1]), (event(2, Some("a"), 1), first[1])];
    assert_eq!(stored, expect);
}

pub(crate) async fn events_are_filtered(db: Db) {
    let store = db.open().await;
    let name = SiteFields { name: "n".into(), timezone: None };
    store.write(CreateSite { id: site("north"), fields: name, now: at(0) }).await.unwrap();
    let mut front = fields("a");
    front.site_id = Some(site("north"));
    store.write(CreateCamera { id: camera("a"), fields: front, now: at(0) }).await.unwrap();
    let kind = |mut event: NewEvent, event_type: &str, severity| {
        event.event_type = event_type.into();
        event.severity = severity;
        event
    };
    let events = vec![
        kind(event(1, None, 1), "disk_pressure", Severity::Critical),
        kind(event(2, Some("a"), 2), "camera_online", Severity::Info),
        kind(event(3, Some("a"), 3), "camera_offline", Severity::Warning),
        kind(event(4, Some("gone"), 4), "camera_offline", Severity::Warning),
    ];
    store.write(AppendEvents { events }).await.unwrap();
    let check = async |filter: EventFilter, scope: Scope, expect: &[u128]| {
        let page = store.events(&scope, &filter, None, 10).await.unwrap();
        let ids: Vec<_> = page.rows.iter().map(|row| row.event.id.clone()).collect();
        let expect: Vec<_> = expect.iter().map(|number| event(*number, None, 0).id).collect();
        assert_eq!(ids, expect, "{filter:?} {scope:?}");
    };
    let all = EventFilter::default;
    check(all(), Scope::All, &[4, 3, 2, 1]).await;
    check(all(), scope(&["a"]), &[3, 2]).await;
    check(all(), scope(&["a", "gone"]), &[4, 3, 2]).await;
    check(EventFilter { camera: Some(camera("gone")), ..all() }, scope(&["a"]), &[]).await;
    check(EventFilter { event_type: Some("camera_offline".into()), ..all() }, Scope::All, &[4, 3]).await;
    check(EventFilter { severity: Some(Severity::Critical), ..all() }, Scope::All, &[1]).await;
    let range = TimeRange { from: Some(at(2)), to: Some(at(4)) };
    check(EventFilter { range, ..all() }, Scope::All, &[3, 2]).await;
    let page = store.events(&Scope::All, &all(), None, 10).await.unwrap();
    assert_eq!((&page.rows[0].site, &page.rows[1].site), (&None, &Some(site("north"))));
}

pub(crate) async fn events_are_counted(db: Db) {
    let store = db.open().await;
    let events: Vec<_> =
        [(Some("a"), 0), (Some("a"), 9), (Some("a"), 10), (Some("b"), 25), (None, 5), (Some("a"), 30)]
            .into_iter()
            .zip(1u128..)
            .map(|((name, seconds), number)| event(number, name, seconds))
            .collect();
    store.write(AppendEvents { events }).await.unwrap();
    let window = Interval::new(at(0), at(30));
    let count = |name, bucket, count| EventCount { camera: camera(name), bucket, count };
    let counts = store.event_counts(&Scope::All, None, window, Micros::from_secs(10)).await.unwrap();
    assert_eq!(counts, [count("a", 0, 2), count("a", 1, 1), count("b", 2, 1)]);
    let counts = store.event_counts(&scope(&["b"]), None, window, Micros::from_secs(10)).await.unwrap();
    assert_eq!(counts, [count("b", 2, 1)]);
    let counts =
        store.event_counts(&Scope::All, Some(&camera("a")), window, Micros::from_secs(30)).await.unwrap();
    assert_eq!(counts, [count("a", 0, 3)]);
    assert!(store.event_counts(&Scope::All, None, window, Micros(0)).await.is_err());
}

pub(crate) async fn alerts_are_warnings_and_above(db: Db) {
    let store = db.open().await;
    let mut events: Vec<_> = (1..=4).map(|n| event(n, Some("a"), i64::try_from(n).unwrap())).collect();
    events[0].severity = Severity::Info;
    events[2].severity = Severity::Critical;
    events.push(event(5, Some("b"), 2));
    store.write(AppendEvents { events }).await.unwrap();
    let alerts = async |range| {
        let page = store.alerts(&Scope::All, &camera("a"), range, None, 10).await.unwrap();
        page.rows.iter().map(|alert| (alert.at, alert.event_type.clone())).collect::<Vec<_>>()
    };
    let expect = [2, 3, 4].map(|seconds| (at(seconds), "camera_offline".to_owned()));
    assert_eq!(alerts(TimeRange::default()).await, expect);
    assert_eq!(alerts(TimeRange { from: Some(at(3)), to: Some(at(4)) }).await, expect[1..2]);
}

pub(crate) async fn audit_is_filtered(db: Db) {
    let store = db.open().await;
    let rows = [
        AuditEntry { actor: "u1".into(), ip: Some("10.0.0.1".into()), ..audit(1, Some("a"), 1) },
        AuditEntry { action: "login".into(), request_id: Some("r".into()), ..audit(2, None, 2) },
        AuditEntry { outcome: AuditOutcome::Denied, ..audit(3, Some("b"), 3) },
        AuditEntry {
            detail: json!({"camera_id": "a", "x": [1.5, "ü"]}),
            before: Some(json!({})),
            ..audit(4, None, 4)
        },
    ];
    for entry in &rows {
        store.write(AppendAudit { entry: entry.clone() }).await.unwrap();
        store.write(AppendAudit { entry: entry.clone() }).await.unwrap();
    }
    let check = async |filter: AuditFilter, expect: &[usize]| {
        let page = store.audit(&Scope::All, &filter, None, 10).await.unwrap();
        let expect: Vec<_> = expect.iter().map(|at| rows[*at].clone()).collect();
        assert_eq!(page.rows, expect, "{filter:?}");
    };
    let all = AuditFilter::default;
    let text = |text: &str| Some(text.to_owned());
    check(all(), &[3, 2, 1, 0]).await;
    check(AuditFilter { actor: text("u1"), ..all() }, &[0]).await;
    check(AuditFilter { action: text("login"), ..all() }, &[1]).await;
    check(AuditFilter { target_type: text("camera"), ..all() }, &[2, 0]).await;
    check(AuditFilter { target_id: text("b"), ..all() }, &[2]).await;
    check(AuditFilter { camera_id: text("a"), ..all() }, &[3, 0]).await;
    check(AuditFilter { outcome: Some(AuditOutcome::Denied), ..all() }, &[2]).await;
    check(AuditFilter { ip: text("10.0.0.1"), ..all() }, &[0]).await;
    check(AuditFilter { request_id: text("r"), ..all() }, &[1]).await;
    check(AuditFilter { range: TimeRange { from: Some(at(2)), to: Some(at(4)) }, ..all() }, &[2, 1]).await;
}

pub(crate) async fn audit_is_append_only(db: Db) {
    let store = db.open().await;
    store.write(AppendAudit { entry: audit(1, Some("a"), 1) }).await.unwrap();
    for sql in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
        let refused = db.tamper(sql).await.unwrap_err().to_string();
        assert!(refused.contains("append only"), "{refused}");
    }
    assert_eq!(store.audit(&Scope::All, &AuditFilter::default(), None, 10).await.unwrap().rows.len(), 1);
}

pub(crate) async fn old_rows_go_in_slices(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    create_camera(&store, "b").await;
    for number in 1..=5 {
        let seconds = i64::try_from(number).unwrap() * 10;
        store.write(AppendEvents { events: vec![event(number, Some("a"), seconds)] }).await.unwrap();
        let mut entry = audit(number, None, seconds);
        entry.detail = json!({"camera_ids": ["a", "b"]});
        store.write(AppendAudit { entry }).await.unwrap();
        store.write(PutGap { gap: gap(number, "a", seconds, seconds + 1) }).await.unwrap();
    }
    store.write(PutGap { gap: Gap { open: true, ..gap(9, "a", 0, 2) } }).await.unwrap();
    store.write(feed.sealed(0, 10)).await.unwrap();
    store.write(feed.sealed(7200, 7210)).await.unwrap();
    let prune = |what, limit| Prune { what, before: at(40), limit };
    for what in [Prunable::Events, Prunable::Audit, Prunable::Gaps] {
        assert_eq!(store.write(prune(what, 2)).await.unwrap(), 2, "{what:?}");
        assert_eq!(store.write(prune(what, 500)).await.unwrap(), 1, "{what:?}");
        assert_eq!(store.write(prune(what, 500)).await.unwrap(), 0, "{what:?}");
    }
    let hours = Prune { what: Prunable::Hours, before: at(7200), limit: 500 };
    assert_eq!(store.write(hours).await.unwrap(), 1);
    store.write(ReturnFreePages).await.unwrap();

    let events = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(events.iter().map(|row| row.event.timestamp).collect::<Vec<_>>(), [at(50), at(40)]);
    let rows = store.audit(&Scope::All, &AuditFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.created_at).collect::<Vec<_>>(), [at(50), at(40)]);
    assert_eq!(db.numbers("SELECT COUNT(*) FROM audit_camera").await, [[4]]);
    let gaps = store
        .gaps(&Scope::All, &camera("a"), &GapFilter::default(), GapOrder::OldestFirst, None, 10)
        .await
        .unwrap();
    assert_eq!(gaps.rows.iter().map(|gap| gap.start).collect::<Vec<_>>(), [at(0), at(40), at(50)]);
    // What retention did not reach still cannot be deleted.
    assert!(db.tamper("DELETE FROM audit").await.is_err());
}
