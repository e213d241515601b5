//! Zones, what their engines remember, occupancy and counters.

use heldar_base::{PublicId, Scope};
use heldar_store::op::{
    CreateZone, DeleteCamera, DeleteZone, OnTaken, PutZoneCounters, PutZoneOccupancy, RemoveCamera,
    SaveZoneState, UpdateZone, WriteOp,
};
use heldar_store::{Attached, ErrorKind, Severity, Zone, ZoneCounters, ZoneFields, ZoneOccupancy, ZoneState};

use crate::world::{Db, at, audit, camera, create_camera, scope};

pub(crate) fn zone_id(number: u128) -> PublicId {
    PublicId::new(Zone::PREFIX, number)
}

pub(crate) fn zone_fields(name: &str) -> ZoneFields {
    ZoneFields {
        name: name.to_owned(),
        kind: "region".to_owned(),
        polygon: "[[0,0],[1,0],[0.5,0.123456789]]".to_owned(),
        dwell_seconds: 0.0,
        labels: "[]".to_owned(),
        severity: Severity::Info,
        config: "{}".to_owned(),
        enabled: true,
    }
}

pub(crate) fn create_zone(number: u128, camera_name: &str, name: &str, seconds: i64) -> CreateZone {
    CreateZone {
        id: zone_id(number),
        camera: camera(camera_name),
        fields: zone_fields(name),
        on_taken: OnTaken::Answer,
        now: at(seconds),
    }
}

pub(crate) fn state(name: &str, seq: i64, seconds: i64) -> ZoneState {
    let bytes = vec![0, 1, 255, u8::try_from(seconds).unwrap()];
    ZoneState { camera: camera(name), seq, ticked_at: at(seconds), saved_at: at(seconds + 1), bytes }
}

pub(crate) fn occupancy(number: u128, count: u32) -> ZoneOccupancy {
    ZoneOccupancy {
        zone: zone_id(number),
        count,
        labels: format!("{{\"person\":{count}}}"),
        state: "ok".to_owned(),
        updated_at: at(i64::from(count)),
    }
}

pub(crate) fn counters(number: u128, inwards: i64) -> ZoneCounters {
    ZoneCounters {
        zone: zone_id(number),
        inwards,
        outwards: 2,
        since: at(0),
        updated_at: at(inwards),
        by_label: "{\"\":{\"in\":1,\"out\":2}}".to_owned(),
    }
}

fn ids(zones: &[Zone]) -> Vec<PublicId> {
    zones.iter().map(|zone| zone.id).collect()
}

pub(crate) async fn zones_are_kept(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    let fields = ZoneFields {
        kind: "line".to_owned(),
        dwell_seconds: 1.5,
        labels: "[\"Ω\"]".to_owned(),
        severity: Severity::Critical,
        config: "{ \"later\" : 1 }".to_owned(),
        enabled: false,
        ..zone_fields("gate")
    };
    let create = CreateZone { fields: fields.clone(), ..create_zone(1, "a", "", 5) };
    let made = store.write(create.clone()).await.unwrap();
    let expect = Zone {
        id: zone_id(1),
        camera: camera("a"),
        fields: fields.clone(),
        created_at: at(5),
        updated_at: at(5),
        revision: 1,
    };
    assert_eq!((&made.zone, made.new), (&expect, true));
    assert_eq!(store.zone(&Scope::All, zone_id(1)).await.unwrap(), Some(expect.clone()));

    // The name is taken on this camera: the zone that has it is the answer, or nothing happens at all.
    let again = CreateZone { id: zone_id(2), ..create.clone() };
    let found = store.write(again.clone()).await.unwrap();
    assert_eq!((found.zone, found.new), (expect, false));
    let attached = || Attached { audit: Some(audit(1, Some("a"), 9)), events: Vec::new() };
    let refuse = CreateZone { on_taken: OnTaken::Refuse, ..again };
    let refused = store.manage(refuse, attached()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(db.numbers("SELECT COUNT(*) FROM audit").await, [[0]]);
    let refused = async |create| store.write::<CreateZone>(create).await.map_err(|error| error.kind());
    assert!(refused(create_zone(3, "b", "gate", 5)).await.unwrap().new, "of another camera it is free");
    let (conflict, missing) = (Err(ErrorKind::Conflict), Err(ErrorKind::NotFound));
    assert_eq!(refused(create_zone(1, "a", "other", 5)).await, conflict);
    assert_eq!(refused(create_zone(4, "a", "", 5)).await, conflict);
    assert_eq!(refused(create_zone(4, "a", &"Ω".repeat(257), 5)).await, conflict);
    assert_eq!(refused(create_zone(4, "nowhere", "x", 5)).await, missing);
    let long = "Ω".repeat(256);
    assert!(refused(create_zone(4, "a", &long, 3)).await.unwrap().new);

    let update = |revision, fields| UpdateZone { id: zone_id(1), fields, revision, now: at(20) };
    let open = ZoneFields { enabled: true, ..fields.clone() };
    let changed = store.write(update(1, open.clone())).await.unwrap();
    assert_eq!((&changed.fields, changed.revision, changed.updated_at), (&open, 2, at(20)));
    for (update, expect) in [
        (update(1, open.clone()), ErrorKind::Conflict),
        (update(2, ZoneFields { name: long.clone(), ..open.clone() }), ErrorKind::Conflict),
        (update(2, ZoneFields { name: String::new(), ..open.clone() }), ErrorKind::Conflict),
        (UpdateZone { id: zone_id(9), ..update(2, open.clone()) }, ErrorKind::NotFound),
    ] {
        assert_eq!(store.write(update).await.unwrap_err().kind(), expect);
    }
    let renamed = ZoneFields { name: "Tor".to_owned(), ..open };
    let committed = store.manage(update(2, renamed), attached()).await.unwrap();
    assert_eq!(committed.value.fields.name, "Tor");
    assert!(refused(create_zone(5, "a", "gate", 9)).await.unwrap().new, "its old name is free");

    // Lists, each inside its scope.
    let of_a = store.camera_zones(&Scope::All, &camera("a")).await.unwrap();
    assert_eq!(ids(&of_a), [zone_id(4), zone_id(1), zone_id(5)]);
    assert!(store.camera_zones(&scope(&["b"]), &camera("a")).await.unwrap().is_empty());
    assert_eq!(store.zone(&scope(&["b"]), zone_id(1)).await.unwrap(), None);
    let page = store.zones(&Scope::All, None, 2).await.unwrap();
    assert_eq!((ids(&page.rows), page.next), (vec![zone_id(1), zone_id(3)], Some(zone_id(3))));
    let rest = store.zones(&Scope::All, page.next, 2).await.unwrap();
    assert_eq!((ids(&rest.rows), rest.next), (vec![zone_id(4), zone_id(5)], None));
    assert_eq!(ids(&store.zones(&scope(&["b"]), None, 10).await.unwrap().rows), [zone_id(3)]);

    store.write(DeleteZone { id: zone_id(5) }).await.unwrap();
    let gone = store.write(DeleteZone { id: zone_id(5) }).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    // A camera out of use keeps its zones; one that is deleted does not.
    store.write(RemoveCamera { id: camera("a"), now: at(30) }).await.unwrap();
    assert_eq!(ids(&store.zones(&Scope::All, None, 10).await.unwrap().rows), [zone_id(3)]);
    assert_eq!(store.camera_zones(&Scope::All, &camera("a")).await.unwrap().len(), 2);
    assert_eq!(refused(create_zone(6, "a", "new", 9)).await, missing);
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    assert_eq!(store.zone(&Scope::All, zone_id(1)).await.unwrap(), None);
}

pub(crate) async fn the_newest_state_stands(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    store.write(create_zone(1, "a", "hall", 0)).await.unwrap();
    let save = |seq, seconds| SaveZoneState { state: state("a", seq, seconds) };
    assert!(store.write(save(7, 1)).await.unwrap());
    // Time alone goes on under the same batch.
    assert!(store.write(save(7, 2)).await.unwrap());
    assert!(store.write(SaveZoneState { state: state("b", 0, 3) }).await.unwrap());
    assert_eq!(store.zone_states(&Scope::All).await.unwrap(), [state("a", 7, 2), state("b", 0, 3)]);
    assert_eq!(store.zone_states(&scope(&["b"])).await.unwrap(), [state("b", 0, 3)]);
    // One who is behind has no effect.
    let effect = |save: SaveZoneState, count| {
        let put = PutZoneOccupancy { rows: vec![occupancy(1, count)] };
        let ops: Vec<WriteOp> = vec![save.into(), put.into()];
        store.write_all(ops)
    };
    assert_eq!(effect(save(6, 9), 1).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(store.zone_occupancy(&Scope::All, &camera("a")).await.unwrap().is_empty());
    effect(save(8, 4), 2).await.unwrap();
    assert_eq!(store.zone_occupancy(&Scope::All, &camera("a")).await.unwrap(), [occupancy(1, 2)]);
    // A large one comes back as it was, after a start as well.
    let large =
        ZoneState { bytes: (0..300_000u32).map(|n| ((n * 7919) >> 8) as u8).collect(), ..state("a", 9, 5) };
    store.write(SaveZoneState { state: large.clone() }).await.unwrap();
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.zone_states(&scope(&["a"])).await.unwrap(), [large]);
    // Out of use it is still remembered; of a camera that is gone nothing is.
    store.write(RemoveCamera { id: camera("a"), now: at(30) }).await.unwrap();
    assert!(store.write(save(9, 6)).await.unwrap());
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    assert!(!store.write(save(10, 6)).await.unwrap());
    assert_eq!(store.zone_states(&Scope::All).await.unwrap(), [state("b", 0, 3)]);
}

pub(crate) async fn occupancy_and_counters_go_with_their_zone(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    for (number, name) in [(2, "first"), (1, "second"), (3, "line")] {
        store.write(create_zone(number, "a", name, 10 - i64::try_from(number).unwrap())).await.unwrap();
    }
    let (all, a) = (Scope::All, camera("a"));
    let read = async || store.zone_occupancy(&all, &a).await.unwrap();
    assert!(read().await.is_empty(), "nobody was ever there");
    let rows = vec![occupancy(1, 0), occupancy(2, 5), occupancy(9, 1)];
    store.write(PutZoneOccupancy { rows }).await.unwrap();
    store.write(PutZoneOccupancy { rows: vec![occupancy(2, 6)] }).await.unwrap();
    assert_eq!(read().await, [occupancy(2, 6), occupancy(1, 0)]);
    assert!(store.zone_occupancy(&scope(&["b"]), &a).await.unwrap().is_empty());

    assert_eq!(store.zone_counters(&all, zone_id(3)).await.unwrap(), None);
    store.write(PutZoneCounters { rows: vec![counters(3, 1), counters(9, 1)] }).await.unwrap();
    store.write(PutZoneCounters { rows: vec![counters(3, 4)] }).await.unwrap();
    assert_eq!(store.zone_counters(&all, zone_id(3)).await.unwrap(), Some(counters(3, 4)));
    assert_eq!(store.zone_counters(&scope(&["b"]), zone_id(3)).await.unwrap(), None);
    assert_eq!(store.zone_counters(&all, zone_id(9)).await.unwrap(), None);

    // Disabled, a zone keeps its row and is not told of.
    let fields = ZoneFields { enabled: false, ..zone_fields("first") };
    let update = UpdateZone { id: zone_id(2), fields, revision: 1, now: at(20) };
    store.write(update).await.unwrap();
    assert_eq!(read().await, [occupancy(1, 0)]);
    for number in 1..=3 {
        store.write(DeleteZone { id: zone_id(number) }).await.unwrap();
    }
    let left = "SELECT (SELECT COUNT(*) FROM zone_occupancy), (SELECT COUNT(*) FROM zone_counter)";
    assert_eq!(db.numbers(left).await, [[0, 0]]);
}
