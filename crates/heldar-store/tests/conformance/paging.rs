//! Pages under inserts and deletes: no row twice, none skipped.

use std::collections::HashSet;

use heldar_base::Scope;
use heldar_store::op::{
    AppendAudit, AppendEvents, DeleteAccount, DeleteApiKey, DeleteCamera, DeleteSnapshot,
    DeleteSnapshotSchedule, EndSessions, InsertClip, InsertSnapshot, MarkClipsDeleting, MarkDeleting,
    Markable, PutGap, RemoveGaps,
};
use heldar_store::{
    AuditFilter, CameraQuery, ClipFilter, EventFilter, GapFilter, GapOrder, Page, Store, StoreError,
    TimeRange,
};

use crate::people::{account_id, create_key, create_person, failure, key_id, session_id, sign_in};
use crate::snapshots::{schedule, schedule_id, snapshot, snapshot_id};
use crate::world::{
    Db, Feed, at, audit, camera, clip, create_camera, create_feed, event, gap, gap_id, main_stream,
};

/// Rows that are there from the beginning; the odd ones stay to the end, the even ones may go.
const ROWS: u128 = 20;

/// Reads a list to its end in pages of two. Before each page rows are removed and added. Every row that was there all
/// the time is seen, none twice.
async fn check<T, C>(
    name: &str,
    read: impl AsyncFn(Option<C>) -> Result<Page<T, C>, StoreError>,
    key: impl Fn(&T) -> String,
    stays: impl Fn(u128) -> String,
    disturb: impl AsyncFn(u128),
) {
    let mut seen = Vec::new();
    let mut cursor = None;
    let mut turn = 0;
    loop {
        let page = read(cursor).await.unwrap();
        seen.extend(page.rows.iter().map(&key));
        let Some(next) = page.next else { break };
        cursor = Some(next);
        if turn < ROWS / 2 {
            disturb(turn).await;
        }
        turn += 1;
    }
    let unique: HashSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "{name}: a row twice in {seen:?}");
    for number in (1..=ROWS).filter(|number| number % 2 == 1) {
        assert!(unique.contains(&stays(number)), "{name}: row {number} was skipped in {seen:?}");
    }
}

fn seconds(number: u128) -> i64 {
    i64::try_from(number).unwrap()
}

async fn fill(store: &Store, feed: Feed) {
    for number in 1..=ROWS {
        // Three rows share each instant, so that pages of two begin in the midst of them.
        let instant = seconds(number / 3);
        store.write(AppendEvents { events: vec![event(number, Some("a"), instant)] }).await.unwrap();
        store.write(AppendAudit { entry: audit(number, Some("a"), instant) }).await.unwrap();
        store.write(PutGap { gap: gap(number, "a", instant, instant + 1) }).await.unwrap();
        store.write(InsertClip { clip: clip(number, "a", instant) }).await.unwrap();
        // One in a second: of a camera there is one at a time.
        store.write(InsertSnapshot { snapshot: snapshot(number, "a", seconds(number)) }).await.unwrap();
        store.write(schedule(number, "a", instant)).await.unwrap();
        store.write(feed.sealed(seconds(number) * 10, seconds(number) * 10 + 5)).await.unwrap();
        create_camera(store, &format!("c{number:02}")).await;
    }
}

pub(crate) async fn no_row_twice_and_none_skipped(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    fill(&store, feed).await;
    let all = Scope::All;
    let (a, stream) = (camera("a"), main_stream("a"));

    let even = |turn: u128| turn * 2 + 2;
    let fresh = |turn: u128| 1000 + turn;
    check(
        "events",
        async |cursor| store.events(&all, &EventFilter::default(), cursor, 2).await,
        |row| row.event.id.clone(),
        |number| event(number, None, 0).id,
        async |turn| {
            let events =
                vec![event(fresh(turn), Some("a"), seconds(turn)), event(fresh(turn) + 500, None, 99)];
            store.write(AppendEvents { events }).await.unwrap();
            db.tamper(&format!("DELETE FROM event WHERE id = '{}'", event(even(turn), None, 0).id))
                .await
                .unwrap();
        },
    )
    .await;
    check(
        "audit",
        async |cursor| store.audit(&all, &AuditFilter::default(), cursor.as_ref(), 2).await,
        |row| row.id.clone(),
        |number| audit(number, None, 0).id,
        async |turn| {
            store.write(AppendAudit { entry: audit(fresh(turn), None, seconds(turn)) }).await.unwrap();
        },
    )
    .await;
    for order in [GapOrder::NewestFirst, GapOrder::OldestFirst] {
        check(
            "gaps",
            async |cursor| store.gaps(&all, &a, &GapFilter::default(), order, cursor.as_ref(), 2).await,
            |row| row.id.to_string(),
            |number| gap_id(number).to_string(),
            async |turn| {
                let gap = gap(fresh(turn), "a", seconds(turn), seconds(turn) + 1);
                store.write(PutGap { gap }).await.unwrap();
                store.write(RemoveGaps { ids: vec![gap_id(even(turn))] }).await.unwrap();
            },
        )
        .await;
    }
    check(
        "clips",
        async |cursor| store.clips(&all, &ClipFilter::default(), cursor.as_ref(), 2).await,
        |row| row.id.to_string(),
        |number| clip(number, "a", 0).id.to_string(),
        async |turn| {
            store.write(InsertClip { clip: clip(fresh(turn), "a", seconds(turn)) }).await.unwrap();
            store.write(MarkClipsDeleting { ids: vec![clip(even(turn), "a", 0).id] }).await.unwrap();
        },
    )
    .await;
    check(
        "snapshots",
        async |cursor| store.snapshots(&all, &a, TimeRange::default(), cursor, 2).await,
        |row| row.id.to_string(),
        |number| snapshot_id(number).to_string(),
        async |turn| {
            let fresh = snapshot(fresh(turn), "a", 100 + seconds(turn));
            store.write(InsertSnapshot { snapshot: fresh }).await.unwrap();
            store.write(DeleteSnapshot { id: snapshot_id(even(turn)) }).await.unwrap();
        },
    )
    .await;
    check(
        "snapshot schedules",
        async |cursor| store.running_snapshot_schedules(&all, cursor, 2).await,
        |row| row.id.to_string(),
        |number| schedule_id(number).to_string(),
        async |turn| {
            store.write(schedule(fresh(turn), "a", seconds(turn))).await.unwrap();
            store.write(DeleteSnapshotSchedule { id: schedule_id(even(turn)) }).await.unwrap();
        },
    )
    .await;
    check(
        "segments",
        async |cursor| store.segments(&all, &stream, TimeRange::default(), cursor, 2).await,
        |row| row.id.to_string(),
        |number| feed.id(seconds(number) * 10).to_string(),
        async |turn| {
            store.write(feed.sealed(seconds(turn) * 10 + 6, seconds(turn) * 10 + 7)).await.unwrap();
            let ids = vec![feed.id(seconds(even(turn)) * 10)];
            store.write(MarkDeleting { ids, which: Markable::Sealed }).await.unwrap();
        },
    )
    .await;
    check(
        "newest segments",
        async |cursor| store.newest_segments(&all, &stream, cursor, 2).await,
        |row| row.id.to_string(),
        |number| feed.id(seconds(number) * 10).to_string(),
        async |turn| {
            store.write(feed.sealed(seconds(turn) * 10 + 1000, seconds(turn) * 10 + 1001)).await.unwrap();
        },
    )
    .await;
    check(
        "cameras",
        async |cursor| store.cameras(&all, &CameraQuery::default(), cursor.as_ref(), 2).await,
        |row| row.id.to_string(),
        |number| format!("c{number:02}"),
        async |turn| {
            create_camera(&store, &format!("c{turn:02}_new")).await;
            store.write(DeleteCamera { id: camera(&format!("c{:02}", even(turn))) }).await.unwrap();
        },
    )
    .await;
    let counted = store.events(&all, &EventFilter::default(), None, 0).await.unwrap();
    assert_eq!(counted.rows.len(), 1, "a page holds at least one row");
    assert_eq!(at(0).0 % 1_000_000, 0);
}

pub(crate) async fn accounts_come_in_pages(db: Db) {
    let store = db.open().await;
    let all = Scope::All;
    // Two accounts own all that comes in pages of its own.
    let owners = [account_id(1), account_id(3)];
    for number in 1..=ROWS {
        create_person(&store, number, &format!("n{number}"), "viewer").await;
        create_key(&store, number, "key").await;
    }
    let client = |number: u128| (&owners[usize::from(number > ROWS / 2)], format!("c{number:02}"));
    for number in 1..=ROWS {
        let (owner, client) = client(number);
        store.write(sign_in(number, owner, &client, 0)).await.unwrap();
    }
    for number in 1..=ROWS {
        let (owner, client) = client(number);
        store.write(failure(owner, &client, at(0))).await.unwrap();
    }
    let of_one = store.sign_in_failures(&all, Some(&owners[1]), None, 3).await.unwrap();
    let rest = store.sign_in_failures(&all, Some(&owners[1]), of_one.next.as_ref(), 100).await.unwrap();
    assert_eq!((of_one.rows.len(), rest.rows.len()), (3, 7), "the second half");
    let even = |turn: u128| turn * 2 + 2;
    let named = |number: u128| client(number).1;
    let gone = async |table: &str, turn: u128| {
        db.tamper(&format!("DELETE FROM {table} WHERE client = '{}'", named(even(turn)))).await.unwrap();
    };
    check(
        "sessions",
        async |cursor| store.sessions(&all, None, cursor.as_deref(), 2).await,
        |row| row.id.clone(),
        session_id,
        async |turn| {
            store.write(EndSessions { ids: vec![session_id(even(turn))] }).await.unwrap();
        },
    )
    .await;
    check(
        "failures",
        async |cursor| store.sign_in_failures(&all, None, cursor.as_ref(), 2).await,
        |row| row.client.clone(),
        named,
        async |turn| {
            gone("sign_in_failure", turn).await;
            store.write(failure(&owners[0], &format!("c{turn:02}x"), at(1))).await.unwrap();
        },
    )
    .await;
    check(
        "known clients",
        async |cursor| store.known_clients(&all, None, cursor.as_ref(), 2).await,
        |row| row.client.clone(),
        named,
        async |turn| gone("known_client", turn).await,
    )
    .await;
    check(
        "keys",
        async |cursor| store.api_keys(&all, cursor.as_deref(), 2).await,
        |row| row.id.clone(),
        key_id,
        async |turn| {
            store.write(DeleteApiKey { id: key_id(even(turn)) }).await.unwrap();
            create_key(&store, 1000 + turn, "new").await;
        },
    )
    .await;
    check(
        "accounts",
        async |cursor| store.accounts(&all, cursor.as_deref(), 2).await,
        |row| row.id.clone(),
        account_id,
        async |turn| {
            store.write(DeleteAccount { id: account_id(even(turn)) }).await.unwrap();
            create_person(&store, 1000 + turn, &format!("new{turn}"), "viewer").await;
        },
    )
    .await;
}
