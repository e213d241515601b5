//! Detections by time.

use std::collections::BTreeSet;

use heldar_base::{CameraId, Micros, Scope};
use heldar_store::op::StoreBatch;
use heldar_store::{
    DetectionCursor, DetectionFilter, DetectionId, DetectionOrder, NewBatch, NewDetection, Share, Store,
    TimeRange,
};

use crate::seen::{batch, detection, store_batch, task_id};
use crate::world::{Db, at, camera, create_camera, scope};

fn set(names: &[&str]) -> Option<BTreeSet<CameraId>> {
    Some(names.iter().map(|name| camera(name)).collect())
}

/// What `fill` stores, as (camera, second, label, track, confidence), in the order of storing.
const SEEN: [(&str, i64, &str, &str, u32); 8] = [
    ("a", 10, "person", "1", 900_000),
    ("a", 10, "car", "2", 500_000),
    ("b", 12, "person", "1", 100_000),
    ("a", 8, "person", "1", 900_000),
    ("c", 12, "bird", "9", 990_000),
    ("a", 14, "car", "2", 700_000),
    ("b", 14, "car", "5", 700_000),
    ("a", 20, "person", "3", 1_000_000),
];

/// Batches: the first two detections are of one frame of a task; then each has its own.
async fn fill(store: &Store) -> Vec<DetectionId> {
    for name in ["a", "b", "c", "quiet"] {
        create_camera(store, name).await;
    }
    let seen = |(_, seconds, label, track, ppm): (&str, i64, &str, &str, u32)| NewDetection {
        confidence: Share::from_ppm(ppm),
        track_id: Some(track.into()),
        ..detection(label, seconds)
    };
    let mut ids = Vec::new();
    let task = task_id(1);
    let of_task = NewBatch {
        task: Some(task),
        frame_id: Some(format!("w:{task}:10000")),
        ..batch("a", 10, vec![seen(SEEN[0]), seen(SEEN[1])])
    };
    let seq = store_batch(store, of_task).await;
    ids.extend([DetectionId { seq, position: 0 }, DetectionId { seq, position: 1 }]);
    for case in &SEEN[2..] {
        let task_type = if case.0 == "b" { "motion" } else { "detection" };
        let frame_id = Some(format!("w:{}", case.1));
        let plain = batch(case.0, case.1, vec![seen(*case)]);
        let seq = store_batch(store, NewBatch { task_type: task_type.into(), frame_id, ..plain }).await;
        ids.push(DetectionId { seq, position: 0 });
    }
    ids
}

pub(crate) async fn detections_are_filtered(db: Db) {
    let store = db.open().await;
    let ids = fill(&store).await;
    let check = async |which: DetectionFilter, scope: Scope, expect: &[usize]| {
        let newest = store.detections(&scope, &which, None, 100).await.unwrap();
        let oldest = DetectionFilter { order: DetectionOrder::OldestFirst, ..which.clone() };
        let oldest = store.detections(&scope, &oldest, None, 100).await.unwrap();
        let place = |id: DetectionId| ids.iter().position(|other| *other == id).unwrap();
        let found: Vec<_> = newest.rows.iter().map(|row| place(row.id)).collect();
        assert_eq!(found, expect, "{which:?} {scope:?}");
        let mut reversed: Vec<_> = oldest.rows.iter().map(|row| place(row.id)).collect();
        reversed.reverse();
        assert_eq!(reversed, expect, "{which:?} {scope:?}");
    };
    let any = DetectionFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let of = |names: &[&str]| DetectionFilter { cameras: set(names), ..any() };
    check(any(), Scope::All, &[7, 6, 5, 4, 2, 1, 0, 3]).await;
    check(any(), scope(&["a", "quiet"]), &[7, 5, 1, 0, 3]).await;
    check(any(), scope(&[]), &[]).await;
    check(of(&["a"]), Scope::All, &[7, 5, 1, 0, 3]).await;
    check(of(&["b", "c", "x"]), Scope::All, &[6, 4, 2]).await;
    check(of(&["b", "c"]), scope(&["c", "a"]), &[4]).await;
    check(of(&["b"]), scope(&["a"]), &[]).await;
    check(of(&["quiet"]), Scope::All, &[]).await;
    check(of(&[]), Scope::All, &[]).await;
    let range = TimeRange { from: Some(at(10)), to: Some(at(14)) };
    check(DetectionFilter { range, ..any() }, Scope::All, &[4, 2, 1, 0]).await;
    let inclusive = TimeRange { from: None, to: Some(at(14) + Micros(1)) };
    check(DetectionFilter { range: inclusive, ..of(&["a"]) }, Scope::All, &[5, 1, 0, 3]).await;
    check(DetectionFilter { label: text("car"), ..any() }, Scope::All, &[6, 5, 1]).await;
    check(DetectionFilter { label: text("car"), ..any() }, scope(&["b"]), &[6]).await;
    check(DetectionFilter { label: text("car"), ..of(&["a"]) }, Scope::All, &[5, 1]).await;
    check(DetectionFilter { track_id: text("1"), ..any() }, Scope::All, &[2, 0, 3]).await;
    check(DetectionFilter { track_id: text("1"), ..of(&["a"]) }, Scope::All, &[0, 3]).await;
    check(DetectionFilter { label: text("car"), track_id: text("2"), ..any() }, Scope::All, &[5, 1]).await;
    check(DetectionFilter { min_confidence: Share::new(0.9), ..any() }, Scope::All, &[7, 4, 0, 3]).await;
    check(DetectionFilter { task_type: text("motion"), ..any() }, Scope::All, &[6, 2]).await;
    check(DetectionFilter { task_type: text("motion"), ..any() }, scope(&["a"]), &[]).await;
    let typed = DetectionFilter { task_type: text("detection"), label: text("car"), ..of(&["a"]) };
    check(typed, Scope::All, &[5, 1]).await;
    check(DetectionFilter { task: Some(task_id(1)), ..any() }, Scope::All, &[1, 0]).await;
    check(DetectionFilter { task: Some(task_id(2)), ..any() }, Scope::All, &[]).await;
    let frame = |id: &str| DetectionFilter { frame_id: text(id), ..of(&["a"]) };
    check(frame("20"), Scope::All, &[7]).await;
    check(frame("w:20"), Scope::All, &[7]).await;
    check(frame(&format!("{}:10000", task_id(1))), Scope::All, &[1, 0]).await;
    check(frame(&format!("w:{}:10000", task_id(1))), Scope::All, &[1, 0]).await;
    check(
        DetectionFilter { label: text("car"), ..frame(&format!("{}:10000", task_id(1))) },
        Scope::All,
        &[1],
    )
    .await;
    check(frame("10000"), Scope::All, &[]).await;
    check(frame("12"), Scope::All, &[]).await;
    check(frame("20"), scope(&["b"]), &[]).await;

    // A row with what its batch tells.
    let page = store.detections(&Scope::All, &any(), None, 1).await.unwrap();
    let row = &page.rows[0];
    assert_eq!((row.batch.camera.as_str(), row.batch.frame_id.as_deref()), ("a", Some("w:20")));
    assert_eq!((row.batch.seq, row.batch.created_at), (row.id.seq, at(20)));
    assert_eq!(row.detection.bbox.unwrap().values(), [0.1, 0.2, 0.3, 0.4]);
}

/// Pages of each kind of list, while rows are added: none twice, none skipped.
pub(crate) async fn pages_are_stable(db: Db) {
    let store = db.open().await;
    for name in ["a", "b"] {
        create_camera(&store, name).await;
    }
    for (number, name) in ["a", "b", "a"].into_iter().enumerate() {
        // Many share an instant.
        let seen = (0..20).map(|place| detection(if place % 2 == 0 { "x" } else { "y" }, 10 + place / 5));
        let frame_id = Some(format!("w:{number}"));
        store_batch(&store, NewBatch { frame_id, ..batch(name, 10, seen.collect()) }).await;
    }
    let label = || Some("x".to_owned());
    let kinds = [
        DetectionFilter::default(),
        DetectionFilter { cameras: set(&["a"]), ..DetectionFilter::default() },
        DetectionFilter { label: label(), ..DetectionFilter::default() },
        DetectionFilter { task_type: Some("detection".into()), label: label(), ..DetectionFilter::default() },
        DetectionFilter { cameras: set(&["a"]), frame_id: Some("0".into()), ..DetectionFilter::default() },
        DetectionFilter { track_id: Some("7".into()), ..DetectionFilter::default() },
    ];
    for (which, count) in kinds.into_iter().zip([60, 40, 30, 30, 20, 60]) {
        for order in [DetectionOrder::NewestFirst, DetectionOrder::OldestFirst] {
            let which = DetectionFilter { order, ..which.clone() };
            let whole = store.detections(&Scope::All, &which, None, 5000).await.unwrap();
            let expect: Vec<_> =
                whole.rows.iter().map(|row| row.id).filter(|id| !is_added(&whole.rows, *id)).collect();
            assert_eq!(expect.len(), count, "{which:?}");
            let mut found = Vec::new();
            let mut cursor: Option<DetectionCursor> = None;
            loop {
                let page = store.detections(&Scope::All, &which, cursor, 7).await.unwrap();
                found.extend(page.rows.iter().filter(|row| row.batch.task.is_none()).map(|row| row.id));
                let Some(next) = page.next else { break };
                cursor = Some(next);
                let added = vec![detection("x", 9), detection("x", 11), detection("x", 99)];
                let batch = NewBatch { task: Some(task_id(3)), ..batch("a", 10, added) };
                store.write(StoreBatch { batch }).await.unwrap();
            }
            assert_eq!(found, expect, "{which:?}");
        }
    }
}

/// Rows that were added while pages were read have a task.
fn is_added(rows: &[heldar_store::Detection], id: DetectionId) -> bool {
    rows.iter().any(|row| row.id == id && row.batch.task.is_some())
}

/// More cameras than one statement takes.
pub(crate) async fn many_cameras_make_one_list(db: Db) {
    let store = db.open().await;
    for number in 0..260i64 {
        let name = format!("c{number:03}");
        create_camera(&store, &name).await;
        store_batch(&store, batch(&name, number, vec![detection("x", number * 7 % 260)])).await;
    }
    for order in [DetectionOrder::NewestFirst, DetectionOrder::OldestFirst] {
        let which = DetectionFilter { order, ..DetectionFilter::default() };
        let mut cursor = None;
        let mut found = Vec::new();
        loop {
            let page = store.detections(&Scope::All, &which, cursor, 100).await.unwrap();
            found.extend(page.rows.iter().map(|row| row.detection.timestamp));
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        if order == DetectionOrder::NewestFirst {
            found.reverse();
        }
        assert_eq!(found, (0..260).map(at).collect::<Vec<_>>(), "{order:?}");
    }
}
