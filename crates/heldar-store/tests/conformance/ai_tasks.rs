//! AI tasks, workers, leases.

use heldar_base::{PublicId, Scope, StreamKind};
use heldar_store::op::{
    ChangeLeases, CreateTask, DeleteCamera, DeleteTask, LeaseChange, OnTaken, Prunable, Prune, RemoveCamera,
    UpdateTask,
};
use heldar_store::{
    AiTask, AiTaskFields, AiWorker, Attached, ErrorKind, TaskLease, TaskOrigin, Transport, WorkerKey,
};
use serde_json::json;

use crate::seen::{create_task, task_fields, task_id};
use crate::world::{Db, at, audit, camera, create_camera, scope};

pub(crate) async fn tasks_are_kept(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    let fields = AiTaskFields {
        fps: 1.0 / 3.0,
        width: 640,
        config: json!({"threshold": 0.02, "classes": ["Ω"]}),
        warm: true,
        enabled: false,
        stream_profile: StreamKind::Main,
        ..task_fields("motion")
    };
    let create =
        CreateTask { fields: fields.clone(), origin: TaskOrigin::Server, ..create_task(1, "a", "", 5) };
    let made = store.write(create.clone()).await.unwrap();
    let expect = AiTask {
        id: task_id(1),
        camera: camera("a"),
        fields: fields.clone(),
        origin: TaskOrigin::Server,
        created_at: at(5),
        updated_at: at(5),
        revision: 1,
    };
    assert_eq!((&made.task, made.new), (&expect, true));
    assert_eq!(store.task(&Scope::All, task_id(1)).await.unwrap(), Some(expect.clone()));

    // The place is taken: the task that has it is the answer, or nothing happens at all.
    let again = CreateTask { id: task_id(2), now: at(9), ..create.clone() };
    let found = store.write(again.clone()).await.unwrap();
    assert_eq!((found.task, found.new), (expect.clone(), false));
    let attached = Attached { audit: Some(audit(1, Some("a"), 9)), events: Vec::new() };
    let refused =
        store.manage(CreateTask { on_taken: OnTaken::Refuse, ..again }, attached).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(db.numbers("SELECT COUNT(*) FROM audit").await, [[0]]);
    // The other stream of the same camera is another place; an id is given once.
    let mut sub = create.clone();
    sub.fields.stream_profile = StreamKind::Sub;
    let taken = store.write(sub.clone()).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    sub.id = task_id(3);
    assert!(store.write(sub).await.unwrap().new);
    let nowhere = store.write(create_task(4, "nowhere", "x", 0)).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);

    let update =
        |fields: AiTaskFields, revision| UpdateTask { id: task_id(1), fields, revision, now: at(20) };
    let occupied = AiTaskFields { stream_profile: StreamKind::Sub, ..fields.clone() };
    assert_eq!(store.write(update(occupied, 1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    let other = AiTaskFields { task_type: "anpr".into(), fps: 30.0, ..fields };
    let changed = store.write(update(other.clone(), 1)).await.unwrap();
    assert_eq!((changed.fields, changed.revision, changed.updated_at), (other.clone(), 2, at(20)));
    assert_eq!(store.write(update(other.clone(), 1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    let gone = UpdateTask { id: task_id(9), ..update(other, 1) };
    assert_eq!(store.write(gone).await.unwrap_err().kind(), ErrorKind::NotFound);

    // Lists: of a camera by age, of all by id, each inside its scope.
    store.write(create_task(5, "b", "first", 3)).await.unwrap();
    store.write(create_task(6, "b", "second", 1)).await.unwrap();
    let of_b = store.camera_tasks(&Scope::All, &camera("b")).await.unwrap();
    assert_eq!(of_b.iter().map(|task| task.id).collect::<Vec<_>>(), [task_id(6), task_id(5)]);
    assert!(store.camera_tasks(&scope(&["a"]), &camera("b")).await.unwrap().is_empty());
    let page = store.tasks(&Scope::All, None, 3).await.unwrap();
    assert_eq!(page.next, Some(task_id(5)));
    let rest = store.tasks(&Scope::All, page.next, 3).await.unwrap();
    assert_eq!(rest.rows.iter().map(|task| task.id).collect::<Vec<_>>(), [task_id(6)]);
    assert_eq!(store.tasks(&scope(&["a"]), None, 10).await.unwrap().rows.len(), 2);
    assert_eq!(store.task(&scope(&["a"]), task_id(5)).await.unwrap(), None);

    store.write(DeleteTask { id: task_id(6) }).await.unwrap();
    assert_eq!(store.write(DeleteTask { id: task_id(6) }).await.unwrap_err().kind(), ErrorKind::NotFound);
    // A camera out of use keeps its tasks for the day it comes back; one that is deleted does not.
    store.write(RemoveCamera { id: camera("b"), now: at(30) }).await.unwrap();
    assert_eq!(store.tasks(&Scope::All, None, 10).await.unwrap().rows.len(), 2);
    assert_eq!(store.camera_tasks(&Scope::All, &camera("b")).await.unwrap().len(), 1);
    assert_eq!(store.write(create_task(7, "b", "x", 0)).await.unwrap_err().kind(), ErrorKind::NotFound);
    store.write(DeleteCamera { id: camera("b") }).await.unwrap();
    assert_eq!(store.task(&Scope::All, task_id(5)).await.unwrap(), None);
}

fn worker(name: &str, seconds: i64) -> AiWorker {
    AiWorker {
        key: WorkerKey { credential: "system".into(), worker: name.into() },
        last_seen: at(seconds),
        live_until: at(seconds + 60),
        transport: Transport::Lease,
        task_types: Some(vec!["motion".into(), "Ω".into()]),
        capacity: 0.37,
        max_tasks: 512,
        lease_id: Some(PublicId::new(TaskLease::PREFIX, 9)),
    }
}

fn lease(task: u128, name: &str, seconds: i64) -> TaskLease {
    TaskLease {
        task: task_id(task),
        lease_id: PublicId::new(TaskLease::PREFIX, 9),
        holder: worker(name, 0).key,
        acquired_at: at(0),
        renewed_at: at(seconds),
        expires_at: at(seconds + 60),
    }
}

pub(crate) async fn leases_are_kept(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    store.write(create_task(1, "a", "motion", 0)).await.unwrap();
    store.write(create_task(2, "b", "motion", 0)).await.unwrap();
    let change = async |changes: Vec<LeaseChange>| store.write(ChangeLeases { changes }).await.unwrap();
    let plain = AiWorker { task_types: None, lease_id: None, ..worker("two", 500) };
    // A task that went meanwhile does not hurt the rest.
    change(vec![
        LeaseChange::PutWorker(worker("one", 0)),
        LeaseChange::PutWorker(plain.clone()),
        LeaseChange::PutLease(lease(1, "one", 0)),
        LeaseChange::PutLease(lease(77, "one", 0)),
        LeaseChange::PutLease(lease(2, "one", 0)),
    ])
    .await;
    change(vec![LeaseChange::PutWorker(worker("one", 10)), LeaseChange::PutLease(lease(2, "two", 10))]).await;
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.workers(&Scope::All).await.unwrap(), [worker("one", 10), plain.clone()]);
    assert_eq!(store.leases(&Scope::All).await.unwrap(), [lease(1, "one", 0), lease(2, "two", 10)]);
    assert_eq!(store.leases(&scope(&["b"])).await.unwrap(), [lease(2, "two", 10)]);
    assert!(store.workers(&scope(&["b"])).await.unwrap().is_empty());

    let change = async |changes: Vec<LeaseChange>| store.write(ChangeLeases { changes }).await.unwrap();
    change(vec![LeaseChange::RemoveLease(task_id(1)), LeaseChange::RemoveLease(task_id(1))]).await;
    assert_eq!(store.leases(&Scope::All).await.unwrap(), [lease(2, "two", 10)]);
    // A lease goes with its task; a worker that nobody hears of goes with age, or when it says so.
    store.write(DeleteTask { id: task_id(2) }).await.unwrap();
    assert!(store.leases(&Scope::All).await.unwrap().is_empty());
    let prune = Prune { what: Prunable::Workers, before: at(100), limit: 500 };
    assert_eq!(store.write(prune).await.unwrap(), 1);
    assert_eq!(store.workers(&Scope::All).await.unwrap(), std::slice::from_ref(&plain));
    change(vec![LeaseChange::RemoveWorker(plain.key)]).await;
    assert!(store.workers(&Scope::All).await.unwrap().is_empty());
}
