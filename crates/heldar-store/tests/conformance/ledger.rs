//! Gaps, what was wanted, status.

use heldar_base::{Cause, NotWanted, ReasonClass, Scope};
use heldar_store::op::{AppendWanted, DeleteCamera, PutGap, PutStatuses, RemoveCamera, RemoveGaps};
use heldar_store::{CameraState, CameraStatus, ErrorKind, Gap, GapFilter, GapOrder, TimeRange, WantedChange};

use crate::world::{Db, at, camera, create_camera, gap, gap_id, scope};

pub(crate) async fn gaps_open_grow_and_close(db: Db) {
    let store = db.open().await;
    let id = create_camera(&store, "a").await;
    let open = Gap { open: true, ..gap(1, "a", 0, 5) };
    store.write(PutGap { gap: open.clone() }).await.unwrap();
    store
        .write(PutGap { gap: Gap { end: at(9), last_error: Some("x".into()), ..open.clone() } })
        .await
        .unwrap();
    // An older version that comes late.
    store.write(PutGap { gap: open.clone() }).await.unwrap();
    let stored = store.open_gaps(&Scope::All).await.unwrap();
    assert_eq!(stored, [Gap { end: at(9), last_error: Some("x".into()), ..open.clone() }]);

    let second = Gap { open: true, ..gap(2, "a", 6, 7) };
    assert_eq!(store.write(PutGap { gap: second }).await.unwrap_err().kind(), ErrorKind::Conflict);
    let closed = Gap {
        open: false,
        end: at(12),
        cause: Cause::Reconfigured,
        detail: Some("d".into()),
        ..open.clone()
    };
    store.write(PutGap { gap: closed.clone() }).await.unwrap();
    store.write(PutGap { gap: Gap { end: at(20), ..open } }).await.unwrap();
    assert!(store.open_gaps(&Scope::All).await.unwrap().is_empty());
    let all =
        store.gaps(&Scope::All, &id, &GapFilter::default(), GapOrder::NewestFirst, None, 10).await.unwrap();
    assert_eq!(all.rows, [closed]);

    assert_eq!(store.write(RemoveGaps { ids: vec![gap_id(1), gap_id(9)] }).await.unwrap(), 1);
    let nobody = PutGap { gap: gap(3, "nobody", 0, 1) };
    assert_eq!(store.write(nobody).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn gaps_are_filtered(db: Db) {
    let store = db.open().await;
    let id = create_camera(&store, "a").await;
    for (number, start, end, cause) in [
        (1, 0, 10, Cause::Disk),
        (2, 20, 30, Cause::Auth),
        (3, 40, 50, Cause::Disk),
        (4, 40, 45, Cause::Retention),
    ] {
        store.write(PutGap { gap: Gap { cause, ..gap(number, "a", start, end) } }).await.unwrap();
    }
    let check = async |filter: GapFilter, order, expect: &[u128]| {
        let page = store.gaps(&Scope::All, &id, &filter, order, None, 10).await.unwrap();
        let expect: Vec<_> = expect.iter().map(|number| gap_id(*number)).collect();
        assert_eq!(page.rows.iter().map(|gap| gap.id).collect::<Vec<_>>(), expect, "{filter:?} {order:?}");
    };
    let all = GapFilter::default();
    check(all, GapOrder::NewestFirst, &[4, 3, 2, 1]).await;
    check(all, GapOrder::OldestFirst, &[1, 2, 3, 4]).await;
    check(GapFilter { cause: Some(Cause::Disk), ..all }, GapOrder::OldestFirst, &[1, 3]).await;
    let failed = GapFilter { fill_state: Some(heldar_store::FillState::Failed), ..all };
    check(failed, GapOrder::OldestFirst, &[]).await;
    let range = TimeRange { from: Some(at(10)), to: Some(at(40)) };
    check(GapFilter { range, ..all }, GapOrder::OldestFirst, &[2]).await;
    let range = TimeRange { from: Some(at(9)), to: Some(at(41)) };
    check(GapFilter { range, ..all }, GapOrder::NewestFirst, &[4, 3, 2, 1]).await;
}

pub(crate) async fn wanted_history_goes_forward(db: Db) {
    let store = db.open().await;
    let id = create_camera(&store, "a").await;
    let append = |seconds, reason| AppendWanted { camera: camera("a"), at: at(seconds), reason };
    assert!(store.write(append(10, None)).await.unwrap());
    assert!(!store.write(append(15, None)).await.unwrap());
    assert!(store.write(append(20, Some(NotWanted::CameraDisabled))).await.unwrap());
    // The clock was set back.
    assert!(store.write(append(5, Some(NotWanted::RecordingDisabled))).await.unwrap());
    assert!(store.write(append(30, None)).await.unwrap());
    let change = |at, reason| WantedChange { at, reason };
    let forced = heldar_base::WallTime(at(20).0 + 1);
    let expect = [
        change(at(10), None),
        change(at(20), Some(NotWanted::CameraDisabled)),
        change(forced, Some(NotWanted::RecordingDisabled)),
        change(at(30), None),
    ];
    let history = async |from: Option<i64>, to: Option<i64>| {
        let range = TimeRange { from: from.map(at), to: to.map(at) };
        store.wanted_history(&Scope::All, &id, range, None, 10).await.unwrap().rows
    };
    assert_eq!(history(None, None).await, expect);
    assert_eq!(history(Some(15), Some(20)).await, expect[..1]);
    assert_eq!(history(Some(20), Some(25)).await, expect[1..3]);
    assert_eq!(history(Some(29), None).await, expect[2..]);
    assert_eq!(history(Some(0), Some(10)).await, []);
    assert_eq!(history(Some(5), Some(11)).await, expect[..1]);
    store.write(DeleteCamera { id }).await.unwrap();
    assert_eq!(store.write(append(40, None)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn statuses_are_kept(db: Db) {
    let store = db.open().await;
    for name in ["a", "b"] {
        create_camera(&store, name).await;
    }
    let status = |name, state| CameraStatus {
        camera: camera(name),
        state,
        state_since: at(1),
        not_wanted_reason: None,
        reason_class: Some(ReasonClass::Auth),
        last_error: Some("é".repeat(900)),
        last_segment_at: Some(at(2)),
        last_started_at: None,
        last_picture_at: Some(at(3)),
        reconnect_count: 4,
        segments_written: 5,
        updated_at: at(6),
    };
    let all = ["b", "a", "nobody"].map(|name| status(name, CameraState::Offline));
    store.write(PutStatuses { statuses: all.to_vec() }).await.unwrap();
    store.write(PutStatuses { statuses: vec![status("b", CameraState::Recording)] }).await.unwrap();
    let cut = |mut status: CameraStatus| {
        status.last_error = Some("é".repeat(800));
        status
    };
    let stored = store.statuses(&Scope::All).await.unwrap();
    let expect = [cut(status("a", CameraState::Offline)), cut(status("b", CameraState::Recording))];
    assert_eq!(stored, expect);
    assert_eq!(store.status(&Scope::All, &camera("a")).await.unwrap().as_ref(), Some(&expect[0]));
    assert_eq!(store.status(&scope(&["a"]), &camera("b")).await.unwrap(), None);
    store.write(RemoveCamera { id: camera("a"), now: at(7) }).await.unwrap();
    assert_eq!(store.statuses(&Scope::All).await.unwrap(), expect[1..]);
}
