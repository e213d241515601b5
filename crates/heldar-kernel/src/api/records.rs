//! When cameras are recorded that are not recorded always: schedules and the trigger (media.md 14).

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, Clock as _, Micros, PublicId, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Json, Path, RouteTable};
use heldar_store::{ErrorKind, RecordScheduleFields};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::requester::Requester;
use super::{Api, errors};
use crate::kernel::Kernel;
use crate::registry::{self, RegistryError, Target, time_of_day};

/// Group of these operations in the description.
const TAG: &str = "recording";

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let of_camera = "/api/v1/cameras/{id}/schedules";
    let one = "/api/v1/schedules/{schedule_id}";
    let manage = Capability::RegistryManage;
    table
        .add(
            Method::GET,
            of_camera,
            Access::cam(Capability::CameraRead),
            list,
            Doc::new("listRecordSchedules", TAG, "Record schedules of a camera, enabled or not")
                .list::<RecordSchedule>(200, "The oldest first.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::POST,
            of_camera,
            Access::cam(manage),
            create,
            Doc::new("createRecordSchedule", TAG, "Record a camera in a window of the week")
                .details("For cameras whose mode is `scheduled` or `scheduled_event`. Takes effect at once.")
                .body::<NewRecordSchedule>()
                .json::<RecordSchedule>(201, "The schedule.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::PATCH,
            one,
            Access::res(manage),
            change,
            Doc::new("changeRecordSchedule", TAG, "Change a record schedule")
                .details("What says nothing new writes nothing. Takes effect at once.")
                .body::<RecordScheduleChange>()
                .json::<RecordSchedule>(200, "The schedule.")
                .fails(&[Code::NotFound, Code::Conflict]),
        )
        .add(
            Method::DELETE,
            one,
            Access::res(manage),
            delete,
            Doc::new("deleteRecordSchedule", TAG, "Delete a record schedule")
                .details("Takes effect at once.")
                .empty(204, "Deleted.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::POST,
            "/api/v1/cameras/{id}/record-trigger",
            Access::cam(manage),
            trigger,
            Doc::new("triggerRecording", TAG, "Record a camera that records by events")
                .details(
                    "Begins a recording with its pre-roll, or extends the one that runs. For cameras whose mode is \
                     `event` or `scheduled_event`.",
                )
                .json::<TriggerResult>(200, "What is recorded.")
                .fails(&[Code::NotFound, Code::NotArmed]),
        );
}

/// A window of the week, in the time zone of the camera's site.
#[derive(Deserialize, ToSchema)]
struct NewRecordSchedule {
    /// Days on which it begins, 1 to 64 of them: 0 is Monday, 6 Sunday.
    days: Vec<i64>,
    /// When it begins, `H:M`.
    time_start: String,
    /// When it ends, `H:M`, not that of the start. An earlier time is on the day after.
    time_end: String,
    /// Whether it counts; true by default.
    #[serde(default)]
    enabled: Option<bool>,
}

/// What is to be otherwise. What is absent or null stays.
#[derive(Deserialize, ToSchema)]
struct RecordScheduleChange {
    /// Days on which it begins, 1 to 64 of them: 0 is Monday, 6 Sunday.
    #[serde(default)]
    days: Option<Vec<i64>>,
    /// When it begins, `H:M`.
    #[serde(default)]
    time_start: Option<String>,
    /// When it ends, `H:M`, not that of the start. An earlier time is on the day after.
    #[serde(default)]
    time_end: Option<String>,
    /// Whether it counts.
    #[serde(default)]
    enabled: Option<bool>,
}

impl RecordScheduleChange {
    fn over(self, before: RecordScheduleFields) -> Result<RecordScheduleFields, ApiError> {
        let minute = |field, text: Option<String>, before: u32| match text {
            Some(text) => minute_of(field, &text),
            None => Ok(before),
        };
        let fields = RecordScheduleFields {
            days: self.days.map_or(Ok(before.days), days)?,
            start_minute: minute("time_start", self.time_start, before.start_minute)?,
            end_minute: minute("time_end", self.time_end, before.end_minute)?,
            enabled: self.enabled.unwrap_or(before.enabled),
        };
        if fields.start_minute == fields.end_minute {
            return Err(ApiError::validation("time_end", "time_end: a window does not end when it begins"));
        }
        Ok(fields)
    }
}

fn days(days: Vec<i64>) -> Result<Vec<u8>, ApiError> {
    let wrong = || ApiError::validation("days", "days: a list of 1 to 64 days, 0 (Monday) to 6 (Sunday)");
    if !(1..=heldar_store::RecordSchedule::DAYS).contains(&days.len()) {
        return Err(wrong());
    }
    let day = |day: i64| u8::try_from(day).ok().filter(|day| *day <= 6).ok_or_else(wrong);
    days.into_iter().map(day).collect()
}

fn minute_of(field: &'static str, text: &str) -> Result<u32, ApiError> {
    let number = |text: &str, below: u32| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| is_number && *number < below)
    };
    let parsed =
        text.split_once(':').and_then(|(hour, minute)| Some((number(hour, 24)?, number(minute, 60)?)));
    let (hour, minute) = parsed.ok_or_else(|| {
        ApiError::validation(field, format!("{field}: a time of day H:M, from 00:00 to 23:59"))
    })?;
    Ok(hour * 60 + minute)
}

/// A window of the week in which a camera is recorded.
#[derive(Serialize, ToSchema)]
struct RecordSchedule {
    /// `recsch_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// Of which camera.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Days on which it begins: 0 is Monday, 6 Sunday.
    days: Vec<u8>,
    /// When it begins, `HH:MM`.
    time_start: String,
    /// When it ends, `HH:MM`; if that is earlier, on the day after.
    time_end: String,
    /// Whether it counts.
    enabled: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
}

impl From<heldar_store::RecordSchedule> for RecordSchedule {
    fn from(row: heldar_store::RecordSchedule) -> Self {
        RecordSchedule {
            id: row.id,
            camera_id: row.camera,
            time_start: time_of_day(row.fields.start_minute),
            time_end: time_of_day(row.fields.end_minute),
            days: row.fields.days,
            enabled: row.fields.enabled,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A recording that something started.
#[derive(Serialize, ToSchema)]
struct TriggerResult {
    /// Of which camera.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Always true.
    triggered: bool,
    /// Pictures from here on are not part of it, unless something happens again.
    #[schema(value_type = String, format = DateTime)]
    window_end: WallTime,
    /// Footage before, as it is set.
    pre_roll_seconds: u32,
    /// Footage after, as it is set.
    post_roll_seconds: u32,
    /// First instant of what is recorded.
    #[schema(value_type = String, format = DateTime)]
    recorded_from: WallTime,
    /// Footage before, as far as there was any.
    #[schema(value_type = f64)]
    pre_roll_available_seconds: f64,
}

async fn known(kernel: &Kernel, caller: &Caller, id: &CameraId) -> Result<heldar_store::Camera, ApiError> {
    let camera = kernel.store.camera(caller.scope(), id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))
}

fn refused(error: RegistryError) -> ApiError {
    match error {
        RegistryError::Store(error) => errors::store(error),
        RegistryError::NotFound(what) => ApiError::not_found(what),
        RegistryError::Changed => ApiError::of(Code::Conflict),
        error => ApiError::internal(error),
    }
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
) -> Result<Json<Vec<RecordSchedule>>, ApiError> {
    known(&kernel, &caller, &id).await?;
    let rows = kernel.store.record_schedules(caller.scope(), &id).await.map_err(errors::store)?;
    Ok(Json(rows.into_iter().map(RecordSchedule::from).collect()))
}

async fn create(
    State(kernel): State<Api>,
    who: Requester,
    Camera(id): Camera,
    Json(body): Json<NewRecordSchedule>,
) -> Result<(StatusCode, Json<RecordSchedule>), ApiError> {
    let camera = known(&kernel, &who.caller, &id).await?;
    if camera.removed_at.is_some() {
        return Err(ApiError::not_found("camera"));
    }
    let given = RecordScheduleChange {
        days: Some(body.days),
        time_start: Some(body.time_start),
        time_end: Some(body.time_end),
        enabled: body.enabled,
    };
    let base = RecordScheduleFields { days: Vec::new(), start_minute: 0, end_minute: 0, enabled: true };
    let fields = given.over(base)?;
    let made = registry::create_schedule(&kernel, who.author, id, fields).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

async fn find(kernel: &Kernel, caller: &Caller, id: &str) -> Result<heldar_store::RecordSchedule, ApiError> {
    let missing = || caller.missing("record schedule");
    let id = PublicId::parse(heldar_store::RecordSchedule::PREFIX, id).map_err(|_| missing())?;
    let row = kernel.store.record_schedule(caller.scope(), id).await.map_err(errors::store)?;
    row.ok_or_else(missing)
}

async fn change(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
    Json(body): Json<RecordScheduleChange>,
) -> Result<Json<RecordSchedule>, ApiError> {
    let before = find(&kernel, &who.caller, &id).await?;
    let fields = body.over(before.fields.clone())?;
    let changed = registry::change_schedule(&kernel, who.author, before, fields).await.map_err(refused)?;
    Ok(Json(changed.into()))
}

async fn delete(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let before = find(&kernel, &who.caller, &id).await?;
    registry::delete_schedule(&kernel, who.author, before).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn trigger(
    State(kernel): State<Api>,
    who: Requester,
    Camera(id): Camera,
) -> Result<Json<TriggerResult>, ApiError> {
    let camera = known(&kernel, &who.caller, &id).await?;
    if camera.removed_at.is_some() {
        return Err(ApiError::not_found("camera"));
    }
    let target = Target { kind: "camera", id: id.as_str() };
    let audit = who.author.did(kernel.clock.wall(), "record_trigger", target, json!({}));
    let op = kernel.ordered_trigger(&id, audit).ok_or_else(|| ApiError::of(Code::NotArmed))?;
    // To its end: what is stored is recorded, whoever waits for the answer.
    let done = tokio::spawn(async move {
        let triggered = kernel.store.write(op).await?;
        if let Some(triggered) = &triggered {
            kernel.triggered(triggered);
        }
        Ok(triggered)
    });
    let triggered = match done.await.map_err(ApiError::internal)? {
        Ok(triggered) => triggered,
        Err(error) if heldar_store::StoreError::kind(&error) == ErrorKind::Conflict => None,
        Err(error) => return Err(errors::store(error)),
    };
    let triggered = triggered.ok_or_else(|| ApiError::of(Code::NotArmed))?;
    let window = triggered.window;
    let wish = Micros::from_secs(i64::from(triggered.pre_roll_seconds));
    let available = (window.opened_at - window.recorded_from).min(wish);
    Ok(Json(TriggerResult {
        camera_id: id,
        triggered: true,
        window_end: window.end,
        pre_roll_seconds: triggered.pre_roll_seconds,
        post_roll_seconds: triggered.post_roll_seconds,
        recorded_from: window.recorded_from,
        pre_roll_available_seconds: available.as_secs_f64(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_hours_and_minutes() {
        for (text, expect) in [
            ("00:00", Some(0)),
            ("8:5", Some(485)),
            ("23:59", Some(1439)),
            ("24:00", None),
            ("12:60", None),
            ("12", None),
            ("012:00", None),
            ("-1:00", None),
            ("+1:00", None),
            ("12:00:00", None),
            ("", None),
        ] {
            assert_eq!(minute_of("time_start", text).ok(), expect, "{text}");
        }
    }
}
