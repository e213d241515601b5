use std::fs;

use heldar_base::NotWanted;
use heldar_ingest::SystemClock;
use heldar_store::op::CreateCamera;
use heldar_store::{
    AuditFilter, CameraFields, DeviceTls, EventFilter, RecordMode, RtspTransport, StoreConfig, TimeRange,
};
use heldar_testkit::{PostgresCluster, Stop};

use super::*;

#[test]
fn uuids_are_version_4() {
    let id = uuid();
    assert_eq!(id.len(), 36);
    assert_eq!(&id[14..15], "4");
    assert!("89ab".contains(&id[19..20]), "{id}");
    assert_ne!(id, uuid());
}

/// A database that can be stopped, and a data folder.
struct World {
    cluster: PostgresCluster,
    url: String,
    folder: tempfile::TempDir,
    clock: SystemClock,
}

impl World {
    fn new() -> World {
        let cluster = PostgresCluster::start().unwrap();
        let url = cluster.create_database().unwrap();
        World { cluster, url, folder: tempfile::tempdir().unwrap(), clock: SystemClock::new() }
    }

    async fn store(&self) -> Store {
        let url = self.url.parse().unwrap();
        Store::open(StoreConfig { url, max_connections: 3, now: self.clock.wall() }).await.unwrap()
    }

    fn journal(&self) -> Journal {
        Journal::open(self.folder.path(), self.clock, Arc::default()).unwrap()
    }
}

async fn numbers(store: &Store) -> Vec<u64> {
    let page = store.events(&Scope::All, &EventFilter::default(), None, 1000).await.unwrap();
    let mut events = page.rows;
    events.sort_by_key(|event| event.seq);
    events.iter().map(|event| event.event.payload["n"].as_u64().unwrap_or(u64::MAX)).collect()
}

fn raise(journal: &Journal, n: u64) {
    journal.raise(None, "test", Severity::Info, serde_json::json!({ "n": n }));
}

fn camera() -> CreateCamera {
    let fields = CameraFields {
        name: "Gate".to_owned(),
        site_id: None,
        vendor: "generic".to_owned(),
        model: None,
        address: None,
        rtsp_port: 554,
        username: None,
        password: None,
        main_stream_url: None,
        sub_stream_url: None,
        record_stream: heldar_base::StreamKind::Main,
        record_sub: false,
        rtsp_transport: RtspTransport::Auto,
        channel: 1,
        capabilities: serde_json::json!({}),
        record_enabled: true,
        segment_seconds: 60,
        retention_hours: 24,
        retention_motion_hours: None,
        retention_alert_hours: None,
        storage_quota_bytes: None,
        record_audio: false,
        record_mode: RecordMode::Continuous,
        pre_roll_seconds: 0,
        post_roll_seconds: 0,
        mirror_enabled: false,
        anr_enabled: false,
        anr_replay_url_template: None,
        native_anpr_enabled: false,
        native_events_enabled: false,
        enabled: true,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    };
    CreateCamera { id: CameraId::new("gate").unwrap(), fields, now: WallTime(1) }
}

/// Each process is a journal and a store; one that is killed is dropped as it stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_store_was_away_is_stored_once() {
    let world = World::new();
    let (camera, gate) = (camera(), CameraId::new("gate").unwrap());
    let journal = world.journal();
    let store = world.store().await;
    store.write(camera).await.unwrap();
    raise(&journal, 0);
    journal.flush(&store).await.unwrap();
    assert_eq!(journal.spooled(), 0);

    world.cluster.stop(Stop::Immediate).unwrap();
    let start = world.clock.wall();
    for n in 1..4u64 {
        raise(&journal, n);
        let reason = (n % 2 == 0).then_some(NotWanted::RecordingDisabled);
        let at = WallTime(start.0 + i64::try_from(n).unwrap());
        journal.push(Entry::Wanted { camera: gate.clone(), at, reason });
        journal.flush(&store).await.unwrap_err();
        assert_eq!(journal.spooled(), 2 * n);
    }
    drop((journal, store));

    world.cluster.resume().unwrap();
    let file = world.folder.path().join(SPOOL);
    let as_it_was = fs::read(&file).unwrap();
    for _restart in 0..2 {
        // The second time the file is as if the process had been killed between the commit and the file's removal.
        fs::write(&file, &as_it_was).unwrap();
        let (journal, store) = (world.journal(), world.store().await);
        journal.replay(&store).await.unwrap();
        assert!(!file.exists());
        assert_eq!(numbers(&store).await, [0, 1, 2, 3]);
        let history = store.wanted_history(&Scope::All, &gate, TimeRange::default(), None, 10).await.unwrap();
        let mut history: Vec<_> =
            history.rows.iter().map(|change| (change.at.0 - start.0, change.reason)).collect();
        history.sort_by_key(|(at, _)| *at);
        assert_eq!(history, [(1, None), (2, Some(NotWanted::RecordingDisabled)), (3, None)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_journal_goes_on_when_the_store_is_back() {
    let world = World::new();
    let (journal, store) = (Arc::new(world.journal()), world.store().await);
    let running = tokio::spawn({
        let (journal, store) = (journal.clone(), store.clone());
        async move { journal.run(&store).await }
    });
    let mut health = store.health();
    for round in 0..2 {
        world.cluster.stop(Stop::Fast).unwrap();
        for n in 0..300 {
            raise(&journal, round * 300 + n);
        }
        while journal.spooled() < 300 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.cluster.resume().unwrap();
        health.wait_for(|health| health.condition == heldar_store::Condition::Up).await.unwrap();
        while journal.spooled() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(numbers(&store).await, (0..(round + 1) * 300).collect::<Vec<u64>>());
    }
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_reports_its_loss_in_one_event() {
    let world = World::new();
    let store = world.store().await;
    let journal = Journal::bounded(world.folder.path(), 16 << 10, world.clock, Arc::default()).unwrap();
    world.cluster.stop(Stop::Immediate).unwrap();
    for n in 0..500 {
        raise(&journal, n);
        journal.flush(&store).await.unwrap_err();
    }
    world.cluster.resume().unwrap();
    drop(store);
    let store = world.store().await;
    journal.flush(&store).await.unwrap();
    let page = store.events(&Scope::All, &EventFilter::default(), None, 1000).await.unwrap();
    let (lost, kept): (Vec<_>, Vec<_>) = page
        .rows
        .into_iter()
        .map(|row| row.event)
        .partition(|event| event.event_type == "event_spool_overflow");
    let [lost] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!(lost.severity, Severity::Warning);
    assert_eq!(lost.payload["dropped"], 500 - kept.len());
    assert!(
        kept.len() > 20
            && kept.iter().all(|event| event.payload["n"].as_u64() >= Some(500 - kept.len() as u64))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_rows_that_find_no_room_are_counted() {
    let world = World::new();
    let store = world.store().await;
    let lost = Arc::new(Counter::default());
    let journal = Journal::bounded(world.folder.path(), 64 << 10, world.clock, lost.clone()).unwrap();
    world.cluster.stop(Stop::Immediate).unwrap();
    let author = crate::registry::Author::new(&heldar_base::Principal::system());
    for n in 0..500 {
        raise(&journal, n);
        let target = crate::registry::Target { kind: "route", id: "/api/v1/cameras" };
        let row = author.did(world.clock.wall(), "access_denied", target, serde_json::json!({ "n": n }));
        journal.push(Entry::Audit(Box::new(row)));
        journal.flush(&store).await.unwrap_err();
    }
    world.cluster.resume().unwrap();
    drop(store);
    let store = world.store().await;
    journal.flush(&store).await.unwrap();
    let page = store.audit(&Scope::All, &AuditFilter::default(), None, 1000).await.unwrap();
    let kept = page.rows.len();
    assert!(kept > 20 && kept < 480, "{kept} rows");
    assert_eq!(lost.get(), (500 - kept) as f64);
}

#[tokio::test]
async fn without_a_disk_events_wait_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let journal = Journal::open(&folder.path().join("gone"), clock, Arc::default()).unwrap();
    let url = format!("sqlite://{}/test.db", folder.path().display()).parse().unwrap();
    let store = Store::open(StoreConfig { url, max_connections: 2, now: clock.wall() }).await.unwrap();
    raise(&journal, 0);
    journal.save().await;
    assert_eq!(journal.spooled(), 0);
    raise(&journal, 1);
    journal.flush(&store).await.unwrap();
    assert_eq!(numbers(&store).await, [0, 1]);
}
