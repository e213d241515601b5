//! The certificate of the API's listener.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{Capability, WallTime};
use heldar_http::{Access, Doc, Json, RouteTable};
use serde::Serialize;
use utoipa::ToSchema;

use super::TAG;
use crate::api::Api;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/system/tls",
        Access::fleet(Capability::SystemRead),
        show,
        Doc::new("getTls", TAG, "The certificate that the server shows")
            .json::<TlsStatus>(200, "The certificate in service."),
    );
}

/// The certificate in service.
#[derive(Debug, Serialize, ToSchema)]
struct TlsStatus {
    /// `off`, `files` or `self-signed`.
    mode: &'static str,
    /// Names and addresses that it is for; empty when there is none.
    names: Vec<String>,
    /// From when on it holds.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<WallTime>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_after: Option<WallTime>,
    /// Who vouches for it.
    issuer: Option<String>,
    /// SHA-256 of it, as browsers show it.
    fingerprint_sha256: Option<String>,
    /// Why a newer one could not be taken, while that holds.
    last_error: Option<String>,
}

async fn show(State(api): State<Api>) -> Json<TlsStatus> {
    let mode = api.settings.tls.mode().as_str();
    let Some(view) = api.certificates.get().map(|certificates| certificates.view()) else {
        return Json(TlsStatus {
            mode,
            names: Vec::new(),
            not_before: None,
            not_after: None,
            issuer: None,
            fingerprint_sha256: None,
            last_error: None,
        });
    };
    Json(TlsStatus {
        mode,
        names: view.facts.names,
        not_before: Some(view.facts.not_before),
        not_after: Some(view.facts.not_after),
        issuer: Some(view.facts.issuer),
        fingerprint_sha256: Some(view.facts.fingerprint_sha256),
        last_error: view.last_error,
    })
}
