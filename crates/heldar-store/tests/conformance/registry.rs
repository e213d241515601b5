//! Sites, cameras, settings.

use heldar_base::{Scope, Secret, StreamKind};
use heldar_store::op::{
    CameraCreated, CreateCamera, CreateSite, DeleteCamera, DeleteSetting, DeleteSite, OnCameras, PutSetting,
    RemoveCamera, UpdateCamera, UpdateSite,
};
use heldar_store::{
    Attached, AuditFilter, CameraFields, CameraQuery, DeviceTls, ErrorKind, EventFilter, RecordMode,
    RtspTransport, SiteFields, Store,
};

use crate::world::{Db, at, audit, camera, create_camera, event, fields, scope, site};

async fn create_site(store: &Store, name: &str) {
    let fields = SiteFields { name: name.to_uppercase(), timezone: Some("Europe/Berlin".into()) };
    store.write(CreateSite { id: site(name), fields, now: at(1) }).await.unwrap();
}

pub(crate) async fn sites_are_kept(db: Db) {
    let store = db.open().await;
    create_site(&store, "north").await;
    create_site(&store, "south").await;
    let again =
        CreateSite { id: site("north"), fields: SiteFields { name: "x".into(), timezone: None }, now: at(2) };
    assert_eq!(store.write(again).await.unwrap_err().kind(), ErrorKind::Conflict);

    let mut north = fields("front");
    north.site_id = Some(site("north"));
    store.write(CreateCamera { id: camera("front"), fields: north, now: at(3) }).await.unwrap();
    create_camera(&store, "yard").await;
    let counts = async |scope: &Scope| -> Vec<(String, i64)> {
        let page = store.sites(scope, None, 100).await.unwrap();
        page.rows.into_iter().map(|row| (row.site.id.to_string(), row.camera_count)).collect()
    };
    assert_eq!(counts(&Scope::All).await, [("north".into(), 1), ("south".into(), 0)]);
    assert_eq!(counts(&scope(&["front", "yard"])).await, [("north".into(), 1)]);
    assert_eq!(counts(&scope(&["yard"])).await, []);
    assert!(store.site(&scope(&["yard"]), &site("north")).await.unwrap().is_none());

    let stored = store.site(&Scope::All, &site("north")).await.unwrap().unwrap().site;
    assert_eq!((stored.revision, stored.created_at, stored.fields.name.as_str()), (1, at(1), "NORTH"));
    let fields = SiteFields { name: "North".into(), timezone: None };
    let update = UpdateSite { id: site("north"), fields: fields.clone(), revision: 1, now: at(4) };
    store.write(update.clone()).await.unwrap();
    assert_eq!(store.write(update).await.unwrap_err().kind(), ErrorKind::Conflict);
    let stored = store.site(&Scope::All, &site("north")).await.unwrap().unwrap().site;
    assert_eq!((stored.fields, stored.updated_at, stored.revision), (fields, at(4), 2));

    let delete = |on_cameras| DeleteSite { id: site("north"), on_cameras, now: at(5) };
    assert_eq!(store.write(delete(OnCameras::Refuse)).await.unwrap_err().kind(), ErrorKind::InUse);
    store.write(delete(OnCameras::Detach)).await.unwrap();
    assert_eq!(store.write(delete(OnCameras::Refuse)).await.unwrap_err().kind(), ErrorKind::NotFound);
    let detached = store.camera(&Scope::All, &camera("front")).await.unwrap().unwrap();
    assert_eq!((detached.fields.site_id, detached.revision), (None, 2));
}

/// Fields of which each differs from its usual value.
fn unusual_fields() -> CameraFields {
    CameraFields {
        name: "Tür \"1\" 日本".into(),
        site_id: None,
        vendor: "axis".into(),
        model: Some("M".into()),
        address: Some("fe80::1".into()),
        rtsp_port: 65535,
        username: Some("admin".into()),
        password: Some(Secret::new("sealed:pw".into())),
        main_stream_url: None,
        sub_stream_url: Some(Secret::new("sealed:sub".into())),
        record_stream: StreamKind::Sub,
        record_sub: true,
        rtsp_transport: RtspTransport::Udp,
        channel: 256,
        capabilities: serde_json::json!({"ptz": [1, 2.5, null]}),
        record_enabled: false,
        segment_seconds: 3600,
        retention_hours: 43800,
        retention_motion_hours: Some(48),
        retention_alert_hours: Some(96),
        storage_quota_bytes: Some(i64::MAX),
        record_audio: true,
        record_mode: RecordMode::ScheduledEvent,
        pre_roll_seconds: 0,
        post_roll_seconds: 3600,
        mirror_enabled: true,
        anr_enabled: true,
        anr_replay_url_template: Some(Secret::new("sealed:anr".into())),
        native_anpr_enabled: true,
        native_events_enabled: true,
        enabled: false,
        live_warm: true,
        priority: -5,
        http_port: Some(8080),
        device_tls: DeviceTls::AcceptAny,
    }
}

pub(crate) async fn cameras_are_kept(db: Db) {
    let store = db.open().await;
    let id = camera("front");
    let create = CreateCamera { id: id.clone(), fields: fields("front"), now: at(1) };
    assert_eq!(store.write(create.clone()).await.unwrap(), CameraCreated::New);
    assert_eq!(store.write(create).await.unwrap_err().kind(), ErrorKind::Conflict);
    let stored = store.camera(&Scope::All, &id).await.unwrap().unwrap();
    assert_eq!((stored.fields, stored.revision), (fields("front"), 1));

    let update = UpdateCamera { id: id.clone(), fields: unusual_fields(), revision: 1, now: at(2) };
    store.write(update.clone()).await.unwrap();
    assert_eq!(store.write(update).await.unwrap_err().kind(), ErrorKind::Conflict);
    let stored = store.camera(&Scope::All, &id).await.unwrap().unwrap();
    assert_eq!(stored.fields, unusual_fields());
    assert_eq!((stored.created_at, stored.updated_at, stored.revision), (at(1), at(2), 2));

    let nowhere = CameraFields { site_id: Some(site("nowhere")), ..fields("x") };
    let create = CreateCamera { id: camera("x"), fields: nowhere, now: at(3) };
    assert_eq!(store.write(create).await.unwrap_err().kind(), ErrorKind::NotFound);

    store.write(DeleteCamera { id: id.clone() }).await.unwrap();
    assert!(store.camera(&Scope::All, &id).await.unwrap().is_none());
    assert_eq!(store.write(DeleteCamera { id }).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn a_removed_camera_comes_back(db: Db) {
    let store = db.open().await;
    let id = create_camera(&store, "front").await;
    store.write(RemoveCamera { id: id.clone(), now: at(5) }).await.unwrap();
    let again = RemoveCamera { id: id.clone(), now: at(6) };
    assert_eq!(store.write(again).await.unwrap_err().kind(), ErrorKind::NotFound);
    let listed = store.cameras(&Scope::All, &CameraQuery::default(), None, 10).await.unwrap();
    assert!(listed.rows.is_empty());
    let all = CameraQuery { include_removed: true, ..CameraQuery::default() };
    let listed = store.cameras(&Scope::All, &all, None, 10).await.unwrap();
    assert_eq!(listed.rows[0].removed_at, Some(at(5)));

    let create = CreateCamera { id: id.clone(), fields: unusual_fields(), now: at(7) };
    assert_eq!(store.write(create).await.unwrap(), CameraCreated::Reattached);
    let stored = store.camera(&Scope::All, &id).await.unwrap().unwrap();
    assert_eq!((stored.removed_at, stored.created_at, stored.fields), (None, at(7), unusual_fields()));
}

pub(crate) async fn lists_are_filtered(db: Db) {
    let store = db.open().await;
    create_site(&store, "north").await;
    for name in ["a", "b", "c", "d"] {
        let mut fields = fields(name);
        fields.enabled = name != "b";
        fields.site_id = (name < "d").then(|| site("north"));
        store.write(CreateCamera { id: camera(name), fields, now: at(1) }).await.unwrap();
    }
    let check = async |which: CameraQuery, scope: Scope, expect: &[&str]| {
        let page = store.cameras(&scope, &which, None, 10).await.unwrap();
        let ids: Vec<_> = page.rows.iter().map(|row| row.id.as_str().to_owned()).collect();
        assert_eq!(ids, expect, "{which:?} {scope:?}");
    };
    let all = CameraQuery::default;
    check(all(), Scope::All, &["a", "b", "c", "d"]).await;
    check(all(), scope(&["d", "b", "nobody"]), &["b", "d"]).await;
    check(all(), scope(&[]), &[]).await;
    check(CameraQuery { enabled: Some(false), ..all() }, Scope::All, &["b"]).await;
    let north = CameraQuery { site: Some(site("north")), enabled: Some(true), ..all() };
    check(north.clone(), Scope::All, &["a", "c"]).await;
    check(north, scope(&["c", "d"]), &["c"]).await;
    assert!(store.camera(&scope(&["a"]), &camera("b")).await.unwrap().is_none());
}

pub(crate) async fn settings_are_kept(db: Db) {
    let store = db.open().await;
    for (key, value, now) in [("b", "1", 1), ("a", "software", 2), ("b", "2", 3)] {
        store.write(PutSetting { key: key.into(), value: value.into(), now: at(now) }).await.unwrap();
    }
    let stored = store.settings(&Scope::All).await.unwrap();
    let rows: Vec<_> = stored.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.updated_at)).collect();
    assert_eq!(rows, [("a", "software", at(2)), ("b", "2", at(3))]);
    store.write(DeleteSetting { key: "a".into() }).await.unwrap();
    store.write(DeleteSetting { key: "a".into() }).await.unwrap();
    assert_eq!(store.settings(&Scope::All).await.unwrap().len(), 1);
}

pub(crate) async fn a_change_commits_with_its_audit_row_and_events(db: Db) {
    let store = db.open().await;
    let create = CreateCamera { id: camera("front"), fields: fields("front"), now: at(1) };
    let attached = |n: u128| Attached {
        audit: Some(audit(n, Some("front"), 1)),
        events: vec![event(n, Some("front"), 1)],
    };
    let done = store.manage(create.clone(), attached(1)).await.unwrap();
    assert_eq!((done.value, done.seqs.len()), (CameraCreated::New, 1));

    let refused = store.manage(create, attached(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let rows = store.audit(&Scope::All, &AuditFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(rows, [audit(1, Some("front"), 1)]);
    let events = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!((events.len(), events[0].seq), (1, done.seqs[0]));
}
