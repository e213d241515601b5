//! What a start makes of files that are damaged inside: it keeps every byte that can still be read.

use heldar_base::Scope;
use heldar_bmff::FragmentIndex;
use heldar_store::SegmentState;
use heldar_store::op::{MarkDeleting, Markable, PutSegment, RemoveMarked};

use crate::ground::{COUNT, Ground};
use crate::support::World;

/// Starts a server over a newest segment whose row is open and whose file holds `bytes`; answers with what the file holds
/// then, and how many fragments the row knows.
async fn started_over(bytes: impl FnOnce(&Ground) -> Vec<u8>) -> (Vec<u8>, Vec<u8>, usize) {
    let ground = Ground::new(None).await;
    let last = COUNT - 1;
    let store = ground.store().await;
    let ids = vec![ground.id(last)];
    let mark = MarkDeleting { ids: ids.clone(), which: Markable::OpenToo };
    store.write_all(vec![mark.into(), RemoveMarked { ids }.into()]).await.unwrap();
    let open = PutSegment { seal: None, ..ground.row(ground.gate_no, &ground.built[last]) };
    store.write(open).await.unwrap();
    store.close().await;
    let before = bytes(&ground);
    let (path, id) = (ground.path(last), ground.id(last));
    ground.write(&path, &before);
    let file = ground.recordings().join(&path);
    let world = World::start_in(ground.into_folder(), &[("HELDAR_RETENTION_INTERVAL_S", "86400")]).await;
    assert_eq!(world.kernel.recovered.sealed, 1);
    let row = world.kernel.store.segment(&Scope::All, id).await.unwrap().unwrap();
    assert_eq!(row.state, SegmentState::Sealed);
    let index = world.kernel.store.segment_index(&Scope::All, id).await.unwrap().unwrap();
    let after = std::fs::read(file).unwrap();
    assert!(row.size_bytes <= i64::try_from(after.len()).unwrap());
    world.kernel.stop().await;
    (before, after, FragmentIndex::decode(&index).unwrap().entries().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_file_with_a_damaged_fragment_is_taken_by_its_table() {
    let (before, after, fragments) = started_over(|ground| {
        let built = &ground.built[COUNT - 1];
        let mut bytes = built.bytes.clone();
        bytes[built.fragment_at(4) + 5] ^= 0x10;
        bytes
    })
    .await;
    assert!(before == after, "bytes were cut");
    assert_eq!(fragments, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_damage_in_an_open_file_is_kept() {
    let (before, after, fragments) = started_over(|ground| {
        let built = &ground.built[COUNT - 1];
        let mut bytes = built.bytes[..built.table_at].to_vec();
        bytes[built.fragment_at(4) + 5] ^= 0x10;
        bytes
    })
    .await;
    assert!(before == after, "bytes were cut");
    assert_eq!(fragments, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut() {
    let (before, after, fragments) = started_over(|ground| {
        let built = &ground.built[COUNT - 1];
        built.bytes[..built.fragment_at(7) + 100].to_vec()
    })
    .await;
    assert_eq!(after.len(), before.len() - 100);
    assert_eq!(fragments, 7);
}
