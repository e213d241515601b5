use heldar_store::{NewEvent, Severity};
use proptest::prelude::*;

use super::*;

const ROOMY: u64 = 1 << 20;
const NOW: WallTime = WallTime(1_793_500_000_000_000);

fn event(n: u64, severity: Severity) -> Entry {
    let at = WallTime(NOW.0 + i64::try_from(n).unwrap() * 1_000_000);
    Entry::Event(NewEvent {
        id: format!("{n:036}"),
        camera: None,
        event_type: "test".to_owned(),
        severity,
        timestamp: at,
        created_at: at,
        payload: serde_json::json!({ "n": n }),
    })
}

fn infos(range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|n| event(n, Severity::Info)).collect()
}

fn open(folder: &tempfile::TempDir, bound: u64) -> Spool {
    Spool::open(&folder.path().join("events.spool"), bound).unwrap()
}

fn all(spool: &mut Spool) -> Vec<Entry> {
    let batch = spool.head(usize::MAX).unwrap();
    batch.map_or(Vec::new(), |batch| batch.records.into_iter().map(|(_, entry)| entry.unwrap()).collect())
}

#[test]
fn what_waits_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, ROOMY);
    assert_eq!(spool.head(9).unwrap(), None);
    spool.append(&infos(0..3), NOW).unwrap();
    spool.append(&infos(3..5), NOW).unwrap();
    let mut spool = open(&folder, ROOMY);
    assert_eq!(spool.waiting(), 5);
    assert_eq!(all(&mut spool), infos(0..5));
    spool.advance(2).unwrap();
    assert_eq!(all(&mut spool), infos(2..5));
    spool.append(&infos(5..6), NOW).unwrap();
    assert_eq!(all(&mut spool), infos(2..6));
    assert_eq!(spool.waiting(), 4);
    spool.advance(6).unwrap();
    assert_eq!(spool.waiting(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    spool.append(&infos(6..7), NOW).unwrap();
    assert_eq!(all(&mut spool), infos(6..7));
}

#[test]
fn a_mark_of_the_same_file_passes_over_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, ROOMY);
    spool.append(&infos(0..5), NOW).unwrap();
    let noted = mark(spool.id, 3);
    let mut spool = open(&folder, ROOMY);
    spool.skip(&noted).unwrap();
    assert_eq!(all(&mut spool), infos(3..5));
    for foreign in ["", "zz", "00:4", &format!("{:032x}:x", spool.id)] {
        spool.skip(foreign).unwrap();
        assert_eq!(spool.waiting(), 2, "{foreign}");
    }
    spool.advance(5).unwrap();
    // A file made later begins anew.
    spool.append(&infos(7..9), NOW).unwrap();
    spool.skip(&noted).unwrap();
    assert_eq!(all(&mut spool), infos(7..9));
}

#[test]
fn the_oldest_infos_go_first_and_one_report_tells_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let bound = 16 << 10;
    let mut spool = open(&folder, bound);
    for n in 0..300 {
        let severity = if n % 10 == 0 { Severity::Warning } else { Severity::Info };
        spool.append(&[event(n, severity)], NOW).unwrap();
        assert!(std::fs::metadata(&spool.path).unwrap().len() <= bound);
    }
    let mut spool = open(&folder, bound);
    let entries = all(&mut spool);
    let kept: Vec<&NewEvent> = entries
        .iter()
        .filter_map(|entry| if let Entry::Event(event) = entry { Some(event) } else { None })
        .collect();
    let warnings = kept.iter().filter(|event| event.severity == Severity::Warning).count();
    assert_eq!(warnings, 30);
    let infos: Vec<u64> = kept
        .iter()
        .filter(|event| event.severity == Severity::Info)
        .map(|event| event.payload["n"].as_u64().unwrap())
        .collect();
    assert!(infos.len() > 20, "{}", infos.len());
    let newest: Vec<u64> = (0..300).filter(|n| n % 10 != 0).skip(270 - infos.len()).collect();
    assert_eq!(infos, newest);
    let losses: Vec<&Loss> = entries
        .iter()
        .filter_map(|entry| if let Entry::Lost(loss) = entry { Some(loss) } else { None })
        .collect();
    let [loss] = losses[..] else { panic!("{losses:?}") };
    assert_eq!(loss.dropped, 270 - infos.len() as u64);
    assert_eq!(loss.from, WallTime(NOW.0 + 1_000_000));
    let last = newest.first().unwrap() - if newest.first().unwrap() % 10 == 1 { 2 } else { 1 };
    assert_eq!(loss.to, WallTime(NOW.0 + i64::try_from(last).unwrap() * 1_000_000));
}

#[test]
fn what_was_handed_out_stays_and_warnings_go_after_infos() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, 8 << 10);
    spool.append(&infos(0..4), NOW).unwrap();
    let handed_out = spool.head(4).unwrap().unwrap();
    for n in 4..100 {
        spool.append(&[event(n, Severity::Warning)], NOW).unwrap();
    }
    let entries = all(&mut spool);
    assert_eq!(entries[..4], infos(0..4));
    let Entry::Lost(loss) = &entries[4] else { panic!("{:?}", entries[4]) };
    assert_eq!(loss.dropped as usize + entries.len() - 1, 100);
    spool.advance(handed_out.through()).unwrap();
    assert_eq!(all(&mut spool), entries[4..]);
    // All of it was handed out now: there is no room until it comes back.
    let many: Vec<Entry> = (0..20).map(|n| event(n, Severity::Critical)).collect();
    assert_eq!(spool.append(&many, NOW).unwrap_err().kind(), io::ErrorKind::StorageFull);
    spool.take_back();
    spool.append(&many, NOW).unwrap();
}

#[test]
fn what_is_no_spool_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events.spool"), b"something else entirely, and long enough").unwrap();
    let mut spool = open(&folder, ROOMY);
    assert_eq!(spool.waiting(), 0);
    spool.append(&infos(0..1), NOW).unwrap();
    assert!(folder.path().join("events.spool.unreadable").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a crash leaves of the file, whole records in front of it are there, and the file goes on.
    #[test]
    fn any_torn_tail_is_cut(keep in 24u64..2_000, flip in prop::option::of((24usize..2_000, 0u8..8))) {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(&folder, ROOMY);
        let mut ends = Vec::new();
        for n in 0..10 {
            spool.append(&infos(n..n + 1), NOW).unwrap();
            ends.push(spool.end);
        }
        let path = spool.path.clone();
        drop(spool);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(usize::try_from(keep).unwrap());
        let mut whole = ends.iter().filter(|end| **end <= bytes.len() as u64).count();
        if let Some((at, bit)) = flip && at < bytes.len() {
            bytes[at] ^= 1 << bit;
            whole = whole.min(ends.iter().filter(|end| **end <= at as u64).count());
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut spool = open(&folder, ROOMY);
        let mut expect = infos(0..whole as u64);
        prop_assert_eq!(all(&mut spool), expect.clone());
        spool.append(&infos(90..91), NOW).unwrap();
        expect.extend(infos(90..91));
        let mut spool = open(&folder, ROOMY);
        prop_assert_eq!(all(&mut spool), expect);
    }
}
