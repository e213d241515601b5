//! State as bytes.
use super::*;
use crate::engine::StateError;

/// A site in which there is something of everything.
fn busy() -> Site {
    let schedule = json!({"tz": "Europe/Berlin", "windows": [{"from": "00:00", "to": "23:00"}]});
    let config = json!({"confirm_frames": 2, "loiter": {"seconds": 50, "repeat_seconds": 5}, "schedule": schedule,
        "occupancy": {"max": 0, "hold_seconds": 30}, "static_after_seconds": 5, "note": {"any": [1, 0.1]}});
    let mut site = Site::new(vec![
        zone("a", json!({"kind": "presence", "dwell_seconds": 20.000001, "config": config})),
        line(
            "l",
            json!({"polygon": [[0.5, 0], [0.5, 0.1], [0.5, 0.9]], "config": {"hysteresis": 0.1, "counter_reset": {"at": "04:00"}}}),
        ),
        zone("m", json!({"kind": "exclude", "labels": ["cat"]})),
        zone("off", json!({"enabled": false})),
    ]);
    site.lease = Some("lse_1");
    site.period = Some(Micros::from_millis(200));
    for second in 0..9 {
        let time = f64::from(second);
        let none = Detection { label: None, confidence: None, ..there("2", 0.1 * time, 0.2) };
        site.see(time, &[there("1", 0.3 + 0.03 * time, 0.5), none, there("3", 0.4, 0.8)]);
    }
    site.see_at(8.5, 9.0, &[there("4", 0.4, 0.5)]);
    site
}

#[test]
fn a_restored_engine_goes_on() {
    let site = busy();
    let saved = site.engine.save();
    let mut restored = Engine::restore(&saved).unwrap();
    assert_eq!(restored.save(), saved);
    assert_eq!(restored.occupancy(), site.engine.occupancy());
    assert_eq!(restored.counters("l"), site.engine.counters("l"));
    assert_eq!(restored.quantities(), site.engine.quantities());
    assert_eq!(restored.zones().collect::<Vec<_>>(), site.engine.zones().collect::<Vec<_>>());
    let mut engine = site.engine;
    // Through what falls due soon, and through schedules and resets of two days.
    for second in (10..300).chain((1..50).map(|hour| hour * 3600)) {
        assert_eq!(restored.tick(at(f64::from(second))), engine.tick(at(f64::from(second))));
    }
    assert!(engine.counters("l").is_some_and(|counters| counters.since > at(86_400.0)));
}

#[test]
fn the_same_zones_set_after_a_restart_change_nothing() {
    let site = busy();
    let zones: Vec<Zone> = site.engine.zones().cloned().collect();
    let mut restored = Engine::restore(&site.engine.save()).unwrap();
    let mut engine = site.engine;
    let output = restored.set_zones(zones, at(10.0));
    assert_eq!(output.facts, engine.tick(at(12.0)).facts);
    for second in 13..300 {
        let (a, b) = (restored.tick(at(f64::from(second))), engine.tick(at(f64::from(second))));
        assert_eq!(a.facts, b.facts);
    }
}

#[test]
fn zones_that_changed_meanwhile_end_their_visits() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    let mut restored = Engine::restore(&site.engine.save()).unwrap();
    let output = restored.set_zones(vec![], at(60.0));
    assert_eq!(output.facts.iter().map(text).collect::<Vec<_>>(), ["60 a exit 1 60s zone_changed"]);
}

#[test]
fn other_versions_and_damage_are_errors() {
    let saved = busy().engine.save();
    let refused = |bytes: &[u8]| Engine::restore(bytes).map(|_| ()).unwrap_err();
    let mut newer = saved.clone();
    newer[2] = 2;
    assert_eq!(refused(&newer), StateError::Version(2));
    assert_eq!(refused(b""), StateError::Damaged);
    assert_eq!(refused(b"HZ\x01"), StateError::Damaged);
    assert_eq!(refused(b"{}"), StateError::Damaged);
    for at in 0..saved.len() {
        assert!(Engine::restore(&saved[..at]).is_err(), "{at}");
        let mut damaged = saved.clone();
        damaged[at] ^= 0x41;
        assert!(Engine::restore(&damaged).is_err(), "{at}");
    }
}

#[test]
fn damage_with_a_fitting_sum_is_no_panic() {
    let saved = busy().engine.save();
    let body = saved.len() - 4;
    for at in 3..body {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = saved.clone();
            damaged[at] ^= change;
            let sum = crc32fast::hash(&damaged[..body]);
            damaged[body..].copy_from_slice(&sum.to_le_bytes());
            if let Ok(mut engine) = Engine::restore(&damaged) {
                engine.tick(super::at(20.0));
                engine.save();
            }
        }
    }
}
