//! Sites and vendors.

use serde_json::{Value, json};

use super::{audit_rows, delete, ids, made, patch, post, quiet, walk};
use crate::support::{As, World};

#[tokio::test(flavor = "multi_thread")]
async fn sites_are_made_changed_and_deleted() {
    let world = quiet().await;
    let site =
        post(&world, "/api/v1/sites", &json!({ "name": "Main Yard", "timezone": "europe/berlin" })).await;
    assert_eq!(site.status, 201);
    let site = site.json();
    assert_eq!(
        super::without_times(site.clone()),
        json!({ "id": "main_yard", "name": "Main Yard", "timezone": "Europe/Berlin", "camera_count": 0,
            "created_at": null, "updated_at": null })
    );
    let path = "/api/v1/sites/main_yard";
    assert_eq!(world.get(path).await.ok(), site);
    for nothing in
        [json!({}), json!({ "name": null }), json!({ "name": "Main Yard", "timezone": "Europe/Berlin" })]
    {
        assert_eq!(patch(&world, path, &nothing).await.ok(), site, "{nothing}");
    }
    assert_eq!(audit_rows(&world).await.len(), 1);
    let changed = patch(&world, path, &json!({ "timezone": null })).await.ok();
    assert_eq!((&changed["timezone"], &changed["name"]), (&json!(null), &json!("Main Yard")));

    made(&world, json!({ "name": "gate", "site_id": "main_yard" })).await;
    assert_eq!(world.get(path).await.ok()["camera_count"], 1);
    assert_eq!(delete(&world, path).await.error(), (409, "in_use".to_owned()));
    assert_eq!(delete(&world, &format!("{path}?detach=true")).await.status, 204);
    assert_eq!(world.get("/api/v1/cameras/gate").await.ok()["site_id"], Value::Null);
    assert_eq!(world.get(path).await.error(), (404, "not_found".to_owned()));
    assert_eq!(delete(&world, path).await.status, 404);
    let actions: Vec<_> = audit_rows(&world).await.iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["delete_site", "create_camera", "update_site", "create_site"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_sites() {
    let world = quiet().await;
    post(&world, "/api/v1/sites", &json!({ "name": "a" })).await.ok();
    for (body, status, code, field) in [
        (json!({}), 422, "invalid_body", "name"),
        (json!({ "name": " " }), 400, "validation", "name"),
        (json!({ "name": "b", "timezone": "Europe/Berlni" }), 400, "validation", "timezone"),
        (json!({ "name": "b", "timezone": "" }), 400, "validation", "timezone"),
        (json!({ "name": "A" }), 409, "conflict", "id"),
        (json!({ "name": "b", "id": "A!" }), 409, "conflict", "id"),
    ] {
        let answer = post(&world, "/api/v1/sites", &body).await;
        let got = answer.json();
        assert_eq!(
            (answer.status, &got["code"], &got["field"]),
            (status, &json!(code), &json!(field)),
            "{body}"
        );
    }
    let answer = patch(&world, "/api/v1/sites/a", &json!({ "name": "" })).await;
    assert_eq!(answer.error(), (400, "validation".to_owned()));
    for path in ["/api/v1/sites/b", "/api/v1/sites/No%20Site"] {
        assert_eq!(patch(&world, path, &json!({})).await.status, 404, "{path}");
        assert_eq!(world.get(path).await.status, 404, "{path}");
    }
    for name in ["b", "c", "d", "e"] {
        post(&world, "/api/v1/sites", &json!({ "name": name })).await.ok();
    }
    let (all, pages) = walk(&world, As::System, "/api/v1/sites?limit=2").await;
    assert_eq!((ids(&json!(all)), pages), (vec!["a", "b", "c", "d", "e"], vec![2, 2, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn vendors_are_those_of_the_server_and_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"[{"vendor":"acme","main":"/m{n}","channels":4},{"vendor":"bad"}]"#)
        .unwrap();
    let path = file.path().to_str().unwrap();
    let world =
        World::start_with(&[("HELDAR_RECORDER_ENABLED", "false"), ("HELDAR_VENDOR_TEMPLATES", path)]).await;
    let vendors = world.get("/api/v1/vendors").await.ok();
    let find = |name: &str| vendors.as_array().unwrap().iter().find(|v| v["vendor"] == name).cloned();
    assert_eq!(
        find("acme"),
        Some(
            json!({ "vendor": "acme", "main": "/m{n}", "sub": null, "replay": null, "channels": 4, "source": "file" })
        )
    );
    assert_eq!(find("tapo").unwrap()["source"], "builtin");
    assert_eq!(find("bad"), None);
}
