//! The scrub of older days, at a pace of the test.

use std::time::{Duration, Instant};

use heldar_base::{Scope, SegmentId};
use heldar_kernel::fsck::scrub::{Pace, Passed};
use heldar_store::op::{MarkDeleting, Markable, MendSegment, RemoveMarked};
use heldar_store::{EventFilter, Store};

use crate::ground::{Ground, LENGTH};
use crate::support::World;

const ALONE: &[(&str, &str)] = &[("HELDAR_RETENTION_INTERVAL_S", "86400")];
const FAST: Pace = Pace {
    gap: Duration::ZERO,
    rest_factor: 0,
    first: Duration::from_secs(86_400),
    between: Duration::from_secs(86_400),
};

async fn spoil_index(ground: &Ground, store: &Store, number: usize) {
    let built = &ground.built[number];
    let op = MendSegment {
        id: ground.id(number),
        end: built.start + LENGTH,
        size_bytes: i64::try_from(built.bytes.len()).unwrap(),
        holes: Vec::new(),
        index: b"not an index".to_vec(),
    };
    store.write(op).await.unwrap();
}

/// A file without a row, a row without a file and a wrong index on the first of two days, a wrong index on the second.
async fn spoiled() -> (World, SegmentId, SegmentId) {
    let ground = Ground::new(None).await;
    let store = ground.store().await;
    let ids = vec![ground.id(0)];
    let mark = MarkDeleting { ids: ids.clone(), which: Markable::OpenToo };
    store.write_all(vec![mark.into(), RemoveMarked { ids }.into()]).await.unwrap();
    ground.remove(&ground.path(1));
    spoil_index(&ground, &store, 2).await;
    spoil_index(&ground, &store, 4).await;
    store.close().await;
    let (orphan, missing) = (ground.id(0), ground.id(1));
    (World::start_in(ground.into_folder(), ALONE).await, orphan, missing)
}

#[tokio::test(flavor = "multi_thread")]
async fn older_days_are_told_of_and_mended_as_a_start_would() {
    let (world, orphan, missing) = spoiled().await;
    let kernel = &world.kernel;
    assert_eq!(kernel.store.segment(&Scope::All, orphan).await.unwrap(), None, "no start looks there");
    let passed = kernel.scrub.pass(kernel, FAST).await.unwrap();
    assert_eq!(passed, Passed { files: 3, findings: 3, repaired: 1 });
    assert!(kernel.store.segment(&Scope::All, orphan).await.unwrap().is_some());
    // What a start would leave alone is left alone.
    assert!(kernel.store.segment(&Scope::All, missing).await.unwrap().is_some());

    kernel.journal.flush(&kernel.store).await.unwrap();
    let which = EventFilter { event_type: Some("footage_mismatch".to_owned()), ..EventFilter::default() };
    let events = kernel.store.events(&Scope::All, &which, None, 10).await.unwrap().rows;
    let mut told: Vec<(String, bool)> = events
        .iter()
        .map(|row| {
            let payload = &row.event.payload;
            (payload["kind"].as_str().unwrap().to_owned(), payload["repaired"].as_bool().unwrap())
        })
        .collect();
    told.sort();
    let expect = [("index_unreadable", false), ("missing_file", false), ("orphan_file", true)];
    assert_eq!(told, expect.map(|(kind, repaired)| (kind.to_owned(), repaired)));
    assert!(events.iter().all(|row| row.event.camera.as_ref().is_some_and(|id| id.as_str() == "gate")));
    let metrics = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    for line in [
        "heldar_scrub_files_total 3",
        "heldar_scrub_findings_total{kind=\"missing_file\"} 1",
        "heldar_scrub_findings_total{kind=\"orphan_file\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Another pass finds what is left.
    let again = kernel.scrub.pass(kernel, FAST).await.unwrap();
    assert_eq!(again, Passed { files: 3, findings: 2, repaired: 0 });
    kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_pace() {
    let world = World::start_in(Ground::new(None).await.into_folder(), ALONE).await;
    let pace = Pace { gap: Duration::from_millis(60), ..FAST };
    let begun = Instant::now();
    let passed = world.kernel.scrub.pass(&world.kernel, pace).await.unwrap();
    assert_eq!(passed, Passed { files: 3, ..Passed::default() });
    // One day folder and three files.
    assert!(begun.elapsed() >= pace.gap * 4, "{:?}", begun.elapsed());
    world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_while_footage_waits_for_the_disk() {
    let world = World::start_in(Ground::new(None).await.into_folder(), ALONE).await;
    let kernel = &world.kernel;
    let waiting = kernel.writer.reserve(8 << 20).unwrap();
    let pass = kernel.scrub.pass(kernel, FAST);
    tokio::pin!(pass);
    // Without the wait all of it would take some milliseconds.
    let early = tokio::time::timeout(Duration::from_millis(500), pass.as_mut()).await;
    assert!(early.is_err(), "it read while footage waited");
    drop(waiting);
    assert_eq!(pass.await.unwrap().files, 3);
    kernel.stop().await;
}
