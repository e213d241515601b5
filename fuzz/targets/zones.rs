//! Zones as people send them, and whatever is seen in them: a JSON list of zones, a zero byte, then twelve bytes a step.
#![no_main]

use heldar_base::WallTime;
use heldar_zones::{Batch, Detection, Engine, FactKind, Kind, MAX_TRACKS, Masks, Zone, ZoneFields};
use libfuzzer_sys::fuzz_target;

const BEGIN: i64 = 1_793_500_000_000_000;
const NAMES: [&str; 4] = ["1", "2", "", "3"];
const LABELS: [Option<&str>; 4] = [None, Some("person"), Some("car"), Some("")];

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (config, steps) = data.split_at(at);
    let Ok(fields) = serde_json::from_slice::<Vec<ZoneFields>>(config) else { return };
    let made = fields.iter().take(8).enumerate().map(|(number, fields)| Zone::new(&format!("z{number}"), fields));
    let zones: Vec<Zone> = made.filter_map(Result::ok).collect();
    for zone in &zones {
        // The fields of a zone make it again.
        assert_eq!(Zone::new(zone.id(), &zone.fields()).as_ref(), Ok(zone));
    }
    // What does not show in the facts of the feed ends without a word, too.
    let is_told = zones.iter().all(|zone| zone.kind() != Kind::Count);
    let masks = Masks::of(zones.clone());
    let mut engine = Engine::new();
    let mut facts = engine.set_zones(zones, WallTime(BEGIN)).facts;
    let mut now = BEGIN;
    for step in steps.chunks_exact(12) {
        let [what, track, time, x, y, w, h, sure, back, lease, own, label] = *step else { return };
        now += i64::from(time) * 40_000;
        let share = |byte: u8| f64::from(byte) / 250.0 - 0.01;
        let captured = now - i64::from(back) * 10_000;
        let detection = Detection {
            track: NAMES.get(usize::from(track % 5)).copied(),
            label: LABELS[usize::from(label % 4)],
            confidence: (sure < 250).then(|| share(sure)),
            bbox: (h < 254).then(|| [share(x), share(y), share(w) / 2.0, share(h) / 2.0]),
            at: (own > 200).then(|| WallTime(captured + i64::from(own) * 100_000)),
        };
        let detections = [detection, Detection { track: Some("9"), ..detection }];
        let batch = Batch {
            task_type: if what & 64 == 0 { "detection" } else { "other" },
            task: if what & 32 == 0 { "t" } else { "u" },
            lease: (lease > 200).then_some(if lease % 2 == 0 { "a" } else { "b" }),
            period: None,
            captured_at: WallTime(captured),
            late: what & 16 != 0,
            detections: &detections[..usize::from(what & 8 == 0) + 1],
        };
        let hidden = masks.hide(&detection, &batch, WallTime(now));
        assert!(!(hidden && detection.bbox.is_none()));
        let mut again = Engine::restore(&engine.save()).expect("what was saved");
        let output = match what & 7 {
            0 => engine.tick(WallTime(now)),
            _ => engine.batch(&batch, WallTime(now)),
        };
        let other = match what & 7 {
            0 => again.tick(WallTime(now)),
            _ => again.batch(&batch, WallTime(now)),
        };
        assert_eq!(output, other, "a restart changes something");
        facts.extend(output.facts);
        assert!(engine.quantities().tracks <= MAX_TRACKS);
    }
    facts.extend(engine.set_zones(Vec::new(), WallTime(now)).facts);
    let count = |kind| facts.iter().filter(|fact| fact.kind == kind).count();
    if is_told {
        let ends = count(FactKind::Exit) + count(FactKind::StaticSuppressed);
        assert_eq!(count(FactKind::Enter), ends, "a visit does not end once");
    }
    assert!(engine.occupancy().is_empty());
});
