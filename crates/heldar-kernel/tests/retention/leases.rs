//! Leases on segments against deletion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heldar_base::{Interval, Micros, Scope};
use heldar_store::op::DeleteCamera;

use crate::ground::{
    ALONE, LENGTH, camera, change, consistent, file, files, hours, id, left, main_of, minutes, plant, settle,
};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_leased_stays_until_it_is_released() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    let ids = plant(kernel, &stream, hours(26), 20).await;
    let window = Interval::new(ids[3].start, ids[6].start);
    let (lease, segments) = kernel.lease_footage(&Scope::All, &stream, window).await.unwrap();
    assert_eq!(segments.iter().map(|segment| segment.id).collect::<Vec<_>>(), ids[3..6]);
    kernel.retention.sweep().await.unwrap();
    assert_eq!(left(kernel, &stream).await, ids[3..6]);
    // Its camera is deleted: gone from every answer, and from disk when the job is done.
    kernel.store.write(DeleteCamera { id: id("gate") }).await.unwrap();
    let none = kernel.segments_in(&Scope::All, &stream, window).await.unwrap();
    assert!(none.is_empty());
    kernel.retention.sweep().await.unwrap();
    assert_eq!(files(kernel), 3);
    drop(lease);
    let report = kernel.retention.sweep().await.unwrap();
    assert_eq!((report.finished, files(kernel)), (3, 0));
    assert!(!kernel.settings.storage.recordings_dir.join("gate").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_never_loses_what_it_has_leased() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = world.kernel.clone();
    camera(&kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    let ids = plant(&kernel, &stream, hours(40), 600).await;
    let whole = Interval::new(ids[0].start, ids[599].start + LENGTH);
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for reader in 0..4u64 {
        let (kernel, stop, stream) = (kernel.clone(), stop.clone(), stream.clone());
        readers.push(tokio::spawn(async move {
            let mut read = 0u64;
            let mut turn = reader;
            while !stop.load(Ordering::SeqCst) {
                // Around the oldest, where deletion works.
                let oldest = kernel.store.first_segment(&Scope::All, &stream).await.unwrap();
                let Some(oldest) = oldest else { break };
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let from = oldest.id.start + Micros(LENGTH.0 * i64::try_from(turn >> 61).unwrap());
                let window = Interval::new(from, (from + minutes(5)).min(whole.end));
                let (lease, segments) = kernel.lease_footage(&Scope::All, &stream, window).await.unwrap();
                for segment in &segments {
                    let path = file(&kernel, &stream, segment.id);
                    assert!(path.is_file(), "{} is leased and gone", segment.id);
                    tokio::task::yield_now().await;
                    assert!(path.is_file(), "{} went while it was leased", segment.id);
                    read += 1;
                }
                drop(lease);
                tokio::task::yield_now().await;
            }
            read
        }));
    }
    for hours in (20..40).rev() {
        change(&kernel, "gate", |fields| fields.retention_hours = hours).await;
        kernel.retention.sweep().await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut read = 0;
    for reader in readers {
        read += reader.await.unwrap();
    }
    assert!(read > 50, "{read} segments were read meanwhile");
    change(&kernel, "gate", |fields| fields.retention_hours = 1).await;
    settle(&kernel).await;
    assert!(left(&kernel, &stream).await.is_empty());
    consistent(&kernel).await;
}
