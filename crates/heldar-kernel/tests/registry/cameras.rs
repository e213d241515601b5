//! The life of cameras: ids, lists, changes that say nothing, deletion.

use axum::http::Method;
use serde_json::json;

use super::{audit_rows, delete, ids, made, patch, post, quiet, walk};
use crate::support::As;

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_slugs_and_taken_once() {
    let world = quiet().await;
    for (body, expect) in [
        (json!({ "name": "Front Door" }), "front_door"),
        (json!({ "name": "x", "id": "  --Gate #2--" }), "gate_2"),
        (json!({ "name": "日本" }), "camera"),
        (json!({ "name": "Back", "id": " " }), "back"),
    ] {
        assert_eq!(made(&world, body.clone()).await["id"], expect, "{body}");
    }
    for body in [json!({ "name": "FRONT door" }), json!({ "name": "x", "id": "Gate 2" })] {
        let answer = post(&world, "/api/v1/cameras", &body).await;
        assert_eq!(answer.error(), (409, "conflict".to_owned()), "{body}");
        assert_eq!(answer.json()["error"], "resource already exists");
    }
    let fixed = patch(&world, "/api/v1/cameras/camera", &json!({ "id": "other" })).await.ok();
    assert_eq!(fixed["id"], "camera");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_says_nothing_new_writes_nothing() {
    let world = quiet().await;
    let path = "/api/v1/cameras/gate";
    let body = json!({
        "name": "Gate", "vendor": "hikvision", "address": "10.0.0.9", "username": "u", "password": "p w",
        "main_stream_url": "rtsp://u:p@10.0.0.9/x", "anr_replay_url_template": "rtsp://u:p@10.0.0.9/{start}",
        "capabilities": {"b": 1, "a": 1.5}, "retention_hours": 50_000,
    });
    let before = made(&world, body.clone()).await;
    let rows = audit_rows(&world).await.len();
    let masked = json!({
        "password": "***", "main_stream_url": before["main_url_masked"],
        "anr_replay_url_template": before["anr_replay_url_template"],
    });
    let same = json!({ "name": "Gate", "password": "p w", "capabilities": {"a": 1.5, "b": 1}, "sub_stream_url": "" });
    for nothing in
        [json!({}), masked, same, json!({ "unknown": 1 }), json!({ "name": null, "priority": null })]
    {
        let answer = patch(&world, path, &nothing).await;
        assert_eq!((answer.status, answer.json()), (200, before.clone()), "{nothing}");
    }
    assert_eq!(audit_rows(&world).await.len(), rows);
    let id = heldar_base::CameraId::new("gate").unwrap();
    let stored = world.kernel.store.camera(&heldar_base::Scope::All, &id).await.unwrap().unwrap();
    assert_eq!(stored.revision, 1);

    let changed = patch(&world, path, &json!({ "name": "Main gate", "priority": 100 })).await.ok();
    assert_eq!(changed["name"], "Main gate");
    assert_ne!(changed["updated_at"], before["updated_at"]);
    let rows = audit_rows(&world).await;
    assert_eq!(rows[0]["action"], "update_camera");
    assert_eq!(rows[0]["detail"], json!({ "fields": ["name"] }));
    assert_eq!(rows[0]["before"], json!({ "name": "Gate" }));
    assert_eq!(rows[0]["after"], json!({ "name": "Main gate" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_paged() {
    let world = quiet().await;
    post(&world, "/api/v1/sites", &json!({ "name": "Yard" })).await.ok();
    for n in 0..7 {
        let site = if n % 2 == 0 { json!("yard") } else { json!(null) };
        made(&world, json!({ "name": format!("cam {n}"), "site_id": site, "enabled": n < 5 })).await;
    }
    let list = async |query: &str| world.get(&format!("/api/v1/cameras{query}")).await.ok();
    assert_eq!(ids(&list("").await).len(), 7);
    assert_eq!(ids(&list("?site_id=yard&enabled=false").await), ["cam_6"]);
    assert_eq!(ids(&list("?site_id=nowhere").await), [""; 0]);
    assert_eq!(ids(&list("?site_id=No%20Site").await), [""; 0]);
    assert_eq!(ids(&list("?limit=0").await), ["cam_0"]);

    let (all, pages) = walk(&world, As::System, "/api/v1/cameras?limit=3").await;
    assert_eq!(
        (ids(&json!(all)), pages),
        (vec!["cam_0", "cam_1", "cam_2", "cam_3", "cam_4", "cam_5", "cam_6"], vec![3, 3, 1])
    );

    for list in ["/api/v1/health/cameras?limit=3", "/api/v1/vendors?limit=3"] {
        let whole = world.get(list.split('?').next().unwrap()).await;
        let (all, pages) = walk(&world, As::System, list).await;
        assert_eq!((json!(all), whole.next()), (whole.ok(), None), "{list}");
        assert!(pages.len() > 1 && pages.iter().all(|length| *length <= 3), "{list}: {pages:?}");
    }

    // Between two pages one goes that was seen, one comes before and one behind.
    let first = world.get("/api/v1/cameras?limit=3").await;
    assert_eq!(delete(&world, "/api/v1/cameras/cam_1").await.status, 204);
    made(&world, json!({ "name": "aaa" })).await;
    made(&world, json!({ "name": "cam 4b" })).await;
    let (rest, _) = walk(&world, As::System, &first.next().unwrap()).await;
    assert_eq!(ids(&json!(rest)), ["cam_3", "cam_4", "cam_4b", "cam_5", "cam_6"]);

    let foreign = first.next().unwrap().replace("limit=3", "limit=3&enabled=true");
    assert_eq!(world.get(&foreign).await.error(), (400, "bad_cursor".to_owned()));
    for (query, code) in
        [("limit=x", "bad_query"), ("enabled=maybe", "bad_query"), ("cursor=zzz", "bad_cursor")]
    {
        let answer = world.get(&format!("/api/v1/cameras?{query}")).await;
        assert_eq!(answer.error(), (400, code.to_owned()), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_camera_is_gone_from_every_route() {
    let world = quiet().await;
    made(&world, json!({ "name": "gate" })).await;
    assert_eq!(world.get("/api/v1/cameras/gate/health").await.status, 200);
    assert_eq!(delete(&world, "/api/v1/cameras/gate").await.status, 204);
    for path in ["/api/v1/cameras/gate", "/api/v1/cameras/gate/health", "/api/v1/cameras/gate/test"] {
        assert_eq!(world.get(path).await.error(), (404, "not_found".to_owned()), "{path}");
    }
    assert_eq!(patch(&world, "/api/v1/cameras/gate", &json!({})).await.status, 404);
    assert_eq!(delete(&world, "/api/v1/cameras/gate").await.status, 404);
    assert_eq!(ids(&world.get("/api/v1/cameras?include_removed=true").await.ok()), [""; 0]);
    assert_eq!(world.get("/api/v1/health/cameras").await.ok(), json!([]));
    assert_eq!(audit_rows(&world).await[0]["detail"], json!({ "keep_recordings": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_camera_stays_readable_and_comes_back() {
    let world = quiet().await;
    let path = "/api/v1/cameras/gate";
    made(&world, json!({ "name": "gate", "password": "old" })).await;
    let remove = format!("{path}?keep_recordings=true");
    assert_eq!(delete(&world, &remove).await.status, 204);
    assert_eq!(ids(&world.get("/api/v1/cameras").await.ok()), [""; 0]);
    assert_eq!(ids(&world.get("/api/v1/cameras?include_removed=true").await.ok()), ["gate"]);
    assert!(world.get(path).await.ok()["removed_at"].is_string());
    assert_eq!(world.get("/api/v1/health/cameras").await.ok(), json!([]));
    assert_eq!(world.get(&format!("{path}/health")).await.status, 404);
    assert_eq!(patch(&world, path, &json!({ "name": "x" })).await.error(), (409, "conflict".to_owned()));
    assert_eq!(world.get(&format!("{path}/test")).await.error(), (409, "conflict".to_owned()));
    let rows = audit_rows(&world).await;
    assert_eq!(rows[0]["detail"], json!({ "keep_recordings": true }));
    assert_eq!(delete(&world, &remove).await.status, 204, "again");
    assert_eq!(audit_rows(&world).await.len(), rows.len());

    let back = made(&world, json!({ "name": "Gate" })).await;
    assert_eq!((&back["removed_at"], &back["has_password"]), (&json!(null), &json!(false)));
    assert_eq!(patch(&world, path, &json!({ "name": "Gate 2" })).await.ok()["name"], "Gate 2");

    assert_eq!(delete(&world, &remove).await.status, 204);
    assert_eq!(delete(&world, path).await.status, 204, "the second delete without the option removes it");
    assert_eq!(world.get(path).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_is_wanted() {
    let world = quiet().await;
    made(&world, json!({ "name": "a" })).await;
    made(&world, json!({ "name": "b", "enabled": false })).await;
    let list = world.get("/api/v1/health/cameras").await.ok();
    let summary: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|s| {
            (
                s["camera_id"].as_str().unwrap(),
                s["state"].as_str().unwrap(),
                s["not_wanted_reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(summary, [("a", "disabled", "recorder_off"), ("b", "disabled", "camera_disabled")]);
    let one = world.get("/api/v1/cameras/a/health").await.ok();
    assert_eq!(one["wanted"], false);
    assert_eq!(
        (&one["session"], &one["audio"], &one["recorder_pid"]),
        (&json!("idle"), &json!("none"), &json!(null))
    );
    let mut names: Vec<&str> = one.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "audio",
            "bitrate_kbps",
            "camera_id",
            "clock_offset_ms",
            "connected_since",
            "fps_observed",
            "last_error",
            "last_picture_at",
            "last_segment_at",
            "last_started_at",
            "mirror_state",
            "next_attempt_at",
            "not_wanted_reason",
            "pre_roll_available_seconds",
            "reason_class",
            "reconnect_count",
            "recorder_pid",
            "segments_written",
            "session",
            "state",
            "state_since",
            "transport",
            "updated_at",
            "wanted",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_are_all_kept() {
    let world = quiet().await;
    made(&world, json!({ "name": "gate" })).await;
    let bodies: Vec<_> = (0..16).map(|n| json!({ "capabilities": { "n": n }, "priority": n })).collect();
    let answers = bodies.iter().map(|body| patch(&world, "/api/v1/cameras/gate", body));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    let made = (0..8).map(|_| json!({ "name": "same" })).collect::<Vec<_>>();
    let answers = made.iter().map(|body| world.send(As::System, Method::POST, "/api/v1/cameras", Some(body)));
    let mut statuses: Vec<u16> =
        futures_util::future::join_all(answers).await.into_iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(audit_rows(&world).await.len(), 1 + 16 + 1);
}
