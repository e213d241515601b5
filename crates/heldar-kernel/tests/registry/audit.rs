//! The audit trail and its export.

use heldar_base::Capability;
use serde_json::{Value, json};

use super::{audit_rows, delete, made, patch, post, quiet, walk};
use crate::support::As;

#[tokio::test(flavor = "multi_thread")]
async fn rows_say_who_did_what() {
    let world = quiet().await;
    made(&world, json!({ "name": "Gate", "vendor": "axis", "password": "pw" })).await;
    let changed = patch(
        &world,
        "/api/v1/cameras/gate",
        &json!({ "password": "other", "main_stream_url": "rtsp://u:p@h/x", "rtsp_port": 8554 }),
    )
    .await;
    delete(&world, "/api/v1/cameras/gate").await;
    let rows = audit_rows(&world).await;
    assert_eq!(rows.len(), 3);
    let names: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.len(), 17, "{names:?}");
    for (row, action) in rows.iter().zip(["delete_camera", "update_camera", "create_camera"]) {
        assert_eq!(row["action"], action);
        assert_eq!(
            (&row["actor"], &row["actor_name"], &row["role"]),
            (&json!("system"), &json!("system"), &json!("admin"))
        );
        assert_eq!((&row["target_type"], &row["target_id"]), (&json!("camera"), &json!("gate")));
        assert_eq!((&row["subject_camera_id"], &row["outcome"]), (&json!("gate"), &json!("ok")));
        assert_eq!(row["ip"], "127.0.0.1");
        assert!(row["id"].as_str().unwrap().starts_with("aud_"));
    }
    assert_eq!(rows[1]["request_id"].as_str(), changed.header("x-request-id"));
    assert_eq!(rows[2]["detail"], json!({ "name": "Gate", "vendor": "axis" }));
    assert_eq!(rows[1]["detail"], json!({ "fields": ["rtsp_port", "password", "main_stream_url"] }));
    assert_eq!(rows[1]["before"], json!({ "rtsp_port": 554, "password": "***", "main_stream_url": null }));
    assert_eq!(rows[1]["after"], json!({ "rtsp_port": 8554, "password": "***", "main_stream_url": "***" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_filtered_and_paged() {
    let world = quiet().await;
    for name in ["a", "b", "c"] {
        made(&world, json!({ "name": name })).await;
        patch(&world, &format!("/api/v1/cameras/{name}"), &json!({ "priority": 1 })).await.ok();
    }
    post(&world, "/api/v1/sites", &json!({ "name": "s" })).await.ok();
    let count = async |query: &str| walk(&world, As::System, &format!("/api/v1/audit?{query}")).await.0.len();
    assert_eq!(count("").await, 7);
    assert_eq!(count("limit=2").await, 7);
    assert_eq!(count("action=update_camera").await, 3);
    assert_eq!(count("action=update").await, 0, "exact");
    assert_eq!(count("camera_id=b").await, 2);
    assert_eq!(count("target_type=site").await, 1);
    assert_eq!(count("target_id=s&actor=system&outcome=ok&ip=127.0.0.1").await, 1);
    assert_eq!(count("actor=nobody").await, 0);
    assert_eq!(count("outcome=failed").await, 0);
    assert_eq!(count("to=2000-01-01T00:00:00Z").await, 0);
    assert_eq!(count("from=2000-01-01T00:00:00Z").await, 7);
    for query in ["from=x", "to=x", "outcome=fine", "limit=x"] {
        let answer = world.get(&format!("/api/v1/audit?{query}")).await;
        assert_eq!(answer.error(), (400, "bad_query".to_owned()), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_every_row_and_is_audited() {
    let world = quiet().await;
    made(&world, json!({ "name": "a", "vendor": "x,\"y\"" })).await;
    made(&world, json!({ "name": "b" })).await;
    let rows = audit_rows(&world).await;
    let export = world.get("/api/v1/audit/export").await;
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    let text = String::from_utf8(export.bytes.clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, rows);
    let newest = audit_rows(&world).await[0].clone();
    assert_eq!((&newest["action"], &newest["target_type"]), (&json!("export_audit"), &json!("audit")));
    assert_eq!(newest["detail"]["format"], "jsonl");

    let export = world.get("/api/v1/audit/export?format=csv&camera_id=a").await;
    assert_eq!(export.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = String::from_utf8(export.bytes).unwrap();
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].starts_with("id,created_at,actor,") && lines[1].contains(",create_camera,camera,a,a,ok,"),
        "{text}"
    );
    assert!(lines[1].contains(r#""{""name"":""a"",""vendor"":""x,\""y\""""}""#), "{text}");

    let limited = As::Limited(&[Capability::RegistryManage], &["b"]);
    let export = world.get_as(limited, "/api/v1/audit/export").await;
    let text = String::from_utf8(export.bytes).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(world.get("/api/v1/audit/export?format=xml").await.error(), (400, "bad_query".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_longer_than_its_pages() {
    let world = quiet().await;
    let author = heldar_kernel::registry::Author::new(&heldar_base::Principal::system());
    for n in 0..2100_i64 {
        let target = heldar_kernel::registry::Target { kind: "test", id: "x" };
        let entry = author.did(heldar_base::WallTime(n), "test", target, json!({ "n": n }));
        let op = heldar_store::op::AppendAudit { entry };
        if n % 300 == 0 {
            world.kernel.store.write(op).await.unwrap();
        } else {
            drop(tokio::spawn({
                let store = world.kernel.store.clone();
                async move { store.write(op).await }
            }));
        }
    }
    while walk(&world, As::System, "/api/v1/audit?action=test&limit=5000").await.0.len() < 2100 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let export = world.get("/api/v1/audit/export?action=test").await;
    let text = String::from_utf8(export.bytes).unwrap();
    let numbers: Vec<i64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["detail"]["n"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, (0..2100).rev().collect::<Vec<_>>());
}
