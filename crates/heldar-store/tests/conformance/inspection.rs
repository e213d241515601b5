//! Looks from outside.

use heldar_base::Scope;
use heldar_store::inspect::{Schema, inspect};
use heldar_store::op::PutSetting;
use heldar_store::{DatabaseUrl, ErrorKind, Store};

use crate::world::{Db, at, create_feed};

/// Names in the folder of a SQLite file.
fn beside(db: &Db) -> Vec<String> {
    let DatabaseUrl::Sqlite(path) = &db.url else { return Vec::new() };
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) async fn a_look_tells_what_is_there(db: Db) {
    match &db.url {
        DatabaseUrl::Sqlite(_) => assert!(inspect(&db.url).await.is_err(), "no file is made"),
        DatabaseUrl::Postgres(_) => assert_eq!(inspect(&db.url).await.unwrap().schema, Schema::Missing),
    }
    assert!(beside(&db).is_empty());
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    store.write(feed.sealed(0, 10)).await.unwrap();
    let setting = PutSetting { key: "limit".to_owned(), value: "7".to_owned(), now: at(3) };
    store.write(setting).await.unwrap();
    // Beside the owner, and after it.
    let with_owner = inspect(&db.url).await.unwrap();
    store.write(feed.sealed(10, 20)).await.unwrap();
    store.close().await;
    drop(store);
    let names = beside(&db);
    let after = inspect(&db.url).await.unwrap();
    assert_eq!(beside(&db), names);
    assert_eq!(with_owner.schema, Schema::Current { number: 6 });
    let (one, two) = (with_owner.contents.unwrap(), after.contents.unwrap());
    assert_eq!((one.epoch, one.cameras, one.segments, one.segment_bytes), (1, 1, 1, 10_000));
    assert_eq!((two.epoch, two.segments), (1, 2));
    assert_eq!((two.settings[0].key.as_str(), two.settings[0].value.as_str()), ("limit", "7"));
    for (change, expect) in [
        (
            "INSERT INTO migration (component, number, name, checksum, applied_us)
             SELECT component, 7, 'later', checksum, applied_us FROM migration WHERE number = 6",
            Schema::Newer { number: 7, name: "later".to_owned() },
        ),
        (
            "DELETE FROM migration WHERE number = 7; UPDATE migration SET checksum =
             '0000000000000000000000000000000000000000000000000000000000000000'",
            Schema::Different { number: 1, name: "first".to_owned() },
        ),
        ("DELETE FROM migration", Schema::Missing),
    ] {
        db.tamper(change).await.unwrap();
        let found = inspect(&db.url).await.unwrap();
        assert_eq!((found.schema, found.contents), (expect, None));
        assert!(Store::open_read_only(db.config()).await.is_err());
    }
}

pub(crate) async fn a_reader_takes_nothing_over(db: Db) {
    let owner = db.open().await;
    let feed = create_feed(&owner, "a").await;
    owner.write(feed.sealed(0, 10)).await.unwrap();
    let reader = Store::open_read_only(db.config()).await.unwrap();
    assert_eq!(reader.streams(&Scope::All).await.unwrap().len(), 1);
    let refused = reader.write(feed.sealed(10, 20)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    // The owner still is one, and the reader sees what it writes.
    owner.write(feed.sealed(10, 20)).await.unwrap();
    let page = reader.every_segment(&Scope::All, feed.id(0).stream_no, None, 10).await.unwrap();
    assert_eq!(page.rows.len(), 2);
    reader.close().await;
    owner.write(feed.sealed(20, 30)).await.unwrap();
}
