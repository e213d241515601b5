//! Clips.

use heldar_base::{Cause, PublicId, Scope};
use heldar_store::op::{DeleteCamera, InsertClip, MarkClipsDeleting, RemoveClips};
use heldar_store::{Clip, ClipFilter, ErrorKind, Hole, TimeRange};

use crate::world::{Db, at, camera, clip, create_camera, scope};

fn id(number: u128) -> PublicId {
    clip(number, "a", 0).id
}

pub(crate) async fn clips_live_and_go(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let kept = Clip {
        keep: true,
        expires_at: None,
        name: Some("Ω".into()),
        incident_id: Some("case".into()),
        created_by: Some("admin".into()),
        gaps: vec![Hole { start: at(3), end: at(4), cause: Cause::Disk }],
        codecs: vec!["hvc1.1".into(), "mp4a.40.2".into()],
        ..clip(3, "a", 50)
    };
    let all = [clip(1, "a", 10), clip(2, "b", 20), kept.clone()];
    for clip in &all {
        store.write(InsertClip { clip: clip.clone() }).await.unwrap();
    }
    let taken = Clip { id: id(9), ..all[0].clone() };
    assert_eq!(store.write(InsertClip { clip: taken }).await.unwrap_err().kind(), ErrorKind::Conflict);

    let check = async |filter: ClipFilter, scope: Scope, expect: &[usize]| {
        let page = store.clips(&scope, &filter, None, 10).await.unwrap();
        let expect: Vec<_> = expect.iter().map(|at| all[*at].clone()).collect();
        assert_eq!(page.rows, expect, "{filter:?} {scope:?}");
    };
    check(ClipFilter::default(), Scope::All, &[2, 1, 0]).await;
    check(ClipFilter::default(), scope(&["b"]), &[1]).await;
    check(ClipFilter { camera: Some(camera("a")), ..ClipFilter::default() }, Scope::All, &[2, 0]).await;
    check(ClipFilter { incident_id: Some("case".into()), ..ClipFilter::default() }, Scope::All, &[2]).await;
    let range = TimeRange { from: Some(at(20)), to: Some(at(50)) };
    check(ClipFilter { range, ..ClipFilter::default() }, Scope::All, &[1]).await;
    assert_eq!(store.clip(&Scope::All, id(3)).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.clip(&scope(&["b"]), id(3)).await.unwrap(), None);
    assert_eq!(store.clip_by_filename(&Scope::All, "clip_2.mp4").await.unwrap(), Some(all[1].clone()));
    assert_eq!(store.clip_by_filename(&scope(&["a"]), "clip_2.mp4").await.unwrap(), None);
    assert_eq!(store.expired_clips(&Scope::All, at(115), 10).await.unwrap(), [all[0].clone()]);

    let marked = store.write(MarkClipsDeleting { ids: vec![id(2), id(7)] }).await.unwrap();
    assert_eq!(marked, [all[1].clone()]);
    assert!(store.write(MarkClipsDeleting { ids: vec![id(2)] }).await.unwrap().is_empty());
    check(ClipFilter::default(), Scope::All, &[2, 0]).await;
    assert_eq!(store.clip(&Scope::All, id(2)).await.unwrap(), None);
    assert_eq!(store.deleting_clips(&Scope::All, 10).await.unwrap(), [all[1].clone()]);
    assert_eq!(store.write(RemoveClips { ids: vec![id(2), id(1)] }).await.unwrap(), 1);

    // The clips of a deleted camera go with it, those to keep stay.
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    check(ClipFilter::default(), Scope::All, &[2]).await;
    assert_eq!(store.deleting_clips(&Scope::All, 10).await.unwrap(), [all[0].clone()]);
}
