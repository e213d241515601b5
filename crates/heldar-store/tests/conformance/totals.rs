//! Stored totals against sums, after random writes.

use heldar_store::op::{DeleteCamera, MarkDeleting, Markable, MendSegment, RemoveMarked};
use heldar_store::{ErrorKind, StoreError};

use crate::world::{Db, at, camera, create_camera, create_feed};

/// A small generator of numbers (xorshift64), so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn second(&mut self, limit: u64) -> i64 {
        i64::try_from(self.below(limit)).unwrap()
    }
}

/// Refusals are part of the game, anything else is a failure.
fn allow<T>(seed: u64, outcome: Result<T, StoreError>) {
    if let Err(error) = outcome {
        let refused = matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound);
        assert!(refused, "seed {seed}: {error:?}");
    }
}

pub(crate) async fn totals_equal_sums(db: Db) {
    let store = db.open().await;
    let feeds =
        [create_feed(&store, "a").await, create_feed(&store, "b").await, create_feed(&store, "c").await];
    for seed in 1..=4u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..120 {
            let feed = feeds[usize::try_from(random.below(3)).unwrap()];
            let start = random.second(30) * 10;
            let end = start + 1 + random.second(14);
            match random.below(8) {
                0..3 => allow(seed, store.write(feed.open(start, end)).await),
                3 | 4 => allow(seed, store.write(feed.sealed(start, end)).await),
                5 => {
                    let ids = (0..3).map(|_| feed.id(random.second(30) * 10)).collect();
                    let which = if random.below(2) == 0 { Markable::Sealed } else { Markable::OpenToo };
                    allow(seed, store.write(MarkDeleting { ids, which }).await);
                }
                6 => {
                    let ids = (0..30).map(|at| feed.id(at * 10)).collect();
                    allow(seed, store.write(RemoveMarked { ids }).await);
                }
                _ => {
                    let mend = MendSegment {
                        id: feed.id(start),
                        end: at(end),
                        size_bytes: random.second(9000),
                        holes: Vec::new(),
                        index: vec![0],
                    };
                    allow(seed, store.write(mend).await);
                }
            }
        }
        let wrong = db
            .numbers(
                "SELECT s.stream_no, s.segment_count, s.total_bytes FROM stream s WHERE
                 s.segment_count <> (SELECT COUNT(*) FROM segment g WHERE g.stream_no = s.stream_no AND g.state <> 2)
                 OR s.total_bytes <> (SELECT CAST(coalesce(SUM(g.size_bytes), 0) AS BIGINT) FROM segment g
                 WHERE g.stream_no = s.stream_no AND g.state <> 2)",
            )
            .await;
        assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
        let overlaps = db
            .numbers(
                "SELECT a.stream_no, a.start_us FROM segment a JOIN segment b ON a.stream_no = b.stream_no
                 AND a.start_us < b.start_us AND a.end_us > b.start_us",
            )
            .await;
        assert!(overlaps.is_empty(), "seed {seed}: {overlaps:?}");
    }
    assert!(db.numbers("SELECT COUNT(*) FROM segment").await[0][0] > 10);
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    create_camera(&store, "a").await;
    assert_eq!(store.streams(&heldar_base::Scope::All).await.unwrap().len(), 2);
}
