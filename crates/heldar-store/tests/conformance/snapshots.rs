//! Snapshot schedules and snapshots.

use heldar_base::{Micros, PublicId, Scope, WallTime};
use heldar_store::op::{
    CreateSnapshotSchedule, DeleteCamera, DeleteSnapshot, DeleteSnapshotSchedule, InsertSnapshot,
    NoteSnapshotFired, OldSnapshots, RemoveCamera, RemoveSnapshots, UpdateSnapshotSchedule,
};
use heldar_store::{
    Attached, ErrorKind, EventFilter, Snapshot, SnapshotFile, SnapshotSchedule, SnapshotScheduleFields,
    TimeRange,
};

use crate::world::{Db, at, audit, camera, create_camera, event, scope};

pub(crate) fn schedule_id(number: u128) -> PublicId {
    PublicId::new(SnapshotSchedule::PREFIX, number)
}

pub(crate) fn snapshot_id(number: u128) -> PublicId {
    PublicId::new(Snapshot::PREFIX, number)
}

pub(crate) fn schedule(number: u128, name: &str, seconds: i64) -> CreateSnapshotSchedule {
    let fields = SnapshotScheduleFields { interval_seconds: 300, enabled: true };
    CreateSnapshotSchedule { id: schedule_id(number), camera: camera(name), fields, now: at(seconds) }
}

/// One without a schedule.
pub(crate) fn snapshot(number: u128, name: &str, seconds: i64) -> Snapshot {
    Snapshot {
        id: snapshot_id(number),
        camera: camera(name),
        schedule: None,
        taken_at: at(seconds),
        size_bytes: 10,
        created_at: at(seconds + 1),
    }
}

fn file(name: &str, taken_at: WallTime) -> SnapshotFile {
    SnapshotFile { camera: camera(name), taken_at }
}

pub(crate) async fn schedules_are_kept(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    let fields = SnapshotScheduleFields { interval_seconds: 5, enabled: false };
    let made = store.write(CreateSnapshotSchedule { fields, ..schedule(1, "a", 5) }).await.unwrap();
    let expect = SnapshotSchedule {
        id: schedule_id(1),
        camera: camera("a"),
        fields,
        last_fired_at: None,
        last_error: None,
        created_at: at(5),
        updated_at: at(5),
        revision: 1,
    };
    assert_eq!(made, expect);
    assert_eq!(store.snapshot_schedule(&Scope::All, schedule_id(1)).await.unwrap(), Some(expect));
    let refused = async |create| store.write::<CreateSnapshotSchedule>(create).await.unwrap_err().kind();
    assert_eq!(refused(schedule(1, "b", 5)).await, ErrorKind::Conflict);
    assert_eq!(refused(schedule(2, "nowhere", 5)).await, ErrorKind::NotFound);

    let fields = SnapshotScheduleFields { interval_seconds: 86_400, enabled: true };
    let update = |revision| UpdateSnapshotSchedule { id: schedule_id(1), fields, revision, now: at(20) };
    let changed = store.write(update(1)).await.unwrap();
    assert_eq!((changed.fields, changed.revision, changed.updated_at), (fields, 2, at(20)));
    assert_eq!(store.write(update(1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    let gone = UpdateSnapshotSchedule { id: schedule_id(9), ..update(1) };
    assert_eq!(store.write(gone).await.unwrap_err().kind(), ErrorKind::NotFound);

    // What a run leaves is no change by a person; an event that comes with it is there or not as the note is.
    let error = Some("Ω".repeat(600));
    let note = |number, error| NoteSnapshotFired { id: schedule_id(number), at: at(30), error };
    let attached = |number| Attached { audit: None, events: vec![event(number, Some("a"), 30)] };
    store.manage(note(1, error.clone()), attached(1)).await.unwrap();
    let missing = store.manage(note(9, error), attached(2)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let events = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(events.len(), 1);
    let fired = store.snapshot_schedule(&Scope::All, schedule_id(1)).await.unwrap().unwrap();
    assert_eq!((fired.last_fired_at, fired.revision, fired.updated_at), (Some(at(30)), 2, at(20)));
    assert_eq!(fired.last_error, Some("Ω".repeat(500)));
    store.write(note(1, None)).await.unwrap();
    let fired = store.snapshot_schedule(&Scope::All, schedule_id(1)).await.unwrap().unwrap();
    assert_eq!((fired.last_fired_at, fired.last_error), (Some(at(30)), None));

    // Lists: of a camera by age, those that run by id, each inside its scope.
    store.write(schedule(5, "b", 3)).await.unwrap();
    store.write(schedule(6, "b", 1)).await.unwrap();
    let off = SnapshotScheduleFields { interval_seconds: 300, enabled: false };
    store.write(CreateSnapshotSchedule { fields: off, ..schedule(7, "b", 9) }).await.unwrap();
    let ids = |rows: &[SnapshotSchedule]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    let of_b = store.snapshot_schedules(&Scope::All, &camera("b")).await.unwrap();
    assert_eq!(ids(&of_b), [schedule_id(6), schedule_id(5), schedule_id(7)]);
    assert!(store.snapshot_schedules(&scope(&["a"]), &camera("b")).await.unwrap().is_empty());
    assert_eq!(store.snapshot_schedule(&scope(&["a"]), schedule_id(5)).await.unwrap(), None);
    let page = store.running_snapshot_schedules(&Scope::All, None, 2).await.unwrap();
    assert_eq!((ids(&page.rows), page.next), (vec![schedule_id(1), schedule_id(5)], Some(schedule_id(5))));
    let rest = store.running_snapshot_schedules(&Scope::All, page.next, 2).await.unwrap();
    assert_eq!((ids(&rest.rows), rest.next), (vec![schedule_id(6)], None));
    let mine = store.running_snapshot_schedules(&scope(&["a"]), None, 10).await.unwrap();
    assert_eq!(ids(&mine.rows), [schedule_id(1)]);

    store.write(DeleteSnapshotSchedule { id: schedule_id(6) }).await.unwrap();
    let again = store.write(DeleteSnapshotSchedule { id: schedule_id(6) }).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    // A camera out of use keeps its schedules, which do not run; one that is deleted does not.
    store.write(RemoveCamera { id: camera("b"), now: at(30) }).await.unwrap();
    let running = store.running_snapshot_schedules(&Scope::All, None, 10).await.unwrap();
    assert_eq!(ids(&running.rows), [schedule_id(1)]);
    assert_eq!(store.snapshot_schedules(&Scope::All, &camera("b")).await.unwrap().len(), 2);
    assert_eq!(refused(schedule(8, "b", 0)).await, ErrorKind::NotFound);
    store.write(DeleteCamera { id: camera("b") }).await.unwrap();
    assert_eq!(store.snapshot_schedule(&Scope::All, schedule_id(5)).await.unwrap(), None);
}

pub(crate) async fn snapshots_are_kept(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    store.write(schedule(1, "a", 0)).await.unwrap();
    let insert = async |snapshot: &Snapshot| {
        store.write(InsertSnapshot { snapshot: snapshot.clone() }).await.map_err(|error| error.kind())
    };
    let scheduled = |number, seconds| Snapshot {
        schedule: Some(schedule_id(1)),
        taken_at: at(seconds) + Micros(123_456),
        ..snapshot(number, "a", seconds)
    };
    let all = [scheduled(1, 10), scheduled(2, 20), scheduled(3, 30)];
    for snapshot in &all {
        insert(snapshot).await.unwrap();
    }
    let of_b = snapshot(4, "b", 20);
    insert(&of_b).await.unwrap();
    // Of a camera there is one in a millisecond, and an id is given once.
    for (number, micros, expect) in [
        (1, 5_000_000, Err(ErrorKind::Conflict)),
        (5, 123_000, Err(ErrorKind::Conflict)),
        (5, 123_999, Err(ErrorKind::Conflict)),
        (5, 124_000, Ok(())),
    ] {
        let other = Snapshot { taken_at: at(10) + Micros(micros), ..snapshot(number, "a", 0) };
        assert_eq!(insert(&other).await, expect, "{number} {micros}");
    }
    store.write(DeleteSnapshot { id: snapshot_id(5) }).await.unwrap();
    assert_eq!(insert(&snapshot(6, "nowhere", 0)).await, Err(ErrorKind::NotFound));

    let a = camera("a");
    let check = async |from: Option<WallTime>, to: Option<WallTime>, expect: &[usize]| {
        let range = TimeRange { from, to };
        let page = store.snapshots(&Scope::All, &a, range, None, 10).await.unwrap();
        let expect: Vec<_> = expect.iter().map(|index| all[*index].clone()).collect();
        assert_eq!(page.rows, expect, "{range:?}");
    };
    check(None, None, &[2, 1, 0]).await;
    // Both ends are included.
    check(Some(all[0].taken_at), Some(all[1].taken_at), &[1, 0]).await;
    check(Some(all[0].taken_at + Micros(1)), Some(all[1].taken_at - Micros(1)), &[]).await;
    let page = store.snapshots(&Scope::All, &a, TimeRange::default(), None, 2).await.unwrap();
    assert_eq!(page.next, Some(all[1].taken_at));
    let rest = store.snapshots(&Scope::All, &a, TimeRange::default(), page.next, 2).await.unwrap();
    assert_eq!((rest.rows.as_slice(), rest.next), (&all[..1], None));
    assert!(
        store.snapshots(&scope(&["b"]), &a, TimeRange::default(), None, 10).await.unwrap().rows.is_empty()
    );
    assert_eq!(store.snapshot(&Scope::All, snapshot_id(4)).await.unwrap(), Some(of_b));
    assert_eq!(store.snapshot(&scope(&["a"]), snapshot_id(4)).await.unwrap(), None);

    // They outlive their schedule.
    store.write(DeleteSnapshotSchedule { id: schedule_id(1) }).await.unwrap();
    let orphan = store.snapshot(&Scope::All, snapshot_id(2)).await.unwrap();
    assert_eq!(orphan, Some(Snapshot { schedule: None, ..all[1].clone() }));

    let attached = || Attached { audit: Some(audit(1, Some("a"), 9)), events: Vec::new() };
    let gone = store.manage(DeleteSnapshot { id: snapshot_id(2) }, attached()).await.unwrap();
    assert_eq!(gone.value, file("a", all[1].taken_at));
    let again = store.manage(DeleteSnapshot { id: snapshot_id(2) }, attached()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    assert_eq!(store.snapshot(&Scope::All, snapshot_id(2)).await.unwrap(), None);
}

pub(crate) async fn snapshots_go_with_age_and_camera(db: Db) {
    let store = db.open().await;
    for name in ["a", "b", "c"] {
        create_camera(&store, name).await;
    }
    let all: Vec<_> = (0i64..12)
        .map(|n| snapshot(u128::from(n.unsigned_abs()), ["a", "b", "c"][usize::try_from(n % 3).unwrap()], n))
        .collect();
    for snapshot in &all {
        store.write(InsertSnapshot { snapshot: snapshot.clone() }).await.unwrap();
    }
    let remove = async |which, limit| {
        let mut files = store.write(RemoveSnapshots { which, limit }).await.unwrap();
        files.sort_by_key(|file| (file.camera.clone(), file.taken_at));
        files
    };
    let old = OldSnapshots::Before(at(3));
    assert_eq!(remove(old, 2).await, [file("a", at(0)), file("b", at(1))]);
    assert_eq!(remove(old, 2).await, [file("c", at(2))]);
    assert!(remove(OldSnapshots::OfDeletedCameras, 9).await.is_empty());

    // A camera out of use keeps them; what it was deleted with is gone from every answer at once.
    store.write(RemoveCamera { id: camera("c"), now: at(30) }).await.unwrap();
    let of = async |name: &str| {
        let page = store.snapshots(&Scope::All, &camera(name), TimeRange::default(), None, 10).await.unwrap();
        page.rows.len()
    };
    assert_eq!(of("c").await, 3);
    let late = store.write(InsertSnapshot { snapshot: snapshot(50, "c", 50) }).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound);
    for name in ["a", "b"] {
        store.write(DeleteCamera { id: camera(name) }).await.unwrap();
        assert_eq!(of(name).await, 0);
    }
    assert_eq!(store.snapshot(&Scope::All, snapshot_id(3)).await.unwrap(), None);
    let gone = store.write(DeleteSnapshot { id: snapshot_id(3) }).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);

    // A camera of the same id begins anew.
    create_camera(&store, "a").await;
    store.write(InsertSnapshot { snapshot: snapshot(60, "a", 60) }).await.unwrap();
    assert_eq!(of("a").await, 1);
    let which = OldSnapshots::OfDeletedCameras;
    assert_eq!(remove(which, 4).await.len(), 4);
    assert_eq!(remove(which, 4).await, [file("b", at(7)), file("b", at(10))]);
    assert!(remove(which, 4).await.is_empty());
    assert_eq!(db.numbers("SELECT COUNT(*) FROM snapshot_camera").await, [[2]]);
    assert_eq!((of("a").await, of("c").await), (1, 3));
}
