//! Every operation of the API's own description, asked by everybody: the rule that is written there decides, and nothing
//! else.

use std::collections::BTreeMap;

use axum::http::Method;
use heldar_base::{CameraId, Capability, Micros, Principal, PublicId, StreamId, StreamKind, WallTime};
use heldar_kernel::perception::TaskChange;
use heldar_kernel::registry::Author;
use heldar_kernel::snapshots::file_name;
use heldar_perception::task::NewTask;
use heldar_store::op::{
    AppendEvents, AppendZoneEvents, CreateRecordSchedule, CreateSnapshotSchedule, CreateZone, InsertClip,
    InsertSnapshot, OnTaken,
};
use heldar_store::{
    CameraQuery, Clip, NewEvent, NewZoneEvent, RecordSchedule, RecordScheduleFields, Severity, Snapshot,
    SnapshotSchedule, SnapshotScheduleFields, Zone, ZoneEvent, ZoneEventId, ZoneFields,
};
use serde_json::{Value, json};

use crate::house::{House, bytes_without_id, reason, text};
use crate::principals::{Kind, Who, everybody};
use crate::support::Answer;

/// An operation and its rule, as the description has them.
#[derive(Debug)]
struct Operation {
    method: Method,
    path: String,
    need: String,
    scope: String,
    has_body: bool,
}

/// Whose things a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Own,
    Other,
    Missing,
}

/// What the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Refused(u16, &'static str),
    LetIn,
}

const GHOST: &str = "ghost";

async fn operations(house: &House) -> Vec<Operation> {
    let api = house.see("/api/v1/openapi.json").await;
    let mut list = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let rule = &operation["x-heldar-access"];
            list.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                need: text(&rule["need"]),
                scope: text(&rule["scope"]),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    // Whoever signs out or ends its sessions does so when everything else was asked.
    list.sort_by_key(|op| (op.path.ends_with("/auth/logout"), op.path.clone()));
    assert!(list.len() > 75, "{}", list.len());
    list
}

/// Things of each camera, made anew where a request takes them away.
struct Things<'a> {
    house: &'a House,
    base: WallTime,
    clips: BTreeMap<&'static str, (String, String)>,
    sessions: BTreeMap<&'static str, String>,
    files: BTreeMap<&'static str, String>,
    tasks: BTreeMap<&'static str, String>,
    schedules: BTreeMap<&'static str, String>,
    record_schedules: BTreeMap<&'static str, String>,
    snapshots: BTreeMap<&'static str, (String, String)>,
    zones: BTreeMap<&'static str, String>,
    zone_events: BTreeMap<&'static str, ZoneEventId>,
    events: BTreeMap<&'static str, String>,
    number: std::cell::Cell<u128>,
}

impl<'a> Things<'a> {
    async fn new(house: &'a House, base: WallTime) -> Self {
        let (clips, sessions, number) = (BTreeMap::new(), BTreeMap::new(), std::cell::Cell::new(1));
        let (files, tasks) = (BTreeMap::new(), BTreeMap::new());
        let (schedules, record_schedules, snapshots) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (zones, zone_events, events) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut things = Things {
            house,
            base,
            clips,
            sessions,
            files,
            tasks,
            schedules,
            record_schedules,
            snapshots,
            zones,
            zone_events,
            events,
            number,
        };
        for camera in ["gate", "yard"] {
            let clip = things.clip(camera).await;
            things.clips.insert(camera, clip);
            let session = things.session(camera);
            things.sessions.insert(camera, session);
            let task = things.task(camera).await;
            things.tasks.insert(camera, task);
            let schedule = things.schedule(camera).await;
            things.schedules.insert(camera, schedule);
            let schedule = things.record_schedule(camera).await;
            things.record_schedules.insert(camera, schedule);
            let snapshot = things.snapshot(camera).await;
            things.snapshots.insert(camera, snapshot);
            let zone = things.zone(camera).await;
            things.zone_events.insert(camera, things.zone_event(camera, zone).await);
            things.zones.insert(camera, zone.to_string());
            let event = things.event(camera).await;
            things.events.insert(camera, event);
            let segments = house.see(&format!("/api/v1/cameras/{camera}/segments")).await;
            let path = text(&segments[0]["path"]);
            things.files.insert(camera, path.rsplit('/').next().unwrap().to_owned());
        }
        things
    }

    /// An AI task of a type of its own.
    async fn task(&self, camera: &'static str) -> String {
        self.number.set(self.number.get() + 1);
        let author = Author::new(&Principal::system());
        let task_type = format!("type{}", self.number.get());
        let body = NewTask { task_type, ..NewTask::default() };
        let camera = CameraId::new(camera).unwrap();
        match self.house.kernel.create_task(&author, &camera, body).await.unwrap() {
            TaskChange::Made(task) | TaskChange::WasThere(task) => task.task.id.to_string(),
        }
    }

    async fn schedule(&self, camera: &'static str) -> String {
        self.number.set(self.number.get() + 1);
        let id = PublicId::new(SnapshotSchedule::PREFIX, self.number.get());
        let fields = SnapshotScheduleFields { interval_seconds: 86_400, enabled: false };
        let (camera, now) = (CameraId::new(camera).unwrap(), self.house.now());
        self.house.kernel.store.write(CreateSnapshotSchedule { id, camera, fields, now }).await.unwrap();
        id.to_string()
    }

    async fn record_schedule(&self, camera: &'static str) -> String {
        self.number.set(self.number.get() + 1);
        let id = PublicId::new(RecordSchedule::PREFIX, self.number.get());
        let fields = RecordScheduleFields { days: vec![0], start_minute: 0, end_minute: 1, enabled: false };
        let (camera, now) = (CameraId::new(camera).unwrap(), self.house.now());
        self.house.kernel.store.write(CreateRecordSchedule { id, camera, fields, now }).await.unwrap();
        id.to_string()
    }

    /// A scheduled snapshot of one byte: its id and the name of its file.
    async fn snapshot(&self, camera: &'static str) -> (String, String) {
        self.number.set(self.number.get() + 1);
        let number = self.number.get();
        let taken_at = self.base + Micros::from_millis(i64::try_from(number).unwrap());
        let snapshot = Snapshot {
            id: PublicId::new(Snapshot::PREFIX, number),
            camera: CameraId::new(camera).unwrap(),
            schedule: None,
            taken_at,
            size_bytes: 1,
            created_at: taken_at,
        };
        let (id, name) = (snapshot.id.to_string(), file_name(taken_at));
        let folder = self.house.kernel.settings.storage.snapshots_dir.join(camera);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(&name), b"x").unwrap();
        self.house.kernel.store.write(InsertSnapshot { snapshot }).await.unwrap();
        (id, name)
    }

    /// A line.
    async fn zone(&self, camera: &'static str) -> PublicId {
        self.number.set(self.number.get() + 1);
        let id = PublicId::new(Zone::PREFIX, self.number.get());
        let fields = ZoneFields {
            name: id.to_string(),
            kind: "line".to_owned(),
            polygon: "[[0.1,0.1],[0.9,0.9]]".to_owned(),
            dwell_seconds: 0.0,
            labels: "[]".to_owned(),
            severity: Severity::Info,
            config: "{}".to_owned(),
            enabled: true,
        };
        let (camera, now) = (CameraId::new(camera).unwrap(), self.house.now());
        let create = CreateZone { id, camera, fields, on_taken: OnTaken::Refuse, now };
        self.house.kernel.store.write(create).await.unwrap();
        id
    }

    /// A zone event with a picture of one byte.
    async fn zone_event(&self, camera: &'static str, zone: PublicId) -> ZoneEventId {
        self.number.set(self.number.get() + 1);
        let bits = u64::try_from(self.number.get()).unwrap();
        let id = ZoneEventId { timestamp: self.base, bits };
        let zone_event = ZoneEvent {
            id,
            camera: CameraId::new(camera).unwrap(),
            zone,
            zone_name: "line".to_owned(),
            event_type: "cross_ab".to_owned(),
            task_type: None,
            track_id: None,
            label: None,
            dwell: None,
            confidence: None,
            anchor: None,
            bbox: None,
            direction_deg: None,
            speed: None,
            reason: None,
            source: None,
            has_evidence: true,
            created_at: self.base,
        };
        let events = vec![NewZoneEvent { zone_event, event: None }];
        self.house.kernel.store.write(AppendZoneEvents { events }).await.unwrap();
        let folder = &self.house.kernel.settings.storage.snapshots_dir;
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(format!("zoneevt_{}.jpg", id.public())), b"x").unwrap();
        id
    }

    async fn event(&self, camera: &'static str) -> String {
        self.number.set(self.number.get() + 1);
        let event = NewEvent {
            id: format!("00000000-0000-4000-8000-{:012x}", self.number.get()),
            camera: Some(CameraId::new(camera).unwrap()),
            event_type: "asked".to_owned(),
            severity: Severity::Info,
            timestamp: self.base,
            created_at: self.base,
            payload: json!({}),
        };
        let id = event.id.clone();
        self.house.kernel.store.write(AppendEvents { events: vec![event] }).await.unwrap();
        id
    }

    /// A clip of one byte.
    async fn clip(&self, camera: &'static str) -> (String, String) {
        self.number.set(self.number.get() + 1);
        let id = PublicId::new(Clip::PREFIX, self.number.get());
        let clip = Clip {
            id,
            camera: CameraId::new(camera).unwrap(),
            filename: format!("{id}.mp4"),
            download_name: "clip.mp4".to_owned(),
            from: self.base,
            to: self.base + Micros::from_secs(10),
            covered_us: 10_000_000,
            media_us: 10_000_000,
            lead_in_us: 0,
            gaps: Vec::new(),
            size_bytes: 1,
            segment_count: 1,
            sha256: "0".repeat(64),
            codecs: Vec::new(),
            name: None,
            incident_id: None,
            keep: true,
            created_by: None,
            created_at: self.house.now(),
            expires_at: None,
        };
        let filename = clip.filename.clone();
        std::fs::write(self.house.kernel.clips.file(&filename), b"x").unwrap();
        self.house.kernel.store.write(InsertClip { clip }).await.unwrap();
        (id.to_string(), filename)
    }

    fn session(&self, camera: &'static str) -> String {
        let stream = StreamId::new(CameraId::new(camera).unwrap(), StreamKind::Main);
        let window = heldar_kernel::playback::Window::new(
            self.base,
            self.base + Micros::from_secs(10),
            Micros::from_hours(1),
        );
        self.house.kernel.sessions.create(stream, window.unwrap(), self.base).id.to_string()
    }

    /// The path of a request about things of a camera.
    async fn aim(&self, op: &Operation, camera: &'static str) -> String {
        let ghost = camera == GHOST;
        let nothing = |prefix: &str| format!("{prefix}_{}", "0".repeat(32));
        let destroys = op.method == Method::DELETE;
        let mut path = op.path.clone();
        let mut put = |name: &str, value: &str| path = path.replace(name, value);
        match op.path.as_str() {
            // The one rule of which a request may take the camera itself away is that of administrators, who are not
            // limited.
            "/api/v1/cameras/{id}" if destroys && !ghost => put("{id}", "spare"),
            p if p.starts_with("/api/v1/cameras/{id}") => put("{id}", camera),
            "/api/v1/clips/{id}" => {
                let (id, _) = match (ghost, destroys) {
                    (true, _) => (nothing("clip"), String::new()),
                    (false, true) => self.clip(camera).await,
                    (false, false) => self.clips[camera].clone(),
                };
                put("{id}", &id);
            }
            "/media/clips/{file}" if ghost => put("{file}", &format!("{}.mp4", nothing("clip"))),
            "/media/clips/{file}" => put("{file}", &self.clips[camera].1),
            "/api/v1/ai-tasks/{task_id}" => {
                let id = match (ghost, destroys) {
                    (true, _) => nothing("ai"),
                    (false, true) => self.task(camera).await,
                    (false, false) => self.tasks[camera].clone(),
                };
                put("{task_id}", &id);
            }
            "/api/v1/snapshot-schedules/{schedule_id}" => {
                let id = match (ghost, destroys) {
                    (true, _) => nothing("snsch"),
                    (false, true) => self.schedule(camera).await,
                    (false, false) => self.schedules[camera].clone(),
                };
                put("{schedule_id}", &id);
            }
            "/api/v1/schedules/{schedule_id}" => {
                let id = match (ghost, destroys) {
                    (true, _) => nothing("recsch"),
                    (false, true) => self.record_schedule(camera).await,
                    (false, false) => self.record_schedules[camera].clone(),
                };
                put("{schedule_id}", &id);
            }
            p if p.starts_with("/api/v1/zones/{zone_id}") => {
                let id = match (ghost, destroys) {
                    (true, _) => nothing("zone"),
                    (false, true) => self.zone(camera).await.to_string(),
                    (false, false) => self.zones[camera].clone(),
                };
                put("{zone_id}", &id);
            }
            "/api/v1/zone-events/{zev_id}/evidence" | "/media/snapshots/{file}" => {
                let id = match ghost {
                    true => nothing("zev"),
                    false => self.zone_events[camera].public().to_string(),
                };
                put("{zev_id}", &id);
                path = path.replace("{file}", &format!("zoneevt_{id}.jpg"));
            }
            "/api/v1/snapshots/{id}" => {
                let id = if ghost { nothing("snap") } else { self.snapshot(camera).await.0 };
                put("{id}", &id);
            }
            "/media/snapshots/{camera}/{file}" => {
                put("{camera}", camera);
                let (_, file) = self.snapshots.get(camera).unwrap_or(&self.snapshots["gate"]);
                path = path.replace("{file}", file);
            }
            "/api/v1/events/{id}/seen" => {
                let missing = "99999999-0000-4000-8000-000000000000".to_owned();
                put("{id}", self.events.get(camera).unwrap_or(&missing));
            }
            "/api/v1/ai/leases/{lease_id}" => put("{lease_id}", &nothing("lse")),
            p if p.starts_with("/api/v1/ai/consumers/{name}") => {
                put("{name}", "nobody");
                path = path.replace("{id}", &nothing("dlq"));
            }
            "/api/v1/playback/sessions/{session_id}" | "/media/playback/{session}/{file}" => {
                let id = match (ghost, destroys) {
                    (true, _) => nothing("pbs"),
                    (false, true) => self.session(camera),
                    (false, false) => self.sessions[camera].clone(),
                };
                put("{session_id}", &id);
                path = path.replace("{session}", &id).replace("{file}", "index.m3u8");
            }
            "/media/recordings/{camera}/{file}" => {
                put("{camera}", camera);
                path = path.replace("{file}", self.files.get(camera).unwrap_or(&self.files["gate"]));
            }
            "/media/{rest}" => put("{rest}", "archives/x.mp4"),
            p if p.starts_with("/live/") => {
                put("{path}", &format!("cam_{camera}"));
                path = path.replace("{file}", "index.m3u8").replace("{session}", "nothing");
            }
            p if p.starts_with("/api/v1/webhooks/{id}") => put("{id}", &nothing("whs")),
            "/api/v1/live/sessions/{session_id}" => put("{session_id}", &nothing("lvs")),
            p if p.starts_with("/api/v1/users/{id}") => {
                put("{id}", &nothing("usr"));
                path = path.replace("{sid}", &nothing("ses"));
            }
            p if p.starts_with("/api/v1/api-keys/{id}") => put("{id}", &nothing("key")),
            "/api/v1/auth/sessions/{id}" => put("{id}", &nothing("ses")),
            "/api/v1/sites/{id}" if destroys => put("{id}", "nowhere"),
            "/api/v1/sites/{id}" => put("{id}", "south"),
            _ => {}
        }
        assert!(!path.contains('{'), "nothing stands for a parameter of {}", op.path);
        path
    }
}

/// Whether requests of an operation can be about one camera or another.
fn names_a_camera(op: &Operation) -> bool {
    matches!(op.scope.as_str(), "cam" | "res" | "body")
}

/// What only people may do, whatever the rule's capability is.
fn for_people(op: &Operation) -> bool {
    let own = ["/api/v1/auth/password", "/api/v1/auth/sessions", "/api/v1/auth/sessions/{id}"];
    own.contains(&op.path.as_str()) || op.path == "/api/v1/me/preferences"
}

fn expected(op: &Operation, who: &Who, target: Target) -> Expect {
    let capabilities: Vec<Capability> = op.need.split('|').filter_map(|one| one.parse().ok()).collect();
    if op.need == "public" {
        return Expect::LetIn;
    }
    match who.kind {
        Kind::Nobody => return Expect::Refused(401, "no_credential"),
        Kind::Ended => return Expect::Refused(401, "invalid_credential"),
        Kind::Person | Kind::Machine => {}
    }
    if !capabilities.is_empty() && !capabilities.iter().any(|capability| who.can(*capability)) {
        return Expect::Refused(403, "missing_capability");
    }
    let limited = who.only.is_some();
    match op.scope.as_str() {
        "fleet" if limited => Expect::Refused(403, "fleet_only"),
        "cam" | "res" | "body" if limited && target != Target::Own => Expect::Refused(403, "out_of_scope"),
        _ if op.path == "/media/{rest}" => Expect::Refused(403, ""),
        _ if for_people(op) && who.kind == Kind::Machine => Expect::Refused(403, ""),
        _ => Expect::LetIn,
    }
}

fn body(op: &Operation, camera: &str) -> Value {
    match op.path.as_str() {
        "/api/v1/cameras" => json!({ "id": camera, "name": camera }),
        "/api/v1/cameras/{id}/ai-tasks" => json!({ "task_type": "asked" }),
        "/api/v1/cameras/{id}/zones" => {
            json!({ "name": "asked", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]] })
        }
        "/api/v1/cameras/{id}/schedules" => {
            json!({ "days": [0], "time_start": "08:00", "time_end": "17:00" })
        }
        "/api/v1/zones/replay" => {
            json!({ "camera_id": camera, "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z" })
        }
        "/api/v1/webhooks" => json!({ "name": "asked", "url": "http://127.0.0.1:9/", "enabled": false }),
        "/api/v1/ai/leases" => json!({ "worker_id": "w" }),
        "/api/v1/ai/events" => json!({ "camera_id": camera, "task_type": "asked" }),
        "/api/v1/events" => json!({ "camera_id": camera, "event_type": "asked" }),
        // Strangers, whose failures are not counted.
        "/api/v1/auth/login" => json!({ "username": "stranger", "password": "guess" }),
        "/api/v1/auth/setup" => json!({ "setup_token": "x", "username": "x", "password": "12345678" }),
        "/api/v1/auth/password" => json!({ "current_password": "wrong", "new_password": "12345678" }),
        _ => json!({}),
    }
}

async fn ask(things: &Things<'_>, op: &Operation, who: &Who, camera: &'static str) -> Answer {
    let path = things.aim(op, camera).await;
    let mut call = who.shows(things.house.call(op.method.clone(), &path));
    if op.path.starts_with("/live/whep") && op.has_body {
        let sdp =
            if op.method == Method::POST { "application/sdp" } else { "application/trickle-ice-sdpfrag" };
        call = call.text(sdp, "v=0\r\n");
    } else if op.has_body {
        call = call.json(&body(op, camera));
    }
    call.send().await
}

#[track_caller]
fn check(op: &Operation, who: &Who, target: Target, answer: &Answer) {
    let what = format!("{} {} asked by {} about {target:?}", op.method, op.path, who.name);
    let found = (answer.status, reason(answer));
    match expected(op, who, target) {
        Expect::Refused(status, why) => {
            assert_eq!(found, (status, why.to_owned()), "{what}: {}", answer.json());
            let body = answer.json();
            let code = if status == 401 { "unauthenticated" } else { "forbidden" };
            assert_eq!(body["code"], code, "{what}");
            let sentence = text(&body["error"]);
            assert!(!sentence.contains("yard") && !sentence.contains(GHOST), "{what}: {sentence}");
            if why == "missing_capability" {
                let full = op.need.split('|').next().unwrap_or_default();
                assert!(sentence.contains("missing capability") && sentence.contains(full), "{sentence}");
            }
            assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{what}");
        }
        Expect::LetIn => {
            let ours = matches!(answer.status, 401 | 403);
            // A sign-in and a set-up are refused for what they say themselves.
            let signs_in = op.path.ends_with("/auth/login") && found == (401, "sign_in_failed".to_owned());
            assert!(!ours || signs_in, "{what}: {} {}", answer.status, answer.json());
            assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.json());
        }
    }
    assert!(answer.header("x-request-id").is_some(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_what_the_rule_of_an_operation_says() {
    let house = House::start_with(&[("HELDAR_WEBRTC_UDP_PORT", "0")]).await;
    let base = house.furnish().await;
    let all = everybody(&house).await;
    let things = Things::new(&house, base).await;
    let operations = operations(&house).await;
    let mut asked = 0;
    for who in &all {
        for op in &operations {
            let own = who.only.unwrap_or("gate");
            let other = if own == "gate" { "yard" } else { "gate" };
            let answer = ask(&things, op, who, own).await;
            check(op, who, Target::Own, &answer);
            asked += 1;
            if !names_a_camera(op) || (op.scope == "body" && who.only.is_none()) {
                continue;
            }
            let foreign = ask(&things, op, who, other).await;
            check(op, who, Target::Other, &foreign);
            let missing = ask(&things, op, who, GHOST).await;
            check(op, who, Target::Missing, &missing);
            if who.only.is_some() || matches!(who.kind, Kind::Nobody | Kind::Ended) {
                let (foreign, missing) = (bytes_without_id(&foreign), bytes_without_id(&missing));
                assert_eq!(foreign, missing, "{} {} asked by {}", op.method, op.path, who.name);
            }
            asked += 2;
        }
    }
    assert!(asked > 3_000, "{asked}");
    // All of that has left everything where it was.
    let cameras =
        house.kernel.store.cameras(&heldar_base::Scope::All, &CameraQuery::default(), None, 10).await;
    let ids: Vec<String> = cameras.unwrap().rows.iter().map(|camera| camera.id.to_string()).collect();
    assert_eq!(ids, ["gate", "yard"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_nobody_owns_are_for_principals_only() {
    let house = House::start().await;
    let (_, viewer) = house.signed_in("viewer", json!({})).await;
    let stale = "vos_stale";
    for path in ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/cameras/gate/nothing", "/api/v1/../v1/x"]
    {
        assert_eq!(house.get(path).outcome().await, (401, "no_credential".to_owned()), "{path}");
        assert_eq!(house.get(path).token(stale).outcome().await, (401, "invalid_credential".to_owned()));
        let answer = house.get(path).token(&viewer).send().await;
        assert_eq!(answer.error(), (404, "not_found".to_owned()), "{path}");
    }
    // A method that a path does not offer tells strangers nothing either.
    let refused = house.delete("/api/v1/cameras").send().await;
    assert_eq!((refused.status, refused.header("allow")), (401, None));
    let refused = house.delete("/api/v1/cameras").token(&viewer).send().await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET,POST,HEAD")));
    // HEAD follows the rule of GET.
    assert_eq!(house.call(Method::HEAD, "/api/v1/cameras").status().await, 401);
    assert_eq!(house.call(Method::HEAD, "/api/v1/cameras").token(&viewer).status().await, 200);
    assert_eq!(house.call(Method::HEAD, "/api/v1/users").token(&viewer).status().await, 403);
}
