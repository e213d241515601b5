//! Every statement on both engines: fixed ones are prepared, composed ones run in each of their shapes.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::OnceLock;

use heldar_base::{
    CameraId, Cause, Interval, Micros, PublicId, Scope, SegmentId, SiteId, StreamId, StreamKind, WallTime,
};
use heldar_testkit::PostgresCluster;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::model::{
    AlertCursor, AuditCursor, AuditFilter, AuditOutcome, ClientCursor, ClipCursor, ClipFilter,
    DetectionCursor, DetectionFilter, DetectionOrder, EventCursor, EventFilter, EventOrder, FillState,
    GapCursor, GapFilter, GapOrder, Severity, Share, TimeRange,
};
use crate::model::{DeliveryCursor, DeliveryStatus};
use crate::model::{ZoneBucketFilter, ZoneEventCursor, ZoneEventFilter, ZoneEventId, ZoneEventOrder};
use crate::read::{self, CameraQuery, ClipKey, Letters, Shape};
use crate::sql::{Arg, CameraFilter, Command, Conn, Query, SqliteConn, SqliteUse, postgres_options};

async fn both_engines() -> Vec<Conn> {
    static CLUSTER: OnceLock<PostgresCluster> = OnceLock::new();
    let folder = tempfile::tempdir().unwrap().keep();
    let sqlite = Conn::Sqlite(SqliteConn::open(&folder.join("t.db"), SqliteUse::Create).unwrap());
    let cluster = CLUSTER.get_or_init(|| PostgresCluster::start().unwrap_or_else(|error| panic!("{error}")));
    let url = cluster.create_database().unwrap();
    let postgres = Conn::postgres(&postgres_options(&url).unwrap()).await.unwrap();
    let mut conns = vec![sqlite, postgres];
    for conn in &mut conns {
        crate::schema::migrate(conn, WallTime(0)).await.unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
    conns
}

#[tokio::test]
async fn fixed_statements_are_prepared_on_both_engines() {
    let lists = [crate::op::STATEMENTS, crate::read::STATEMENTS, crate::writer::STATEMENTS];
    let others = [crate::inspect::STATEMENTS, crate::schema::STATEMENTS, crate::size::STATEMENTS];
    let statements: Vec<_> = lists.into_iter().flatten().copied().chain(others).flatten().collect();
    assert!(statements.len() > 50);
    for mut conn in both_engines().await {
        for (name, text) in &statements {
            let outcome = match &mut conn {
                Conn::Sqlite(_) if name.starts_with("POSTGRES_") => continue,
                Conn::Postgres(_) if name.starts_with("SQLITE_") => continue,
                Conn::Sqlite(conn) => conn.prepare(text),
                Conn::Postgres(conn) => {
                    let sql = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(*text));
                    conn.prepare(sql).await.map(drop).map_err(Into::into)
                }
            };
            outcome.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }
}

/// Each value once absent and once present.
fn maybe<T: Clone>(value: T) -> [Option<T>; 2] {
    [None, Some(value)]
}

fn ranges() -> Vec<TimeRange> {
    let mut ranges = Vec::new();
    for from in maybe(WallTime(10)) {
        for to in maybe(WallTime(20)) {
            ranges.push(TimeRange { from, to });
        }
    }
    ranges
}

fn segment_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let stream = StreamId::new(CameraId::new("a").unwrap(), StreamKind::Main);
    let id = SegmentId { stream_no: 1, start: WallTime(5) };
    let mut queries = Vec::new();
    for after in maybe(WallTime(12)) {
        for range in ranges() {
            for shape in [Shape::Segments, Shape::Spans, Shape::Indexes] {
                queries.push(read::segment::window_query(shape, &stream, range, after, 10));
            }
        }
        queries.push(read::segment::newest_query(&stream, after, 10));
    }
    for after in maybe(id) {
        queries.push(read::segment::marked_query(after, 10));
        queries.push(read::segment::of_stream_query(1, after.map(|id| id.start), 10));
        queries.push(read::segment::indexes_of_stream_query(1, WallTime(5), WallTime(9)));
        for filter in filters {
            queries.push(read::segment::open_query(filter, after, 10));
        }
    }
    for filter in filters {
        queries.push(read::segment::by_id_query(filter, id));
        queries.push(read::segment::index_by_id_query(filter, id));
        queries.push(read::stream::list_query(filter));
        queries.push(read::stream::rates_query(filter, 3));
    }
    queries
}

fn registry_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let site = SiteId::from_str("s").unwrap();
    let camera = CameraId::new("a").unwrap();
    let mut queries = vec![read::site::settings_query()];
    for filter in filters {
        for after in maybe(&site) {
            queries.push(read::site::list_query(filter, after, 10));
        }
        queries.push(read::site::one_query(filter, &site));
        queries.push(read::status::list_query(filter));
        for after in maybe(&camera) {
            for enabled in maybe(true) {
                for (site, include_removed) in [(None, true), (Some(site.clone()), false)] {
                    let which = CameraQuery { site, enabled, include_removed };
                    queries.push(read::camera::list_query(filter, &which, after, 10));
                }
            }
        }
    }
    queries
}

fn history_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let camera = CameraId::new("a").unwrap();
    let mut queries = Vec::new();
    for range in ranges() {
        for after in maybe(WallTime(1)) {
            queries.push(read::gap::wanted_query(&camera, range, after, 10));
        }
        for after in maybe(AlertCursor { timestamp_us: 1, seq: 1 }) {
            queries.push(read::event::alerts_query(&camera, range, after, 10));
        }
    }
    for filter in filters {
        queries.push(read::gap::open_query(filter));
        let window = Interval::new(WallTime(0), WallTime(100));
        queries.push(read::event::counts_query(filter, window, Micros(10)));
        queries.push(read::event::one_query(filter, "x"));
        queries.push(read::event::committed_query(filter, 1, 9, 10));
        queries.push(read::event::types_query(filter, 10));
        for range in ranges() {
            for after in maybe(EventCursor { timestamp_us: 1, seq: 1 }) {
                for event_type in maybe("x".to_owned()) {
                    for severity in maybe(Severity::Info) {
                        for since_seq in maybe(7) {
                            for order in [EventOrder::NewestFirst, EventOrder::OldestFirst] {
                                let event_type = event_type.clone();
                                let which = EventFilter {
                                    camera: None,
                                    event_type,
                                    severity,
                                    range,
                                    since_seq,
                                    order,
                                };
                                queries.push(read::event::list_query(filter, &which, after, 10));
                            }
                        }
                    }
                }
            }
            let cursor = GapCursor { start_us: 1, id: "gap".into() };
            for after in maybe(&cursor) {
                for cause in maybe(Cause::Disk) {
                    for order in [GapOrder::NewestFirst, GapOrder::OldestFirst] {
                        let which = GapFilter { fill_state: cause.map(|_| FillState::Failed), cause, range };
                        queries.push(read::gap::list_query(filter, &which, order, after, 10));
                    }
                }
            }
        }
    }
    queries
}

fn clip_and_audit_queries(filters: &[CameraFilter<'_>], scopes: &[Scope]) -> Vec<Query> {
    let mut queries = vec![read::clip::expired_query(WallTime(1), 5), read::clip::deleting_query(5)];
    let cursor = ClipCursor { created_us: 1, id: "clip".into() };
    for filter in filters {
        queries.push(read::clip::one_query(filter, ClipKey::Id(PublicId::new("clip", 1))));
        queries.push(read::clip::one_query(filter, ClipKey::Filename("a.mp4")));
        for range in ranges() {
            for after in maybe(&cursor) {
                for incident_id in maybe("case".to_owned()) {
                    let which = ClipFilter { camera: None, incident_id, range };
                    queries.push(read::clip::list_query(filter, &which, after, 10));
                }
            }
        }
    }
    let cursor = AuditCursor { created_us: 1, id: "aud".into() };
    for scope in scopes {
        for range in ranges() {
            for after in maybe(&cursor) {
                for text in maybe("x".to_owned()) {
                    let which = AuditFilter {
                        range,
                        actor: text.clone(),
                        action: text.clone(),
                        target_type: text.clone(),
                        target_id: text.clone(),
                        camera_id: text.clone(),
                        outcome: text.as_ref().map(|_| AuditOutcome::Ok),
                        ip: text.clone(),
                        request_id: text,
                    };
                    queries.push(read::audit::list_query(scope, &which, after, 10));
                }
            }
        }
    }
    queries
}

fn account_queries() -> Vec<Query> {
    let mut queries = vec![
        read::account::one_query("usr"),
        read::account::preference_query("system"),
        read::api_key::one_query("key"),
    ];
    let cursor = ClientCursor { account: "usr".into(), client: "source:::1".into() };
    for after in maybe("id") {
        queries.push(read::account::list_query(after, 10));
        queries.push(read::api_key::list_query(after, 10));
        for account in maybe("usr") {
            queries.push(read::sign_in::sessions_query(account, after, 10));
            let after = after.map(|_| &cursor);
            queries.push(read::sign_in::failures_query(account, after, 10));
            queries.push(read::sign_in::known_query(account, after, 10));
        }
    }
    queries
}

fn perception_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let camera = CameraId::new("a").unwrap();
    let task = PublicId::new("ai", 1);
    let mut queries = vec![
        read::ai_task::of_camera_query(&camera),
        read::ai_task::workers_query(),
        read::batch::detections_query(1, 2),
        read::batch::detections_of_lines_query(&[1, 2], 1, 2),
        read::consumer::list_query(None),
        read::consumer::list_query(Some("zones")),
        read::consumer::finished_query("zones", 0, 10),
    ];
    for after in maybe(WallTime(3)) {
        queries.extend(ranges().into_iter().map(|range| read::motion::list_query(&camera, range, after, 10)));
    }
    for filter in filters {
        queries.push(read::ai_task::one_query(filter, task));
        queries.push(read::ai_task::leases_query(filter));
        queries.push(read::batch::one_query(filter, 1));
        queries.push(read::batch::newest_frames_query(filter, 100));
        queries.push(read::detection::cameras_query(filter));
        for text in maybe("x".to_owned()) {
            let task = text.as_ref().map(|_| task);
            queries.push(read::ai_task::list_query(filter, task, 10));
            for lines in [None, Some(&[1, 2][..])] {
                queries.push(read::batch::list_query(filter, lines, 7, text.as_ref().map(|_| 9), 10));
            }
            let which = DetectionFilter { task_type: text, task, ..DetectionFilter::default() };
            queries.push(read::detection::lines_query(filter, &which));
        }
        for which in [Letters::All, Letters::ToReplay] {
            for after in maybe(5) {
                queries.push(read::consumer::letters_query(filter, "zones", which, after, 10));
            }
        }
    }
    queries.extend(detection_queries());
    queries
}

fn snapshot_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let camera = CameraId::new("a").unwrap();
    let (schedule, snapshot) = (PublicId::new("snsch", 1), PublicId::new("snap", 1));
    let mut queries = vec![read::snapshot::schedules_of_query(&camera)];
    for range in ranges() {
        for after in maybe(WallTime(3)) {
            queries.push(read::snapshot::list_query(&camera, range, after, 10));
        }
    }
    for filter in filters {
        queries.push(read::snapshot::schedule_query(filter, schedule));
        queries.push(read::snapshot::one_query(filter, snapshot));
        for after in maybe(schedule) {
            queries.push(read::snapshot::running_query(filter, after, 10));
        }
    }
    queries
}

fn record_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let (camera, schedule) = (CameraId::new("a").unwrap(), PublicId::new("recsch", 1));
    let of_camera = read::record::schedules_of_query(&camera);
    let one = filters.iter().map(|filter| read::record::schedule_query(filter, schedule));
    std::iter::once(of_camera).chain(one).collect()
}

fn zone_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let camera = CameraId::new("a").unwrap();
    let zone = PublicId::new("zone", 1);
    let mut queries = vec![read::zone::of_camera_query(&camera), read::zone::occupancy_query(&camera)];
    for filter in filters {
        queries.push(read::zone::one_query(filter, zone));
        queries.push(read::zone::states_query(filter));
        queries.push(read::zone::counters_query(filter, zone));
        for after in maybe(zone) {
            queries.push(read::zone::list_query(filter, after, 10));
        }
    }
    queries
}

fn webhook_queries() -> Vec<Query> {
    let webhook = PublicId::new("whs", 1);
    let mut queries = vec![
        read::webhook::list_query(),
        read::webhook::delivery_query(PublicId::new("whd", 1)),
        read::webhook::failed_query(webhook, 9, 10),
        read::webhook::replays_query(webhook, 0, 10),
    ];
    for status in maybe(DeliveryStatus::Failed) {
        for after in maybe(DeliveryCursor { created_us: 1, bits: (0, 1) }) {
            queries.push(read::webhook::deliveries_query(webhook, status, after, 10));
        }
    }
    queries
}

fn zone_event_queries(filters: &[CameraFilter<'_>]) -> Vec<Query> {
    let window = Interval::new(WallTime(0), WallTime(100));
    let mut queries = vec![read::zone_event::one_too_many_query(1, window)];
    for zone in maybe(PublicId::new("zone", 1)) {
        let (camera, label) = (CameraId::new("a").unwrap(), zone.map(|_| "x".to_owned()));
        let which = ZoneBucketFilter { camera, window, bucket: Micros(10), zone, label };
        queries.push(read::zone_event::counts_query(1, window, &which));
    }
    for filter in filters {
        let id = ZoneEventId { timestamp: WallTime(1), bits: 1 };
        queries.push(read::zone_event::one_query(filter, id));
        queries.push(read::zone_event::cameras_query(filter));
        for zone in maybe(PublicId::new("zone", 1)) {
            for event_type in maybe("x".to_owned()) {
                let task_type = event_type.clone();
                let which = ZoneEventFilter { zone, event_type, task_type, ..ZoneEventFilter::default() };
                queries.push(read::zone_event::lines_query(filter, &which));
            }
        }
    }
    for arms in read::zone_event::every_arm() {
        for order in [ZoneEventOrder::NewestFirst, ZoneEventOrder::OldestFirst] {
            for after in maybe(ZoneEventCursor { timestamp_us: 1, seq: 1 }) {
                for range in ranges() {
                    for label in maybe("x".to_owned()) {
                        let track_id = Some("7".to_owned());
                        let rest = ZoneEventFilter::default();
                        let which = ZoneEventFilter { range, track_id, label, order, ..rest };
                        queries.push(read::zone_event::list_query(&arms, &which, after, 10));
                    }
                }
            }
        }
    }
    queries
}

fn detection_queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for arms in read::detection::every_arm() {
        for order in [DetectionOrder::NewestFirst, DetectionOrder::OldestFirst] {
            for after in maybe(DetectionCursor { timestamp_us: 1, number: 1 }) {
                for range in ranges() {
                    let by_label = arms == [read::detection::Arm::Label];
                    let labels =
                        if by_label { vec![Some("x".to_owned())] } else { maybe("x".to_owned()).into() };
                    for label in labels {
                        for track_id in maybe("7".to_owned()) {
                            let min_confidence = track_id.as_ref().map(|_| Share::ONE);
                            let label = label.clone();
                            let filter = DetectionFilter::default();
                            let which =
                                DetectionFilter { range, label, track_id, min_confidence, order, ..filter };
                            queries.push(read::detection::list_query(&arms, &which, after, 10));
                        }
                    }
                }
            }
        }
    }
    queries
}

#[tokio::test]
async fn detections_are_never_scanned() {
    let mut conn = sqlite().await;
    let mut in_order = 0;
    for query in detection_queries() {
        let command = query.command();
        let text = command.text.clone();
        let steps = plan(&mut conn, command).await;
        for step in &steps {
            // `k`, `m` and `a` are pages of what was found.
            let scans = ["SCAN d", "SCAN o", "SCAN l", "SCAN w", "SCAN c", "SCAN p"];
            assert!(
                !scans.iter().any(|scan| step == scan || step.starts_with(&format!("{scan} "))),
                "{text}: {step}"
            );
        }
        // A page of one camera without further filters is a walk along one index: nothing is sorted but pages.
        let sorts = steps.iter().filter(|step| step.contains("TEMP B-TREE")).count();
        let plain = text.matches("d.camera_no =").count() == 1
            && !text.contains("d.label =")
            && !text.contains("d.track_id =");
        if plain {
            let by = "SEARCH d USING COVERING INDEX detection_camera";
            let by_lines = "SEARCH d USING INDEX detection_camera";
            assert!(
                steps.iter().any(|step| step.starts_with(by) || step.starts_with(by_lines)),
                "{steps:#?}"
            );
            assert!(sorts <= 2, "{text}: {steps:#?}");
            in_order += 1;
        }
    }
    assert!(in_order > 10, "{in_order}");
}

#[tokio::test]
async fn perception_is_read_in_order() {
    let mut conn = sqlite().await;
    let camera = CameraId::new("a").unwrap();
    let few = ["ai_task", "ai_worker", "watched_camera", "newest"];
    for query in perception_queries(&[CameraFilter::Every, CameraFilter::One(&camera)]) {
        let command = query.command();
        let text = command.text.clone();
        // Few rows, or a page of what was found.
        if few.iter().any(|few| text.contains(&format!("FROM {few}"))) || text.contains("MAX(o.captured_us)")
        {
            continue;
        }
        for step in plan(&mut conn, command).await {
            let whole = step.starts_with("SCAN detection") || step.starts_with("SCAN m ");
            assert!(!whole, "{text}: {step}");
            let sorts =
                step.contains("TEMP B-TREE") && !text.contains("UNION ALL") && !text.contains(") m ORDER");
            assert!(!sorts, "{text}: {step}");
        }
    }
}

#[tokio::test]
async fn writes_of_batches_find_their_rows_by_index() {
    let tables =
        ["outbox", "detection", "task_line", "producer", "consumer_finished", "dead_letter", "motion_span"];
    let is_about = |text: &str| {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| tables.contains(&word))
    };
    let mut conn = sqlite().await;
    let mut seen = 0;
    for (name, text) in crate::op::STATEMENTS.iter().copied().flatten().filter(|(_, text)| is_about(text)) {
        if name.starts_with("POSTGRES_") {
            continue;
        }
        let args = (0..20).map(|_| Arg::Int(None)).collect();
        for step in plan(&mut conn, Command { text: (*text).into(), args }).await {
            // The oldest batches are the first rows; numbers are given out rarely; a read by the primary key in order.
            let first_rows = *name == "OLDEST" && step == "SCAN o";
            assert!(!step.starts_with("SCAN") || first_rows, "{name}: {step}");
            assert!(!step.contains("TEMP B-TREE"), "{name}: {step}");
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

#[tokio::test]
async fn composed_statements_run_on_both_engines() {
    let camera = CameraId::new("a").unwrap();
    let set = |names: &[&str]| -> BTreeSet<CameraId> {
        names.iter().map(|name| CameraId::new(name).unwrap()).collect()
    };
    let (one, three) = (set(&["a"]), set(&["a", "b", "c"]));
    let filters =
        [CameraFilter::Every, CameraFilter::One(&camera), CameraFilter::Set(&one), CameraFilter::Set(&three)];
    let scopes = [Scope::All, Scope::Cameras(one.clone()), Scope::Cameras(three.clone())];
    for mut conn in both_engines().await {
        let queries = segment_queries(&filters)
            .into_iter()
            .chain(registry_queries(&filters))
            .chain(history_queries(&filters))
            .chain(clip_and_audit_queries(&filters, &scopes))
            .chain(account_queries())
            .chain(perception_queries(&filters))
            .chain(snapshot_queries(&filters))
            .chain(webhook_queries())
            .chain(record_queries(&filters))
            .chain(zone_queries(&filters))
            .chain(zone_event_queries(&filters));
        for query in queries {
            let command = query.command();
            let text = command.text.clone();
            let rows = conn.rows(command).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert!(rows.is_empty(), "{text}");
        }
    }
}

async fn sqlite() -> Conn {
    let conns = both_engines().await;
    conns.into_iter().find(|conn| matches!(conn, Conn::Sqlite(_))).unwrap_or_else(|| panic!("no SQLite"))
}

/// The steps of the plan of a statement.
async fn plan(conn: &mut Conn, mut command: Command) -> Vec<String> {
    command.text = format!("EXPLAIN QUERY PLAN {}", command.text).into();
    let rows = conn.rows(command).await.unwrap();
    rows.iter().map(|row| row.columns_from(3).text().unwrap()).collect()
}

#[tokio::test]
async fn segments_are_never_scanned() {
    let mut conn = sqlite().await;
    let camera = CameraId::new("a").unwrap();
    for query in segment_queries(&[CameraFilter::Every, CameraFilter::One(&camera)]) {
        let command = query.command();
        let text = command.text.clone();
        for step in plan(&mut conn, command).await {
            // Its index of what is not sealed is small; whatever else is gone through whole is not.
            let scan = ["SCAN g", "SCAN i", "SCAN h"].iter().any(|scan| step.starts_with(scan));
            assert!(!scan || step.contains("segment_unsealed"), "{text}: {step}");
            // Streams are few; segments are read in order.
            assert!(!text.contains("segment g") || !step.contains("TEMP B-TREE"), "{text}: {step}");
        }
    }
}

#[tokio::test]
async fn snapshots_are_read_in_order_and_removed_by_index() {
    let mut conn = sqlite().await;
    let camera = CameraId::new("a").unwrap();
    let filters = [CameraFilter::Every, CameraFilter::One(&camera)];
    let mut commands: Vec<Command> = snapshot_queries(&filters).into_iter().map(Query::command).collect();
    for (_, text) in crate::op::STATEMENTS.iter().copied().flatten() {
        if text.contains("snapshot") {
            let args = (0..20).map(|_| Arg::Int(None)).collect();
            commands.push(Command { text: (*text).into(), args });
        }
    }
    assert!(commands.len() > 15, "{}", commands.len());
    for command in commands {
        let text = command.text.clone();
        // Schedules are few.
        if text.contains("s.enabled = 1") {
            continue;
        }
        for step in plan(&mut conn, command).await {
            let scan = step.starts_with("SCAN") && !step.contains("USING");
            assert!(!scan && !step.contains("TEMP B-TREE"), "{text}: {step}");
        }
    }
}

#[tokio::test]
async fn zone_events_are_never_scanned() {
    let mut conn = sqlite().await;
    let camera = CameraId::new("a").unwrap();
    let mut in_order = 0;
    for query in zone_event_queries(&[CameraFilter::Every, CameraFilter::One(&camera)]) {
        let command = query.command();
        let text = command.text.clone();
        let steps = plan(&mut conn, command).await;
        for step in &steps {
            // `w` are cameras, few; `g`, `k`, `m` and `a` are what was found.
            let scans = ["SCAN z", "SCAN l", "SCAN o", "SCAN e", "SCAN t", "SCAN n"];
            assert!(
                !scans.iter().any(|scan| step == scan || step.starts_with(&format!("{scan} "))),
                "{text}: {step}"
            );
        }
        let sources = text.matches("FROM zone_event z WHERE").count();
        if text.contains(") m ORDER") && sources == 1 && !text.contains("z.label =") {
            // A page of one source is a walk along its index: nothing is sorted but pages.
            let by = match text.contains("z.track_id =") {
                true => "SEARCH z USING COVERING INDEX zone_event_track (camera_no=? AND track_id=?",
                false => "SEARCH z USING COVERING INDEX zone_event_",
            };
            let by_lines = by.replace("COVERING ", "");
            assert!(
                steps.iter().any(|step| step.starts_with(by) || step.starts_with(&by_lines)),
                "{text}: {steps:#?}"
            );
            let sorts = steps.iter().filter(|step| step.contains("TEMP B-TREE")).count();
            assert!(sorts <= 2, "{text}: {steps:#?}");
            in_order += 1;
        }
    }
    assert!(in_order > 10, "{in_order}");
}

#[tokio::test]
async fn zones_and_their_events_are_written_and_removed_by_index() {
    let mut conn = sqlite().await;
    let camera = CameraId::new("a").unwrap();
    let filters = [CameraFilter::Every, CameraFilter::One(&camera)];
    let mut commands: Vec<Command> = zone_queries(&filters).into_iter().map(Query::command).collect();
    for (_, text) in crate::op::STATEMENTS.iter().copied().flatten() {
        if text.contains("zone") && !text.contains("timezone") {
            let args = (0..25).map(|_| Arg::Int(None)).collect();
            commands.push(Command { text: (*text).into(), args });
        }
    }
    assert!(commands.len() > 25, "{}", commands.len());
    for command in commands {
        let text = command.text.clone();
        // All of them, or the few of a camera by their ids.
        if text.contains("FROM zone_state s WHERE TRUE ORDER") || text.contains("c.removed_us IS NULL)") {
            continue;
        }
        for step in plan(&mut conn, command).await {
            let scan = step.starts_with("SCAN") && !step.contains("USING");
            assert!(!scan && !step.contains("TEMP B-TREE"), "{text}: {step}");
        }
    }
}

#[tokio::test]
async fn webhooks_and_their_deliveries_are_found_by_index() {
    let mut conn = sqlite().await;
    let mut commands: Vec<Command> = webhook_queries().into_iter().map(Query::command).collect();
    commands.push(read::webhook::events_after_query(1, 10).command());
    for (_, text) in
        crate::op::STATEMENTS.iter().copied().flatten().filter(|(_, text)| text.contains("webhook"))
    {
        let args = (0..20).map(|_| Arg::Int(None)).collect();
        commands.push(Command { text: (*text).into(), args });
    }
    assert!(commands.len() > 20, "{}", commands.len());
    for command in commands {
        let text = command.text.clone();
        // All of them, which are few.
        let whole = text.contains("FROM webhook w ORDER");
        for step in plan(&mut conn, command).await {
            let scan = step.starts_with("SCAN") && !step.contains("SCAN newer");
            assert!(whole || !scan && !step.contains("TEMP B-TREE"), "{text}: {step}");
        }
    }
}

#[tokio::test]
async fn accounts_are_read_in_order() {
    let mut conn = sqlite().await;
    for query in account_queries() {
        let command = query.command();
        let text = command.text.clone();
        for step in plan(&mut conn, command).await {
            // A list of everything goes through its rows by key.
            assert!(!step.starts_with("SCAN") || !text.contains("AND"), "{text}: {step}");
            assert!(!step.contains("TEMP B-TREE"), "{text}: {step}");
        }
    }
}

#[tokio::test]
async fn writes_of_accounts_find_their_rows_by_index() {
    let tables = ["account", "api_key", "session", "sign_in_failure", "known_client", "preference"];
    let is_about = |text: &str| {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| tables.contains(&word))
    };
    let mut conn = sqlite().await;
    let mut seen = 0;
    for (name, text) in crate::op::STATEMENTS.iter().copied().flatten().filter(|(_, text)| is_about(text)) {
        let args = (0..20).map(|_| Arg::Int(None)).collect();
        for step in plan(&mut conn, Command { text: (*text).into(), args }).await {
            // The few administrators, and whether there is anybody at all.
            let few = step.contains("account_administrator") || *name == "ACCOUNT_ANY";
            assert!(!step.starts_with("SCAN") || few, "{name}: {step}");
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
