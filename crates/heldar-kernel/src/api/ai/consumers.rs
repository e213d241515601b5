//! Consumers of batches, and what they could not take (perception.md 10).

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, Clock as _, PublicId, WallTime};
use heldar_http::{Access, ApiError, Code, Doc, Json, Limit, List, Page, Path, Query, RouteTable};
use heldar_store::op::{RemoveDeadLetter, ReplayDeadLetters};
use heldar_store::{Attached, Batch, DeadLetter, Letters};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::TAG;
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::registry::Target;

/// Kind of target in audit rows.
const CONSUMER: &str = "consumer";

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let letters = "/api/v1/ai/consumers/{name}/dead-letters";
    table.add(
        Method::GET,
        "/api/v1/ai/consumers",
        Access::filter(Capability::SystemRead),
        list,
        Doc::new("listConsumers", TAG, "Who is given what workers see, and how far they are")
            .details("Consumers belong to no camera: callers that are limited to cameras see none.")
            .list::<Consumer>(200, "By name."),
    );
    table.add(
        Method::GET,
        letters,
        Access::filter(Capability::SystemRead),
        dead_letters,
        Doc::new("listDeadLetters", TAG, "Batches that a consumer could not take")
            .query::<Letter>()
            .page::<DeadLetterView>("By number of the batch.")
            .fails(&[Code::NotFound, Code::BadCursor]),
    );
    table.add(
        Method::POST,
        "/api/v1/ai/consumers/{name}/dead-letters/replay",
        Access::fleet(Capability::Admin),
        replay,
        Doc::new("replayDeadLetters", TAG, "Give dead letters to their consumer once more")
            .details("Each is tried once; one that fails again stays.")
            .body::<Replay>()
            .json::<Queued>(202, "How many are on their way now.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::DELETE,
        "/api/v1/ai/consumers/{name}/dead-letters/{id}",
        Access::fleet(Capability::Admin),
        discard,
        Doc::new("discardDeadLetter", TAG, "Give a dead letter up").empty(204, "It is gone."),
    );
}

/// A consumer.
#[derive(Serialize, ToSchema)]
struct Consumer {
    /// Its name.
    name: String,
    /// Every batch up to this number is finished.
    cursor_seq: i64,
    /// Batches above that, counted up to 100 000.
    lag_batches: i64,
    /// Age of the oldest of them in seconds; 0 when there is none.
    lag_seconds: f64,
    /// Batches that it has been given, or that wait in its queue.
    in_flight: usize,
    /// Cameras whose batches wait for another attempt.
    retrying: usize,
    /// Batches that it could not take.
    parked: i64,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// A batch that a consumer could not take.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
struct DeadLetterView {
    /// `dlq_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// Number of the batch.
    seq: i64,
    /// The batch, whose rows may be gone.
    #[schema(value_type = String)]
    batch_id: PublicId,
    /// Its camera.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// What was asked.
    task_type: String,
    /// How often it was tried; 0: it was given up because of its age.
    attempts: u32,
    /// The first failure.
    #[schema(value_type = String, format = DateTime)]
    first_failed_at: WallTime,
    /// The last one.
    #[schema(value_type = String, format = DateTime)]
    last_failed_at: WallTime,
    /// What it was.
    error: String,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        DeadLetterView {
            id: letter.id(),
            seq: letter.seq,
            batch_id: Batch::public(letter.seq),
            camera_id: letter.camera,
            task_type: letter.task_type,
            attempts: letter.attempts,
            first_failed_at: letter.first_failed_at,
            last_failed_at: letter.last_failed_at,
            error: letter.error,
        }
    }
}

/// Which page.
#[derive(Deserialize, IntoParams)]
struct Letter {
    /// Longest page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<100, 1, 1000>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

/// Which dead letters.
#[derive(Deserialize, ToSchema)]
struct Replay {
    /// Their ids; absent: all of the consumer.
    #[serde(default)]
    ids: Option<Vec<String>>,
}

/// What is on its way.
#[derive(Serialize, ToSchema)]
struct Queued {
    /// How many dead letters.
    queued: u64,
}

async fn list(
    State(kernel): State<Api>,
    Requester { caller, .. }: Requester,
) -> Result<Json<Vec<Consumer>>, ApiError> {
    if !caller.scope().is_all() {
        return Ok(Json(Vec::new()));
    }
    let now = kernel.clock.wall();
    let views = kernel.consumers().await.map_err(errors::store)?;
    let consumers = views.into_iter().map(|view| Consumer {
        name: view.name,
        cursor_seq: view.cursor_seq,
        lag_batches: view.lag_batches,
        lag_seconds: view.waiting_since.map_or(0.0, |since| (now - since).as_secs_f64().max(0.0)),
        in_flight: view.in_flight,
        retrying: view.retrying,
        parked: view.parked,
        last_error: view.last_error,
    });
    Ok(Json(consumers.collect()))
}

/// There is such a consumer.
async fn known(kernel: &Api, name: &str) -> Result<(), ApiError> {
    let found = kernel.store.consumer(&heldar_base::Scope::All, name).await.map_err(errors::store)?;
    found.map(|_| ()).ok_or_else(|| ApiError::not_found("consumer"))
}

async fn dead_letters(
    State(kernel): State<Api>,
    Requester { caller, .. }: Requester,
    Path(name): Path<String>,
    Query(query): Query<Letter>,
    list: List,
) -> Result<Page<DeadLetterView>, ApiError> {
    known(&kernel, &name).await?;
    let (after, limit) = (list.position()?, query.limit.get());
    let page = kernel.store.dead_letters(caller.scope(), &name, Letters::All, after, limit).await;
    let page = page.map_err(errors::store)?;
    Ok(list.page(page.rows.into_iter().map(DeadLetterView::from).collect(), page.next))
}

async fn replay(
    State(kernel): State<Api>,
    Requester { author, .. }: Requester,
    Path(name): Path<String>,
    Json(body): Json<Replay>,
) -> Result<(StatusCode, Json<Queued>), ApiError> {
    known(&kernel, &name).await?;
    let seqs = match &body.ids {
        None => None,
        Some(ids) => {
            let seq = |(index, id): (usize, &String)| {
                let why = "is no dead letter of this consumer";
                DeadLetter::parse(&name, id)
                    .ok_or_else(|| ApiError::validation("ids", format!("ids[{index}] {why}")))
            };
            Some(ids.iter().enumerate().map(seq).collect::<Result<Vec<i64>, ApiError>>()?)
        }
    };
    let target = Target { kind: CONSUMER, id: &name };
    let detail = json!({ "ids": body.ids });
    let audit = author.did(kernel.clock.wall(), "replay_dead_letters", target, detail);
    let attached = Attached { audit: Some(audit), events: Vec::new() };
    let op = ReplayDeadLetters { consumer: name.clone(), seqs };
    let queued = kernel.store.manage(op, attached).await.map_err(errors::store)?.value;
    kernel.replay_dead_letters(&name);
    Ok((StatusCode::ACCEPTED, Json(Queued { queued })))
}

async fn discard(
    State(kernel): State<Api>,
    Requester { author, .. }: Requester,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::not_found("dead letter");
    let seq = DeadLetter::parse(&name, &id).ok_or_else(missing)?;
    let target = Target { kind: CONSUMER, id: &name };
    let audit =
        author.did(kernel.clock.wall(), "discard_dead_letter", target, json!({ "id": id, "seq": seq }));
    let attached = Attached { audit: Some(audit), events: Vec::new() };
    kernel.store.manage(RemoveDeadLetter { consumer: name, seq }, attached).await.map_err(errors::store)?;
    Ok(StatusCode::NO_CONTENT)
}
