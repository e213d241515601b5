//! What a limited principal sees.

use std::fmt::Debug;

use heldar_base::{Interval, Micros, PublicId, Scope};
use heldar_store::op::{
    AdvanceCursor, AppendAudit, AppendEvents, AppendWanted, ChangeLeases, CreateCamera, CreateSite,
    EnsureConsumer, InsertClip, InsertSnapshot, LeaseChange, ParkBatch, PutGap, PutMotion, PutPreference,
    PutSetting, PutStatuses, ReplayDeadLetters,
};
use heldar_store::op::{AppendZoneEvents, PutZoneCounters, PutZoneOccupancy, SaveZoneState};
use heldar_store::{
    AiWorker, AuditEntry, AuditFilter, CameraQuery, CameraState, CameraStatus, ClipFilter, DetectionFilter,
    EventFilter, Gap, GapFilter, GapOrder, Letters, SiteFields, Store, TaskLease, TimeRange, Transport,
    WorkerKey,
};
use heldar_store::{NewZoneEvent, ZoneBucketFilter, ZoneEvent, ZoneEventFilter};
use serde_json::json;

use crate::people::{account_id, create_key, create_person, failure, key_id, sign_in};
use crate::records::{record_by_events, record_schedule, record_schedule_id, trigger};
use crate::seen::{create_task, frame, store_batch, task_id};
use crate::snapshots::{schedule, schedule_id, snapshot, snapshot_id};
use crate::world::{
    Db, Feed, at, audit, camera, clip, create_feed, event, fields, gap, main_stream, scope, site,
};
use crate::zone_events::zone_event;
use crate::zones::{counters, create_zone, occupancy, state, zone_id};

/// Fills everything with rows of the cameras `mine` and `secret`, and of none.
async fn fill(store: &Store) -> [Feed; 2] {
    for name in ["mine_site", "secret_site"] {
        let fields = SiteFields { name: name.into(), timezone: None };
        store.write(CreateSite { id: site(name), fields, now: at(0) }).await.unwrap();
        let mut fields = fields_of(name);
        fields.site_id = Some(site(name));
        let id = camera(&format!("{}_other", name.trim_end_matches("_site")));
        store.write(CreateCamera { id, fields, now: at(0) }).await.unwrap();
    }
    let feeds = [create_feed(store, "mine").await, create_feed(store, "secret").await];
    for (number, name) in [(1u128, "mine"), (2, "secret")] {
        let feed = feeds[usize::try_from(number).unwrap() - 1];
        store.write(feed.sealed(0, 10)).await.unwrap();
        store.write(feed.open(10, 20)).await.unwrap();
        store.write(PutGap { gap: Gap { open: true, ..gap(number, name, 30, 40) } }).await.unwrap();
        store.write(AppendWanted { camera: camera(name), at: at(0), reason: None }).await.unwrap();
        store.write(AppendEvents { events: vec![event(number, Some(name), 5)] }).await.unwrap();
        store.write(AppendAudit { entry: audit(number, Some(name), 5) }).await.unwrap();
        store.write(InsertClip { clip: clip(number, name, 5) }).await.unwrap();
        store.write(schedule(number, name, 5)).await.unwrap();
        store.write(InsertSnapshot { snapshot: snapshot(number, name, 5) }).await.unwrap();
        store.write(record_schedule(number, name, 5)).await.unwrap();
        record_by_events(store, name).await;
        store.write(trigger(name, 5, number)).await.unwrap();
        let status = CameraStatus {
            camera: camera(name),
            state: CameraState::Recording,
            state_since: at(0),
            not_wanted_reason: None,
            reason_class: None,
            last_error: None,
            last_segment_at: None,
            last_started_at: None,
            last_picture_at: None,
            reconnect_count: 0,
            segments_written: 0,
            updated_at: at(0),
        };
        store.write(PutStatuses { statuses: vec![status] }).await.unwrap();
    }
    for (number, name) in [(1u128, "mine"), (2, "secret")] {
        store.write(create_task(number, name, name, 5)).await.unwrap();
        let key = WorkerKey { credential: "system".into(), worker: "secret".into() };
        let lease_id = PublicId::new(TaskLease::PREFIX, 9);
        let worker = AiWorker {
            key: key.clone(),
            last_seen: at(0),
            live_until: at(0),
            transport: Transport::Lease,
            task_types: None,
            capacity: 1.0,
            max_tasks: 1,
            lease_id: Some(lease_id),
        };
        let holder = WorkerKey { worker: name.into(), ..key };
        let (task, at) = (task_id(number), at(0));
        let lease = TaskLease { task, lease_id, holder, acquired_at: at, renewed_at: at, expires_at: at };
        let changes = vec![LeaseChange::PutWorker(worker), LeaseChange::PutLease(lease)];
        store.write(ChangeLeases { changes }).await.unwrap();
        let consumer = "zones".to_owned();
        store.write(EnsureConsumer { name: consumer.clone(), now: at }).await.unwrap();
        let seq = store_batch(store, frame(name, &format!("w:{name}"), 5)).await;
        let advance = AdvanceCursor { consumer, seq, low_seq: 0, now: at };
        let error = name.to_owned();
        let park = ParkBatch { advance, attempts: 1, first_failed_at: at, last_failed_at: at, error };
        store.write(park).await.unwrap();
        let marked = ReplayDeadLetters { consumer: "zones".into(), seqs: None };
        store.write(marked).await.unwrap();
        store
            .write(PutMotion { camera: camera(name), span: Interval::new(at, at + Micros(9)) })
            .await
            .unwrap();
    }
    for (number, name) in [(1u128, "mine"), (2, "secret")] {
        store.write(create_zone(number, name, name, 5)).await.unwrap();
        store.write(SaveZoneState { state: state(name, 1, 5) }).await.unwrap();
        store.write(PutZoneOccupancy { rows: vec![occupancy(number, 1)] }).await.unwrap();
        store.write(PutZoneCounters { rows: vec![counters(number, 1)] }).await.unwrap();
        let zone_event = ZoneEvent { zone: zone_id(number), ..zone_event(7, name, 5) };
        let new =
            NewZoneEvent { zone_event: ZoneEvent { zone_name: name.to_owned(), ..zone_event }, event: None };
        store.write(AppendZoneEvents { events: vec![new] }).await.unwrap();
    }
    store.write(AppendEvents { events: vec![event(3, None, 5)] }).await.unwrap();
    store.write(AppendAudit { entry: audit(3, None, 5) }).await.unwrap();
    store.write(PutSetting { key: "secret".into(), value: "1".into(), now: at(0) }).await.unwrap();
    // Of people none is seen, whatever is theirs.
    let ada = create_person(store, 1, "secret", "viewer").await;
    create_key(store, 1, "secret").await;
    store.write(sign_in(1, &ada, "secret", 5)).await.unwrap();
    store.write(failure(&ada, "secret", at(6))).await.unwrap();
    let document = "secret".into();
    store.write(PutPreference { owner: ada, document, now: at(7) }).await.unwrap();
    feeds
}

fn fields_of(name: &str) -> heldar_store::CameraFields {
    fields(name)
}

/// Every read of the store by name, as text.
async fn read_everything(store: &Store, scope: &Scope, feeds: [Feed; 2]) -> Vec<(&'static str, String)> {
    fn text<T: Debug>(value: Result<T, heldar_store::StoreError>) -> String {
        format!("{:?}", value.unwrap())
    }
    let all = TimeRange::default();
    let window = Interval::new(at(-100), at(100));
    let mut out = vec![
        ("sites", text(store.sites(scope, None, 10).await)),
        ("settings", text(store.settings(scope).await)),
        ("cameras", text(store.cameras(scope, &CameraQuery::default(), None, 10).await)),
        ("streams", text(store.streams(scope).await)),
        ("write_rates", text(store.write_rates(scope, at(100)).await)),
        ("open_segments", text(store.open_segments(scope, None, 10).await)),
        ("deleting_segments", text(store.deleting_segments(scope, None, 10).await)),
        ("open_gaps", text(store.open_gaps(scope).await)),
        ("statuses", text(store.statuses(scope).await)),
        ("events", text(store.events(scope, &EventFilter::default(), None, 10).await)),
        ("event_counts", text(store.event_counts(scope, None, window, Micros(1_000_000)).await)),
        ("event_types", text(store.event_types(scope, 10).await)),
        ("audit", text(store.audit(scope, &AuditFilter::default(), None, 10).await)),
        ("clips", text(store.clips(scope, &ClipFilter::default(), None, 10).await)),
        ("running_snapshot_schedules", text(store.running_snapshot_schedules(scope, None, 10).await)),
        ("expired_clips", text(store.expired_clips(scope, at(1000), 10).await)),
        ("deleting_clips", text(store.deleting_clips(scope, 10).await)),
        ("accounts", text(store.accounts(scope, None, 10).await)),
        ("account", text(store.account(scope, &account_id(1)).await)),
        ("preference", text(store.preference(scope, &account_id(1)).await)),
        ("api_keys", text(store.api_keys(scope, None, 10).await)),
        ("api_key", text(store.api_key(scope, &key_id(1)).await)),
        ("sessions", text(store.sessions(scope, None, None, 10).await)),
        ("sign_in_failures", text(store.sign_in_failures(scope, None, None, 10).await)),
        ("known_clients", text(store.known_clients(scope, None, None, 10).await)),
        ("site", text(store.site(scope, &site("secret_site")).await)),
        ("tasks", text(store.tasks(scope, None, 10).await)),
        ("workers", text(store.workers(scope).await)),
        ("leases", text(store.leases(scope).await)),
        ("batches", text(store.batches(scope, None, 0, 10).await)),
        ("full_batches", text(store.full_batches(scope, None, 0, 10, 100).await)),
        ("newest_frames", text(store.newest_frames(scope, 10).await)),
        ("detections", text(store.detections(scope, &DetectionFilter::default(), None, 10).await)),
        ("perception_totals", text(store.perception_totals(scope).await)),
        ("consumers", text(store.consumers(scope).await)),
        ("consumer", text(store.consumer(scope, "zones").await)),
        ("finished_batches", text(store.finished_batches(scope, "zones", 0, 10).await)),
        ("dead_letters", text(store.dead_letters(scope, "zones", Letters::All, None, 10).await)),
        (
            "dead_letters to replay",
            text(store.dead_letters(scope, "zones", Letters::ToReplay, None, 10).await),
        ),
    ];
    let (of_zones, in_zone) = (ZoneEventFilter::default(), Some(zone_id(2)));
    let buckets = ZoneBucketFilter {
        camera: camera("secret"),
        window,
        bucket: Micros(1_000_000),
        zone: None,
        label: None,
    };
    let in_zone = ZoneEventFilter { zone: in_zone, ..of_zones.clone() };
    out.extend([
        ("zones", text(store.zones(scope, None, 10).await)),
        ("zone", text(store.zone(scope, zone_id(2)).await)),
        ("camera_zones", text(store.camera_zones(scope, &camera("secret")).await)),
        ("zone_states", text(store.zone_states(scope).await)),
        ("zone_occupancy", text(store.zone_occupancy(scope, &camera("secret")).await)),
        ("zone_counters", text(store.zone_counters(scope, zone_id(2)).await)),
        ("zone_events", text(store.zone_events(scope, &of_zones, None, 10).await)),
        ("zone_events of a zone", text(store.zone_events(scope, &in_zone, None, 10).await)),
        ("zone_buckets", text(store.zone_buckets(scope, &buckets).await.map(|counted| counted.buckets))),
    ]);
    let (id, stream, feed) = (camera("secret"), main_stream("secret"), feeds[1]);
    let gaps = GapFilter::default();
    let events = EventFilter { camera: Some(id.clone()), ..EventFilter::default() };
    let clips = ClipFilter { camera: Some(id.clone()), ..ClipFilter::default() };
    out.extend([
        ("camera", text(store.camera(scope, &id).await)),
        ("status", text(store.status(scope, &id).await)),
        ("segments", text(store.segments(scope, &stream, all, None, 10).await)),
        ("segment_spans", text(store.segment_spans(scope, &stream, all, None, 10).await)),
        ("segment_indexes", text(store.segment_indexes(scope, &stream, all, None, 10).await)),
        ("newest_segments", text(store.newest_segments(scope, &stream, None, 10).await)),
        ("first_segment", text(store.first_segment(scope, &stream).await)),
        ("last_segment", text(store.last_segment(scope, &stream).await)),
        ("segment", text(store.segment(scope, feed.id(0)).await)),
        ("segment_index", text(store.segment_index(scope, feed.id(0)).await)),
        ("gaps", text(store.gaps(scope, &id, &gaps, GapOrder::NewestFirst, None, 10).await)),
        ("wanted_history", text(store.wanted_history(scope, &id, all, None, 10).await)),
        ("alerts", text(store.alerts(scope, &id, all, None, 10).await)),
        ("events of it", text(store.events(scope, &events, None, 10).await)),
        ("clips of it", text(store.clips(scope, &clips, None, 10).await)),
        ("clip", text(store.clip(scope, clip(2, "secret", 5).id).await)),
        ("camera_tasks", text(store.camera_tasks(scope, &id).await)),
        ("task", text(store.task(scope, task_id(2)).await)),
        ("motion_spans", text(store.motion_spans(scope, &id, all, None, 10).await)),
        ("batches of it", text(store.batches(scope, Some(&id), 0, 10).await)),
        ("snapshot_schedules", text(store.snapshot_schedules(scope, &id).await)),
        ("snapshot_schedule", text(store.snapshot_schedule(scope, schedule_id(2)).await)),
        ("record_schedules", text(store.record_schedules(scope, &id).await)),
        ("record_schedule", text(store.record_schedule(scope, record_schedule_id(2)).await)),
        ("record_window", text(store.record_window(scope, &id).await)),
        ("snapshots", text(store.snapshots(scope, &id, all, None, 10).await)),
        ("snapshot", text(store.snapshot(scope, snapshot_id(2)).await)),
        ("clip_by_filename", text(store.clip_by_filename(scope, "clip_2.mp4").await)),
    ]);
    out
}

pub(crate) async fn nothing_outside_is_seen(db: Db) {
    let store = db.open().await;
    let feeds = fill(&store).await;
    let nothing = ["None", "[]", "Page { rows: [], next: None }"];
    for (name, text) in read_everything(&store, &Scope::All, feeds).await {
        let empty_by_nature = matches!(name, "deleting_segments" | "deleting_clips");
        assert!(empty_by_nature || !nothing.contains(&text.as_str()), "{name} sees nothing without a scope");
    }
    for (name, text) in read_everything(&store, &scope(&[]), feeds).await {
        assert!(nothing.contains(&text.as_str()), "{name} with an empty scope: {text}");
    }
    let secret_no = format!("stream_no: {}", feeds[1].stream_no);
    for mine in [scope(&["mine"]), scope(&["mine", "mine_other", "nobody"])] {
        for (name, text) in read_everything(&store, &mine, feeds).await {
            let leaks = text.contains("secret") || text.contains(&secret_no) || text.contains("camera: None");
            assert!(!leaks, "{name}: {text}");
            let people = ["account", "api_key", "preference", "sessions", "sign_in", "known"];
            let of_people = people.iter().any(|start| name.starts_with(start));
            assert!(!of_people || nothing.contains(&text.as_str()), "{name}: {text}");
            let lists = [
                "cameras",
                "streams",
                "write_rates",
                "open_segments",
                "open_gaps",
                "statuses",
                "events",
                "tasks",
                "zones",
                "zone_states",
                "zone_events",
                "running_snapshot_schedules",
                "leases",
                "batches",
                "full_batches",
                "newest_frames",
                "detections",
                "dead_letters",
                "dead_letters to replay",
            ];
            assert!(!lists.contains(&name) || !nothing.contains(&text.as_str()), "{name} hides too much");
        }
    }
}

pub(crate) async fn audit_scope_follows_its_rule(db: Db) {
    let store = db.open().await;
    let about =
        |number: u128, target: Option<&str>, detail| AuditEntry { detail, ..audit(number, target, 1) };
    let rows = [
        about(1, Some("a"), json!({})),
        about(2, None, json!({"camera_id": "a"})),
        about(3, None, json!({"camera_ids": ["a"]})),
        about(4, None, json!({"camera_ids": ["a", "b"]})),
        about(5, Some("*"), json!({"camera_ids": ["b", "c"]})),
        about(6, None, json!({"camera_ids": []})),
        about(7, None, json!({})),
        about(8, None, json!({"camera_ids": ["a", 1]})),
    ];
    for entry in rows {
        store.write(AppendAudit { entry }).await.unwrap();
    }
    let check = async |scope: Scope, expect: &[u128]| {
        let page = store.audit(&scope, &AuditFilter::default(), None, 10).await.unwrap();
        let mut ids: Vec<_> = page.rows.into_iter().map(|row| row.id).collect();
        ids.sort();
        let expect: Vec<_> = expect.iter().map(|number| audit(*number, None, 0).id).collect();
        assert_eq!(ids, expect, "{scope:?}");
    };
    check(Scope::All, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    check(scope(&["a"]), &[1, 2, 3]).await;
    check(scope(&["a", "b"]), &[1, 2, 3, 4]).await;
    check(scope(&["b", "c", "d"]), &[5]).await;
    check(scope(&["d"]), &[]).await;
    check(scope(&[]), &[]).await;
}
