//! What is left of deletions, and what else goes with age.

use std::collections::BTreeSet;

use heldar_base::{CameraId, Clock as _, Micros, PublicId, WallTime};
use heldar_kernel::snapshots::SnapshotFolder;
use heldar_store::op::{AppendEvents, DeleteCamera, InsertClip, InsertSnapshot, MarkDeleting, Markable};
use heldar_store::{Clip, NewEvent, Severity, Snapshot};
use serde_json::json;

use crate::ground::{
    ALONE, camera, consistent, events, file, files, hours, id, left, main_of, minutes, plant,
};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_mark_and_unlink_is_finished_at_the_next_start() {
    let world = World::start_with(&[ALONE]).await;
    camera(&world.kernel, "gate", |_| {}).await;
    let ids = plant(&world.kernel, &main_of("gate"), hours(20), 10).await;
    let mark = MarkDeleting { ids: ids[..4].to_vec(), which: Markable::Sealed };
    assert_eq!(world.kernel.store.write(mark).await.unwrap().len(), 4);
    assert_eq!(files(&world.kernel), 10);
    let world = world.restart(&[ALONE]).await;
    assert_eq!(world.kernel.recovered.deleted, 4);
    assert_eq!(left(&world.kernel, &main_of("gate")).await, ids[4..]);
    consistent(&world.kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_removes_what_a_deleted_camera_left() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    camera(kernel, "yard", |_| {}).await;
    plant(kernel, &main_of("gate"), hours(3), 100).await;
    plant(kernel, &main_of("yard"), hours(3), 10).await;
    let stray = kernel.settings.storage.recordings_dir.join("gate/2020-01-01/20200101_000000.mp4");
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(stray, b"begun while the camera was being deleted").unwrap();
    kernel.store.write(DeleteCamera { id: id("gate") }).await.unwrap();
    kernel.retention.kick();
    let folder = kernel.settings.storage.recordings_dir.join("gate");
    for _ in 0..200 {
        if !folder.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!folder.exists());
    consistent(kernel).await;
    assert_eq!(left(kernel, &main_of("yard")).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn day_folders_go_when_they_are_empty() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let ids = plant(kernel, &main_of("gate"), hours(24 * 9), 5).await;
    plant(kernel, &main_of("gate"), minutes(20), 2).await;
    let folder = file(kernel, &main_of("gate"), ids[0]).parent().unwrap().to_owned();
    assert!(folder.is_dir());
    kernel.retention.sweep().await.unwrap();
    assert!(!folder.exists());
    consistent(kernel).await;
}

/// A snapshot of some time ago; its path below the folder of snapshots.
async fn snapshot(world: &World, number: u128, name: &str, age: Micros) -> String {
    let kernel = &world.kernel;
    let taken_at = kernel.clock.wall() - age;
    let path = SnapshotFolder::relative(&id(name), taken_at);
    let file = kernel.settings.storage.snapshots_dir.join(&path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, b"jpeg").unwrap();
    let snapshot = Snapshot {
        id: PublicId::new(Snapshot::PREFIX, number),
        camera: id(name),
        schedule: None,
        taken_at,
        size_bytes: 4,
        created_at: taken_at,
    };
    kernel.store.write(InsertSnapshot { snapshot }).await.unwrap();
    path
}

/// Waits until the folder of snapshots holds these files, and no folder without any.
async fn snapshots_are(world: &World, expect: &[&String]) {
    let root = world.kernel.settings.storage.snapshots_dir.clone();
    let expect: BTreeSet<String> = expect.iter().map(|path| (*path).clone()).collect();
    let mut found = BTreeSet::new();
    for _ in 0..200 {
        found.clear();
        for camera in std::fs::read_dir(&root).unwrap() {
            let camera = camera.unwrap().file_name().into_string().unwrap();
            // A folder may go between its listing and a look into it.
            let Ok(files) = std::fs::read_dir(root.join(&camera)) else { continue };
            let files: Vec<_> = files.collect();
            if files.is_empty() {
                found.insert(camera.clone());
            }
            for file in files {
                found.insert(format!("{camera}/{}", file.unwrap().file_name().to_str().unwrap()));
            }
        }
        if found == expect {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(found, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_go_with_age_and_with_their_camera() {
    let world = World::start_with(&[ALONE, ("HELDAR_SNAPSHOT_RETENTION_HOURS", "2")]).await;
    for name in ["gate", "yard", "roof"] {
        camera(&world.kernel, name, |_| {}).await;
    }
    snapshot(&world, 1, "gate", hours(3)).await;
    let young = snapshot(&world, 2, "gate", hours(1)).await;
    snapshot(&world, 3, "yard", hours(3)).await;
    let of_roof = snapshot(&world, 4, "roof", hours(1)).await;
    assert_eq!(world.kernel.retention.sweep().await.unwrap().snapshots, 2);
    snapshots_are(&world, &[&young, &of_roof]).await;
    let listed = world.get("/api/v1/cameras/gate/snapshots").await.ok();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["path"]), (1, &json!(young)));

    // Without a limit of age they stay, but for those of a camera that is deleted.
    let world = world.restart(&[ALONE, ("HELDAR_SNAPSHOT_RETENTION_HOURS", "0")]).await;
    let old = snapshot(&world, 5, "gate", hours(30_000)).await;
    assert_eq!(world.kernel.retention.sweep().await.unwrap().snapshots, 0);
    world.kernel.store.write(DeleteCamera { id: id("roof") }).await.unwrap();
    assert_eq!(world.get(&format!("/media/snapshots/{of_roof}")).await.status, 404);
    world.kernel.retention.kick();
    snapshots_are(&world, &[&young, &old]).await;
    world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_removes_files_of_snapshots_without_rows() {
    let world = World::start_with(&[ALONE]).await;
    camera(&world.kernel, "gate", |_| {}).await;
    let kept = snapshot(&world, 1, "gate", hours(1)).await;
    let root = world.kernel.settings.storage.snapshots_dir.clone();
    std::fs::create_dir(root.join("ghost")).unwrap();
    let foreign = "gate/notes.txt".to_owned();
    for path in [
        "gate/20260701T000000000Z.jpg",
        "gate/.snapshot-20260701T000000000Z.jpg",
        "ghost/20260701T000000000Z.jpg",
        &foreign,
    ] {
        std::fs::write(root.join(path), b"x").unwrap();
    }
    let world = world.restart(&[ALONE]).await;
    // What is no snapshot is nobody's to remove.
    snapshots_are(&world, &[&kept, &foreign]).await;
    assert_eq!(world.get(&format!("/media/snapshots/{kept}")).await.bytes, b"jpeg");
    world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clips_and_rows_go_with_age() {
    let world = World::start_with(&[ALONE, ("HELDAR_AUDIT_RETENTION_DAYS", "2")]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let now = kernel.clock.wall();
    let clip = async |number: u128, expires_at: Option<WallTime>, keep: bool| {
        let id = PublicId::new(Clip::PREFIX, number);
        let filename = format!("clip_{number:032x}.mp4");
        std::fs::write(kernel.settings.storage.clips_dir.join(&filename), b"clip").unwrap();
        let clip = Clip {
            id,
            camera: CameraId::new("gate").unwrap(),
            filename,
            download_name: "x.mp4".to_owned(),
            from: now - hours(3),
            to: now - hours(2),
            covered_us: 0,
            media_us: 0,
            lead_in_us: 0,
            gaps: Vec::new(),
            size_bytes: 4,
            segment_count: 1,
            sha256: "0".repeat(64),
            codecs: vec!["avc1.64001f".to_owned()],
            name: None,
            incident_id: None,
            keep,
            created_by: None,
            created_at: now - hours(50),
            expires_at,
        };
        kernel.store.write(InsertClip { clip }).await.unwrap();
    };
    clip(1, Some(now - hours(1)), false).await;
    clip(2, Some(now + hours(1)), false).await;
    clip(3, None, true).await;
    let event = |number: i64, at: WallTime| NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012}"),
        camera: None,
        event_type: "open_access".to_owned(),
        severity: Severity::Info,
        timestamp: at,
        created_at: at,
        payload: json!({}),
    };
    let old = (0..1200).map(|n| event(n, now - hours(49) - Micros(n)));
    let events_in: Vec<NewEvent> = old.chain([event(5000, now - hours(47))]).collect();
    kernel.store.write(AppendEvents { events: events_in }).await.unwrap();
    let report = kernel.retention.sweep().await.unwrap();
    assert_eq!((report.clips, report.rows), (1, 1200));
    let names: BTreeSet<String> = std::fs::read_dir(&kernel.settings.storage.clips_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expect = [2u32, 3].map(|number| format!("clip_{number:032x}.mp4"));
    assert_eq!(names, expect.into());
    assert_eq!(events(kernel).await.len(), 1);
    let clips = world.get("/api/v1/clips").await.ok();
    assert_eq!(clips.as_array().unwrap().len(), 2);
}
