//! A server with one app: it counts the people that workers see, by camera and hour.
//!
//! The app is two tables, a consumer that fills them, and a route that reads them. A person is a track with the label
//! `person`. Counting up is safe: what the consumer asks for is committed together with the news that it has the batch.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use heldar_kernel::apps::prelude::*;
use serde::Serialize;
use utoipa::ToSchema;

/// The app's tables: a row for each person, and how often people were seen in each hour.
const MIGRATIONS: &[AppMigration] = &[AppMigration {
    version: 1,
    name: "people",
    sql: AppScript::new(
        "CREATE TABLE people_counter_person (camera_id TEXT NOT NULL, track TEXT NOT NULL, hour_us BIGINT NOT NULL,
             PRIMARY KEY (camera_id, track));
         CREATE TABLE people_counter_hour (camera_id TEXT NOT NULL, hour_us BIGINT NOT NULL, sightings BIGINT NOT NULL,
             PRIMARY KEY (camera_id, hour_us))",
    ),
}];
const PERSON: AppSql = AppSql::new(
    "INSERT INTO people_counter_person (camera_id, track, hour_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
);
const SIGHTING: AppSql = AppSql::new(
    "INSERT INTO people_counter_hour (camera_id, hour_us, sightings) VALUES ($1, $2, 1)
     ON CONFLICT (camera_id, hour_us) DO UPDATE SET sightings = people_counter_hour.sightings + 1",
);
const BY_HOUR: AppSql = AppSql::new(
    "SELECT h.hour_us, h.sightings, (SELECT COUNT(*) FROM people_counter_person p
         WHERE p.camera_id = h.camera_id AND p.hour_us = h.hour_us)
     FROM people_counter_hour h WHERE h.camera_id = $1 ORDER BY h.hour_us DESC LIMIT 168",
);
/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;

/// The app.
struct PeopleCounter;

impl Verticals for PeopleCounter {
    fn init_schema<'a>(&'a self, schema: Schema<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        schema.migrate("people_counter", MIGRATIONS).boxed()
    }

    fn consumers(&self) -> Vec<Arc<dyn DetectionConsumer>> {
        vec![Arc::new(PeopleCounter)]
    }

    fn merge_routes(&self, routes: &mut RouteTable<Api>) {
        let doc = Doc::new("countPeople", "people counter", "People seen by a camera");
        let doc = doc.list::<Hour>(200, "Hours with people, the newest first, a week at most.");
        let path = "/api/v1/cameras/{id}/people";
        routes.add(Method::GET, path, Access::cam(Capability::EventsRead), people, doc);
    }
}

impl DetectionConsumer for PeopleCounter {
    fn name(&self) -> &'static str {
        "people_counter"
    }

    fn consume<'a>(
        &'a self,
        batch: &'a DetectionBatch,
        tx: &'a mut Tx,
    ) -> BoxFuture<'a, Result<(), ConsumeError>> {
        let people = batch.detections.iter().filter(|seen| seen.label.as_deref() == Some("person"));
        for (seen, track) in people.filter_map(|seen| Some((seen, seen.track_id.as_deref()?))) {
            // Tracks of another task are others.
            let track = format!("{}:{track}", batch.task_type);
            let (camera, hour) = (&batch.camera_id, seen.timestamp.0.div_euclid(HOUR) * HOUR);
            tx.run(PERSON.with(vec![camera.into(), track.into(), hour.into()]));
            tx.run(SIGHTING.with(vec![camera.into(), hour.into()]));
        }
        std::future::ready(Ok(())).boxed()
    }
}

/// People of an hour.
#[derive(Serialize, ToSchema)]
struct Hour {
    /// Its begin.
    #[schema(value_type = String, format = DateTime)]
    hour: WallTime,
    /// How many were first seen in it.
    people: i64,
    /// In how many pictures one was seen.
    sightings: i64,
}

async fn people(State(kernel): State<Api>, Camera(id): Camera) -> Result<Json<Vec<Hour>>, ApiError> {
    let rows = kernel.store.app_rows(&BY_HOUR, vec![id.into()]).await.map_err(store_error)?;
    let hour =
        |row: &AppRow| Ok(Hour { hour: WallTime(row.int(0)?), sightings: row.int(1)?, people: row.int(2)? });
    let hours: Result<Vec<Hour>, StoreError> = rows.iter().map(hour).collect();
    Ok(Json(hours.map_err(store_error)?))
}

fn main() -> ExitCode {
    heldar_server::run(PeopleCounter)
}
