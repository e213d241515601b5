//! The table as the source of the description and of the matrix.

use axum::http::Method;
use heldar_base::Capability;
use heldar_http::{Access, Doc, RouteTable};
use utoipa::ToSchema;

use crate::world::{Setup, World, table};

#[tokio::test]
async fn the_description_names_every_route_with_its_rule() {
    let world = World::start(Setup::default()).await;
    let answer = world.get("/api/v1/openapi.json", "nowhere").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let api = answer.json();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
    let get = &api["paths"]["/api/v1/cameras/{id}"]["get"];
    assert_eq!(
        get["x-heldar-access"],
        serde_json::json!({"need": "camera:read", "scope": "cam", "camera": "id"})
    );
    assert_eq!(get["parameters"][0]["name"], "id");
    for status in ["200", "400", "401", "403", "404", "default"] {
        assert!(get["responses"][status].is_object(), "{status}: {get}");
    }
    assert_eq!(get["security"].as_array().map(Vec::len), Some(3));
    let post = &api["paths"]["/api/v1/cameras"]["post"];
    assert!(post["responses"]["422"].is_object() && post["responses"]["413"].is_object(), "{post}");
    let list = &api["paths"]["/api/v1/cameras"]["get"];
    assert!(list["responses"]["200"]["headers"]["Link"].is_object(), "{list}");
    let from = &list["parameters"][0];
    assert_eq!(
        (from["name"].as_str(), from["schema"]["type"].as_str()),
        (Some("from"), Some("string")),
        "{from}"
    );
    let file = &api["paths"]["/media/recordings/{camera}/{file}"]["get"]["responses"]["200"]["content"];
    assert_eq!(*file, serde_json::json!({"text/plain": {}}));
    let login = &api["paths"]["/api/v1/auth/login"]["post"];
    assert_eq!(login["security"], serde_json::json!([]));
    assert!(login["responses"]["401"].is_null());
    assert!(api["components"]["schemas"]["Error"]["properties"]["request_id"].is_object(), "{api}");
}

#[test]
fn the_matrix_names_every_route_with_its_rule() {
    let matrix = table().access_matrix();
    assert_eq!(matrix.lines().count(), 22, "{matrix}");
    let rows: Vec<Vec<&str>> = matrix.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        ["GET", "/api/v1/cameras/{id}", "camera:read", "cam", "amgvi"],
        ["DELETE", "/api/v1/cameras/{id}", "admin", "cam", "a----"],
        ["GET", "/api/v1/box", "system:read", "fleet", "amgvi"],
        ["POST", "/api/v1/auth/login", "public", "none", "amgvi"],
        ["GET", "/media/recordings/{camera}/{file}", "video:playback", "cam", "amgvi"],
    ] {
        assert!(rows.contains(&row.to_vec()), "{row:?} in\n{matrix}");
    }
}

mod first {
    #[derive(utoipa::ToSchema)]
    #[expect(dead_code, reason = "only its schema matters")]
    pub(crate) struct View {
        pub(crate) id: String,
    }
}

mod second {
    #[derive(utoipa::ToSchema)]
    #[expect(dead_code, reason = "only its schema matters")]
    pub(crate) struct View {
        pub(crate) name: String,
    }
}

fn check(path: &'static str, access: Access, doc: Doc, defect: &str) {
    let mut table = RouteTable::<()>::new("t", "1");
    table.add(
        Method::GET,
        "/api/v1/a",
        Access::cam_in("x", Capability::Admin),
        async || "",
        answers::<first::View>("a"),
    );
    let mut table = RouteTable::<()>::new("t", "1");
    table.add(
        Method::GET,
        "/api/v1/a",
        Access::unscoped(Capability::Admin),
        async || "",
        answers::<first::View>("a"),
    );
    table.add(Method::GET, path, access, async || "", doc);
    let found = table.openapi().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(found.contains(defect), "{defect:?} in {found:?}");
}

fn answers<T: ToSchema>(id: &'static str) -> Doc {
    Doc::new(id, "t", "One.").json::<T>(200, "It.")
}

#[test]
fn a_table_that_contradicts_itself_does_not_build() {
    let admin = Access::unscoped(Capability::Admin);
    let b = || answers::<first::View>("b");
    check("/api/v1/a", admin, b(), "GET /api/v1/a is there twice");
    check("/api/v1/b", admin, answers::<first::View>("a"), "the operation id a is used twice");
    check("/api/v1/b", admin, answers::<second::View>("b"), "the schema name View stands for two schemas");
    check("/api/v1/b", Access::cam(Capability::Admin), b(), "no parameter {id} for its camera");
    check("/api/v1/b", Access::public(), b(), "is open to everyone below /api/v1");
    check("/api/v1/b", admin, Doc::new("b", "t", "One."), "documents no answer");
    check("api/v1/b", admin, b(), "no absolute path");
}
