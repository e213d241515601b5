//! The table of faults.

use std::sync::OnceLock;

use heldar_base::{Cause, Micros};
use heldar_bmff::{FragmentIndex, IndexEntry};
use heldar_disk::SegmentName;
use heldar_kernel::fsck::{Intent, Outcome, Report};
use heldar_store::op::{MarkDeleting, Markable, MendSegment, PutSegment, RemoveMarked};
use heldar_testkit::PostgresCluster;

use crate::ground::{COUNT, Ground, LENGTH, SPAWN, START, gate};

/// Stored totals that are wrong.
const WRONG_TOTALS: &str = include_str!("../../../heldar-store/tests/faults/wrong_totals.sql");
/// The second row of the first stream reaches into the third.
const OVERLAP: &str = include_str!("../../../heldar-store/tests/faults/overlap.sql");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    MissingFile,
    TwoMissingFiles,
    Orphan,
    TornOrphan,
    CutInAFragment,
    CutBetweenFragments,
    Unindexed,
    TornTail,
    OpenRow,
    OpenRowWithoutFile,
    IndexGarbage,
    IndexMissing,
    IndexElsewhere,
    IndexSyncFlag,
    Size,
    End,
    Totals,
    UnfinishedDeletion,
    Overlap,
    DuplicateRow,
    WrongDay,
    WrongDayAndNoRow,
    WrongCamera,
    NoCamera,
    EmptyFile,
    EmptyFileOfARow,
    EmptyFolder,
    StrayFile,
    DamagedFragment,
    DamagedFirstFragment,
    DamagedMiddle,
    DamagedEnd,
    DamagedTable,
    GarbageFile,
    GarbageFileOfARow,
    CopiedFile,
    OtherFootage,
    NothingMounted,
}

/// What becomes of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pictures {
    /// All that can be read is what the index leads to when the repair is done.
    AllIndexed,
    /// They stay in their files, and the index leads to those that it did before.
    Stay,
    /// Those of a segment that was to be deleted go.
    Deleted,
}

/// What a check finds, what is left after a repair, which time of the second segment is told as lost.
struct Expected {
    found: &'static [&'static str],
    left: &'static [&'static str],
    lost: Option<(i64, i64)>,
    pictures: Pictures,
}

fn mended(found: &'static [&'static str]) -> Expected {
    Expected { found, left: &[], lost: None, pictures: Pictures::AllIndexed }
}

fn lost(found: &'static [&'static str], from: i64, to: i64) -> Expected {
    Expected { lost: Some((from, to)), ..mended(found) }
}

fn left(found: &'static [&'static str]) -> Expected {
    Expected { found, left: found, lost: None, pictures: Pictures::Stay }
}

impl Fault {
    const ALL: &'static [Fault] = &[
        Fault::MissingFile,
        Fault::TwoMissingFiles,
        Fault::Orphan,
        Fault::TornOrphan,
        Fault::CutInAFragment,
        Fault::CutBetweenFragments,
        Fault::Unindexed,
        Fault::TornTail,
        Fault::OpenRow,
        Fault::OpenRowWithoutFile,
        Fault::IndexGarbage,
        Fault::IndexMissing,
        Fault::IndexElsewhere,
        Fault::IndexSyncFlag,
        Fault::Size,
        Fault::End,
        Fault::Totals,
        Fault::UnfinishedDeletion,
        Fault::Overlap,
        Fault::DuplicateRow,
        Fault::WrongDay,
        Fault::WrongDayAndNoRow,
        Fault::WrongCamera,
        Fault::NoCamera,
        Fault::EmptyFile,
        Fault::EmptyFileOfARow,
        Fault::EmptyFolder,
        Fault::StrayFile,
        Fault::DamagedFragment,
        Fault::DamagedFirstFragment,
        Fault::DamagedMiddle,
        Fault::DamagedEnd,
        Fault::DamagedTable,
        Fault::GarbageFile,
        Fault::GarbageFileOfARow,
        Fault::CopiedFile,
        Fault::OtherFootage,
        Fault::NothingMounted,
    ];

    /// Those that say something about the store.
    const OF_THE_STORE: &'static [Fault] = &[
        Fault::MissingFile,
        Fault::Orphan,
        Fault::CutInAFragment,
        Fault::Unindexed,
        Fault::OpenRow,
        Fault::OpenRowWithoutFile,
        Fault::IndexGarbage,
        Fault::IndexMissing,
        Fault::Totals,
        Fault::UnfinishedDeletion,
        Fault::Overlap,
        Fault::DuplicateRow,
        Fault::WrongDay,
        Fault::DamagedFragment,
    ];

    fn expected(self) -> Expected {
        match self {
            Fault::MissingFile => lost(&["missing_file"], 0, 10),
            Fault::TwoMissingFiles => lost(&["missing_file"], 0, 20),
            Fault::Orphan | Fault::TornOrphan => mended(&["orphan_file"]),
            Fault::CutInAFragment => lost(&["short_file", "torn_tail"], 6, 10),
            Fault::CutBetweenFragments => lost(&["short_file"], 6, 10),
            Fault::Unindexed => mended(&["unindexed_fragments"]),
            Fault::TornTail => mended(&["torn_tail"]),
            Fault::OpenRow | Fault::OpenRowWithoutFile => mended(&["open_row"]),
            Fault::IndexGarbage => mended(&["index_unreadable"]),
            Fault::IndexMissing => mended(&["index_missing"]),
            Fault::IndexElsewhere | Fault::IndexSyncFlag => mended(&["index_mismatch"]),
            Fault::Size => mended(&["size_mismatch"]),
            Fault::End => mended(&["end_mismatch"]),
            Fault::Totals => mended(&["totals_mismatch"]),
            Fault::UnfinishedDeletion => {
                Expected { pictures: Pictures::Deleted, ..mended(&["unfinished_deletion"]) }
            }
            Fault::Overlap => mended(&["end_mismatch", "overlap"]),
            Fault::DuplicateRow => mended(&["duplicate_row"]),
            Fault::WrongDay | Fault::WrongDayAndNoRow | Fault::WrongCamera => mended(&["misplaced_file"]),
            Fault::NoCamera => {
                Expected { left: &["stray_folder"], ..mended(&["misplaced_file", "stray_folder"]) }
            }
            Fault::EmptyFile => mended(&["empty_file"]),
            Fault::EmptyFileOfARow => lost(&["empty_file", "missing_file"], 0, 10),
            Fault::EmptyFolder => mended(&["stray_folder"]),
            Fault::StrayFile => left(&["stray_file"]),
            Fault::DamagedFragment | Fault::DamagedFirstFragment => left(&["damaged_fragment"]),
            Fault::DamagedMiddle | Fault::DamagedEnd => left(&["damaged_middle"]),
            Fault::DamagedTable => left(&["damaged_table"]),
            Fault::GarbageFile | Fault::GarbageFileOfARow => left(&["unreadable_file"]),
            Fault::CopiedFile => left(&["overlapping_file"]),
            Fault::OtherFootage => left(&["start_mismatch"]),
            Fault::NothingMounted => left(&["missing_file"]),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each fault")]
    async fn plant(self, ground: &Ground) {
        let store = ground.store().await;
        let (path, built) = (ground.path(1), &ground.built[1]);
        let remove_row = async |number: usize| {
            let ids = vec![ground.id(number)];
            let mark = MarkDeleting { ids: ids.clone(), which: Markable::OpenToo };
            store.write_all(vec![mark.into(), RemoveMarked { ids }.into()]).await.unwrap();
        };
        let right = MendSegment {
            id: ground.id(1),
            end: built.start + LENGTH,
            size_bytes: i64::try_from(built.bytes.len()).unwrap(),
            holes: Vec::new(),
            index: built.index.encode(),
        };
        let unsealed = MendSegment { size_bytes: i64::try_from(built.table_at).unwrap(), ..right.clone() };
        let flipped = |at: usize, end: usize| {
            let mut bytes = built.bytes[..end].to_vec();
            bytes[at] ^= 0x40;
            bytes
        };
        let last = COUNT - 1;
        match self {
            Fault::MissingFile => ground.remove(&path),
            Fault::TwoMissingFiles => {
                ground.remove(&path);
                ground.remove(&ground.path(2));
            }
            Fault::Orphan => remove_row(1).await,
            Fault::TornOrphan => {
                remove_row(1).await;
                ground.write(&path, &built.bytes[..built.fragment_at(6) + 90]);
            }
            Fault::CutInAFragment => ground.write(&path, &built.bytes[..built.fragment_at(6) + 90]),
            Fault::CutBetweenFragments => ground.write(&path, &built.bytes[..built.fragment_at(6)]),
            Fault::Unindexed => {
                let index = built.first(5);
                let size = i64::try_from(index.end_offset()).unwrap();
                let end = built.start + Micros::from_secs(5);
                let op = MendSegment { index: index.encode(), size_bytes: size, end, ..right };
                store.write(op).await.unwrap();
            }
            Fault::TornTail => {
                let mut bytes = built.bytes[..built.table_at].to_vec();
                bytes.extend(&built.bytes[built.fragment_at(3)..built.fragment_at(3) + 150]);
                ground.write(&path, &bytes);
                store.write(unsealed).await.unwrap();
            }
            Fault::OpenRow => {
                remove_row(last).await;
                let built = &ground.built[last];
                let index = built.first(4);
                let open = PutSegment {
                    end: built.start + Micros::from_secs(4),
                    size_bytes: i64::try_from(index.end_offset()).unwrap(),
                    seal: None,
                    index: Some(index.encode()),
                    ..ground.row(ground.gate_no, built)
                };
                store.write(open).await.unwrap();
                ground.write(&ground.path(last), &built.bytes[..built.fragment_at(7) + 20]);
            }
            Fault::OpenRowWithoutFile => {
                remove_row(last).await;
                let open = PutSegment { seal: None, ..ground.row(ground.gate_no, &ground.built[last]) };
                store.write(open).await.unwrap();
                ground.remove(&ground.path(last));
            }
            Fault::IndexGarbage => {
                store.write(MendSegment { index: b"not an index".to_vec(), ..right }).await.unwrap();
            }
            Fault::IndexMissing => {
                remove_row(1).await;
                let row = PutSegment { index: None, ..ground.row(ground.gate_no, built) };
                store.write(row).await.unwrap();
            }
            Fault::IndexElsewhere => {
                let index = changed(&built.index, |number, entry| IndexEntry {
                    offset: entry.offset + u64::from(number == 4),
                    ..entry
                });
                store.write(MendSegment { index, ..right }).await.unwrap();
            }
            Fault::IndexSyncFlag => {
                let index = changed(&built.index, |number, entry| IndexEntry { sync: number != 4, ..entry });
                store.write(MendSegment { index, ..right }).await.unwrap();
            }
            Fault::Size => {
                store.write(MendSegment { size_bytes: right.size_bytes - 7, ..right }).await.unwrap();
            }
            Fault::End => {
                let end = right.end - Micros::from_secs(3);
                store.write(MendSegment { end, ..right }).await.unwrap();
            }
            Fault::Totals => ground.tamper(WRONG_TOTALS).await,
            Fault::UnfinishedDeletion => {
                let mark = MarkDeleting { ids: vec![ground.id(1)], which: Markable::Sealed };
                store.write(mark).await.unwrap();
            }
            Fault::Overlap => ground.tamper(OVERLAP).await,
            Fault::DuplicateRow => {
                remove_row(0).await;
                let whole = ground.built[0].start.floor_second();
                let mut phantom = ground.row(ground.gate_no, &ground.built[0]);
                phantom.id.start = whole;
                phantom.end = ground.built[0].start;
                store.write(phantom).await.unwrap();
                store.write(ground.row(ground.gate_no, &ground.built[0])).await.unwrap();
            }
            Fault::WrongDay => ground.rename(&path, &path.replace("/2026-11-04/", "/2026-11-05/")),
            Fault::WrongDayAndNoRow => {
                remove_row(1).await;
                ground.rename(&path, &path.replace("/2026-11-04/", "/2026-11-05/"));
            }
            Fault::WrongCamera => ground.rename(&path, &path.replace("gate/", "yard/")),
            Fault::NoCamera => ground.rename(&path, &path.replace("gate/", "attic/")),
            Fault::EmptyFile => {
                let name = SegmentName::new(gate(), START + Micros::from_secs(300), 1);
                ground.write(&name.relative_path(), b"");
            }
            Fault::EmptyFileOfARow => ground.write(&path, b""),
            Fault::EmptyFolder => {
                std::fs::create_dir_all(ground.recordings().join("gate/2026-10-01")).unwrap();
            }
            Fault::StrayFile => ground.write("gate/2026-11-04/notes.txt", b"left by somebody"),
            Fault::DamagedFragment => {
                ground.write(&path, &flipped(built.fragment_at(4) + 30, built.bytes.len()));
            }
            Fault::DamagedFirstFragment => {
                ground.write(&path, &flipped(built.fragment_at(0) + 5, built.bytes.len()));
            }
            Fault::DamagedMiddle => {
                ground.write(&path, &flipped(built.fragment_at(4) + 5, built.table_at));
                store.write(unsealed).await.unwrap();
            }
            Fault::DamagedEnd => {
                ground.write(&path, &flipped(built.fragment_at(9) + 5, built.table_at));
                store.write(unsealed).await.unwrap();
            }
            Fault::DamagedTable => {
                ground.write(&path, &flipped(built.table_at + 60, built.bytes.len()));
            }
            Fault::GarbageFile => {
                let name = SegmentName::new(gate(), START + Micros::from_secs(300), 1);
                ground.write(&name.relative_path(), b"no film at all");
            }
            Fault::GarbageFileOfARow => ground.write(&path, &[0x5a; 4000]),
            Fault::CopiedFile => ground.write(&path.replace(".mp4", "_2.mp4"), &built.bytes),
            Fault::OtherFootage => {
                let other = built.start + Micros(1);
                ground.write(&path, &crate::ground::Built::new(other, 77).bytes);
            }
            Fault::NothingMounted => {
                std::fs::remove_dir_all(ground.recordings()).unwrap();
                std::fs::create_dir(ground.recordings()).unwrap();
            }
        }
        store.close().await;
    }
}

/// An index with its entries changed.
fn changed(index: &FragmentIndex, change: impl Fn(usize, IndexEntry) -> IndexEntry) -> Vec<u8> {
    let mut other = FragmentIndex::new();
    let entries: Vec<IndexEntry> =
        index.entries().iter().enumerate().map(|(number, entry)| change(number, *entry)).collect();
    for (number, entry) in entries.iter().enumerate() {
        let end = entries.get(number + 1).map_or(index.end_offset(), |next| next.offset);
        other.push(*entry, end, index.end_of(number).unwrap()).unwrap();
    }
    other.encode()
}

fn kinds(report: &Report) -> Vec<&'static str> {
    report.counts().into_keys().collect()
}

async fn check(fault: Fault, database: Option<String>) {
    let ground = Ground::new(database).await;
    let all = ground.readable();
    assert_eq!(all.len(), (COUNT + 2) * 50);
    let clean = ground.fsck(Intent::Check).await.unwrap();
    assert!(clean.left.findings.is_empty(), "{:?}", clean.left.findings);
    assert_eq!((clean.left.checked.segments, clean.left.checked.files), (8, 8));

    fault.plant(&ground).await;
    let expected = fault.expected();
    let (readable, reachable) = (ground.readable(), ground.reachable().await);
    let file = std::fs::read(ground.recordings().join(ground.path(1))).ok();
    let found = ground.fsck(Intent::Check).await.unwrap();
    assert_eq!(kinds(&found.left), expected.found, "{fault:?}: {:#?}", found.left.findings);
    assert_eq!(found.left.can_be_repaired(), expected.left != expected.found, "{fault:?}");
    // A check changes nothing: another one finds the same.
    assert_eq!(ground.readable(), readable, "{fault:?}");
    let again = ground.fsck(Intent::Check).await.unwrap();
    assert_eq!(again.left.counts(), found.left.counts(), "{fault:?}");

    let repaired = ground.fsck(Intent::Repair).await.unwrap();
    assert_eq!(kinds(&repaired.left), expected.left, "{fault:?}: {:#?}", repaired.left.findings);
    let failed: Vec<_> = repaired.repaired.iter().filter(|one| one.outcome != Outcome::Done).collect();
    assert!(failed.is_empty(), "{fault:?}: {failed:#?}");
    let second = ground.fsck(Intent::Repair).await.unwrap();
    assert_eq!((kinds(&second.left).as_slice(), second.repaired.len()), (expected.left, 0), "{fault:?}");

    let after = ground.readable();
    match expected.pictures {
        Pictures::AllIndexed => {
            assert_eq!(after, readable, "{fault:?}: pictures lost");
            assert_eq!(ground.reachable().await, readable, "{fault:?}: pictures that no row leads to");
        }
        Pictures::Stay => {
            assert_eq!(after, readable, "{fault:?}: pictures lost");
            assert_eq!(ground.reachable().await, reachable, "{fault:?}");
            let now = std::fs::read(ground.recordings().join(ground.path(1))).ok();
            assert_eq!(now, file, "{fault:?}: bytes changed");
        }
        Pictures::Deleted => assert_eq!(after.len(), readable.len() - 50, "{fault:?}"),
    }
    let gaps = ground.gaps().await;
    let start = ground.built[1].start;
    match (expected.lost, gaps.as_slice()) {
        (None, []) => {}
        (Some((from, to)), [gap]) => {
            // A file counts in ticks, so that its end may lie a tick before the microsecond that was meant.
            let early = start + Micros::from_secs(from) - gap.start;
            assert!((0..12).contains(&early.0), "{fault:?}: {gap:?}");
            let rest = (gap.end, gap.cause, gap.open);
            assert_eq!(rest, (start + Micros::from_secs(to), Cause::Damaged, false), "{fault:?}");
        }
        (lost, gaps) => panic!("{fault:?}: {lost:?} {gaps:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_on_sqlite() {
    for fault in Fault::ALL {
        check(*fault, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_store_on_postgresql() {
    static CLUSTER: OnceLock<PostgresCluster> = OnceLock::new();
    let start = || PostgresCluster::start().unwrap_or_else(|error| panic!("{error}"));
    for fault in Fault::OF_THE_STORE {
        let alone = SPAWN.lock().await;
        let database = CLUSTER.get_or_init(start).create_database().unwrap();
        drop(alone);
        check(*fault, Some(database)).await;
    }
}
