//! What callers without rights, or limited to cameras, can do and learn.

use axum::http::Method;
use heldar_base::{CameraId, Capability, Clock as _};
use heldar_store::Severity;
use serde_json::{Value, json};

use super::{ids, made, post, quiet, walk};
use crate::support::{Answer, As, World};

const MANAGER: &[Capability] = &[Capability::CameraRead, Capability::RegistryManage, Capability::EventsRead];

/// Two sites with a camera each, and a camera without.
async fn world() -> World {
    let world = quiet().await;
    for site in ["east", "west"] {
        post(&world, "/api/v1/sites", &json!({ "name": site })).await.ok();
    }
    made(&world, json!({ "name": "gate", "site_id": "east" })).await;
    made(&world, json!({ "name": "yard", "site_id": "west" })).await;
    made(&world, json!({ "name": "roof" })).await;
    world
}

/// The body without the id of its request.
fn body(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("request_id");
    }
    (answer.status, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_and_missing_look_the_same() {
    let world = world().await;
    let limited = As::Limited(MANAGER, &["gate", "ghost"]);
    let name = json!({ "name": "x" });
    for (method, path, sent) in [
        (Method::GET, "/api/v1/cameras/{}", None),
        (Method::PATCH, "/api/v1/cameras/{}", Some(&name)),
        (Method::DELETE, "/api/v1/cameras/{}", None),
        (Method::GET, "/api/v1/cameras/{}/health", None),
        (Method::GET, "/api/v1/cameras/{}/test", None),
        (Method::POST, "/api/v1/cameras/{}/test", None),
        (Method::GET, "/api/v1/sites/{}", None),
        (Method::PATCH, "/api/v1/sites/{}", Some(&name)),
        (Method::DELETE, "/api/v1/sites/{}", None),
    ] {
        let foreign = if path.contains("sites") { "west" } else { "yard" };
        let ask = async |id: &str| world.send(limited, method.clone(), &path.replace("{}", id), sent).await;
        let (foreign, missing) = (ask(foreign).await, ask("nothing").await);
        assert_eq!(body(&foreign), body(&missing), "{method} {path}");
        assert!(matches!(foreign.status, 403 | 404), "{method} {path}");
        let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&foreign), names(&missing), "{method} {path}");
    }
    // Inside the scope it is missing, and nothing else.
    let inside = world.get_as(limited, "/api/v1/cameras/ghost").await;
    assert_eq!(inside.error(), (404, "not_found".to_owned()));
    assert_eq!(world.get_as(limited, "/api/v1/cameras/gate").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_camera_must_be_in_scope() {
    let world = world().await;
    let limited = As::Limited(MANAGER, &["gate", "ghost", "hall"]);
    let create = async |body: Value| world.send(limited, Method::POST, "/api/v1/cameras", Some(&body)).await;
    for name in ["yard", "nothing"] {
        let answer = create(json!({ "name": name })).await;
        assert_eq!(answer.error(), (403, "forbidden".to_owned()), "{name}");
    }
    assert_eq!(create(json!({ "name": "gate" })).await.status, 409);
    // Sites that hold no camera of the scope are as if they were not there.
    let (foreign, missing) = (
        create(json!({ "name": "ghost", "site_id": "west" })).await,
        create(json!({ "name": "ghost", "site_id": "no" })).await,
    );
    assert_eq!(body(&foreign), body(&missing));
    assert_eq!(foreign.error(), (400, "validation".to_owned()));
    assert_eq!(create(json!({ "name": "ghost", "site_id": "east" })).await.status, 201);
    // A site decides who else may see a camera: whoever is limited does not choose it.
    for site in [json!("west"), json!("no"), json!(null)] {
        let patch = json!({ "site_id": site });
        let answer = world.send(limited, Method::PATCH, "/api/v1/cameras/ghost", Some(&patch)).await;
        assert_eq!(answer.error(), (403, "forbidden".to_owned()), "{site}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_what_is_in_scope() {
    let world = world().await;
    let gate = As::Limited(MANAGER, &["gate"]);
    let nowhere = As::Limited(MANAGER, &[]);
    let check = async |who, path: &str, key: &str, expect: &[&str]| {
        let list = world.get_as(who, path).await.ok();
        let got: Vec<&str> =
            list.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap()).collect();
        assert_eq!(got, expect, "{path}");
    };
    check(gate, "/api/v1/cameras", "id", &["gate"]).await;
    check(gate, "/api/v1/cameras?site_id=west", "id", &[]).await;
    check(gate, "/api/v1/health/cameras", "camera_id", &["gate"]).await;
    check(gate, "/api/v1/sites", "id", &["east"]).await;
    check(gate, "/api/v1/audit", "subject_camera_id", &["gate"]).await;
    for path in
        ["/api/v1/cameras", "/api/v1/health/cameras", "/api/v1/sites", "/api/v1/events", "/api/v1/audit"]
    {
        assert_eq!(world.get_as(nowhere, path).await.ok(), json!([]), "{path}");
    }
    assert_eq!(world.get_as(gate, "/api/v1/sites/east").await.ok()["camera_count"], 1);
    let site = json!({ "name": "new" });
    let answer = world.send(gate, Method::POST, "/api/v1/sites", Some(&site)).await;
    assert_eq!(answer.error(), (403, "forbidden".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities() {
    let world = world().await;
    let empty = json!({});
    for (method, path, sent, needed) in [
        (Method::GET, "/api/v1/cameras", None, Capability::CameraRead),
        (Method::POST, "/api/v1/cameras", Some(&empty), Capability::RegistryManage),
        (Method::GET, "/api/v1/cameras/gate", None, Capability::CameraRead),
        (Method::PATCH, "/api/v1/cameras/gate", Some(&empty), Capability::RegistryManage),
        (Method::DELETE, "/api/v1/cameras/gate", None, Capability::Admin),
        (Method::GET, "/api/v1/cameras/gate/test", None, Capability::CameraRead),
        (Method::GET, "/api/v1/cameras/gate/health", None, Capability::CameraRead),
        (Method::GET, "/api/v1/health/cameras", None, Capability::CameraRead),
        (Method::GET, "/api/v1/vendors", None, Capability::CameraRead),
        (Method::GET, "/api/v1/sites", None, Capability::CameraRead),
        (Method::POST, "/api/v1/sites", Some(&empty), Capability::RegistryManage),
        (Method::GET, "/api/v1/sites/east", None, Capability::CameraRead),
        (Method::PATCH, "/api/v1/sites/east", Some(&empty), Capability::RegistryManage),
        (Method::DELETE, "/api/v1/sites/east", None, Capability::RegistryManage),
        (Method::GET, "/api/v1/events", None, Capability::EventsRead),
        (Method::GET, "/api/v1/audit", None, Capability::RegistryManage),
        (Method::GET, "/api/v1/audit/export", None, Capability::RegistryManage),
    ] {
        let others: Vec<Capability> =
            Capability::ALL.iter().copied().filter(|c| *c != needed && *c != Capability::Admin).collect();
        let answer = world.send(As::With(&others), method.clone(), path, sent).await;
        assert_eq!(answer.error(), (403, "forbidden".to_owned()), "{method} {path}");
        let text = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("missing capability") && text.contains(needed.as_str()), "{text}");
        // Last, as it may delete the camera.
        if method != Method::DELETE {
            let answer = world.send(As::With(&[needed]), method.clone(), path, sent).await;
            assert_ne!(answer.status, 403, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_filtered_by_scope_and_paged() {
    let world = world().await;
    let camera = |id: &str| Some(CameraId::new(id).unwrap());
    for n in 0..9 {
        let of = [camera("gate"), camera("yard"), None][n % 3].clone();
        let severity = if n < 3 { Severity::Critical } else { Severity::Info };
        world.kernel.journal.raise(of, "test_event", severity, json!({ "n": n }));
    }
    let until = world.kernel.clock.wall();
    let list = async |who, query: &str| {
        let path = format!("/api/v1/events?event_type=test_event{query}");
        walk(&world, who, &path)
            .await
            .0
            .iter()
            .map(|e| e["payload"]["n"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    while list(As::System, "").await.len() < 9 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(list(As::System, "").await, [8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(list(As::System, "&limit=2").await, [8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(list(As::System, "&camera_id=gate").await, [6, 3, 0]);
    assert_eq!(list(As::System, "&camera_id=No%20Camera").await, [0_i64; 0]);
    assert_eq!(list(As::System, "&severity=critical").await, [2, 1, 0]);
    assert_eq!(
        list(As::System, &format!("&from={until}")).await.len()
            + list(As::System, &format!("&to={until}")).await.len(),
        9
    );
    let gate = As::Limited(MANAGER, &["gate"]);
    assert_eq!(list(gate, "").await, [6, 3, 0]);
    assert_eq!(list(gate, "&camera_id=yard").await, [0_i64; 0]);

    let (events, pages) = walk(&world, gate, "/api/v1/events?limit=2&event_type=test_event").await;
    assert_eq!(pages, [2, 1]);
    let first = &events[0];
    assert_eq!(
        (&first["camera_id"], &first["site_id"], &first["severity"]),
        (&json!("gate"), &json!("east"), &json!("info"))
    );
    let mut names: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["camera_id", "created_at", "event_type", "id", "payload", "seq", "severity", "site_id", "timestamp"]
    );

    // A cursor of another caller gives nothing that its own scope does not hold.
    let next = world.get("/api/v1/events?limit=2&event_type=test_event").await.next().unwrap();
    let seen = world.get_as(gate, &next).await.ok();
    assert!(
        ids(&seen).len() <= 2 && seen.as_array().unwrap().iter().all(|event| event["camera_id"] == "gate")
    );
    for (query, code) in
        [("severity=loud", "bad_query"), ("from=yesterday", "bad_query"), ("cursor=x", "bad_cursor")]
    {
        let answer = world.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!(answer.error(), (400, code.to_owned()), "{query}");
    }
}
