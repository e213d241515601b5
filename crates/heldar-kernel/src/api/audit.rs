//! The audit trail (auth-system.md 16).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use heldar_base::{Capability, Clock as _, Scope, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Limit, List, Page, Query, RouteTable};
use heldar_store::op::AppendAudit;
use heldar_store::{AuditCursor, AuditEntry, AuditFilter, AuditOutcome, StoreError, TimeRange};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::requester::Requester;
use super::{Api, errors, words};
use crate::kernel::Kernel;
use crate::registry::Target;

/// Rows that an export reads at a time.
const EXPORT_PAGE: u32 = 1000;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let manage = Capability::RegistryManage;
    table.add(
        Method::GET,
        "/api/v1/audit",
        Access::filter(manage),
        list,
        Doc::new("listAudit", "audit", "List the audit trail")
            .details("A caller that is limited to cameras sees the rows about these cameras alone.")
            .query::<Which>()
            .query::<Paging>()
            .page::<AuditRow>("Newest first.")
            .fails(&[Code::BadCursor]),
    );
    table.add(
        Method::GET,
        "/api/v1/audit/export",
        Access::filter(manage),
        export,
        Doc::new("exportAudit", "audit", "Export the audit trail")
            .details("Newest first, as JSON lines or as CSV. The export is audited itself.")
            .query::<Which>()
            .query::<Form>()
            .content(200, "application/x-ndjson", "One row a line.")
            .content(200, "text/csv", "One row a line."),
    );
}

/// Who did what.
#[derive(Debug, Serialize, ToSchema)]
struct AuditRow {
    /// Id.
    id: String,
    /// Id of who did it.
    actor: String,
    /// Its name at that time.
    actor_name: Option<String>,
    /// Its role at that time.
    role: Option<String>,
    /// What was done.
    action: String,
    /// Kind of what it was done to.
    target_type: Option<String>,
    /// Id of what it was done to.
    target_id: Option<String>,
    /// Details of the action.
    detail: Value,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// The one camera that the row is about.
    subject_camera_id: Option<String>,
    /// How it ended.
    #[schema(value_type = words::AuditOutcome)]
    outcome: AuditOutcome,
    /// Address of the client.
    ip: Option<String>,
    /// Program of the client.
    user_agent: Option<String>,
    /// Id of the request.
    request_id: Option<String>,
    /// The credential that it came with.
    credential_id: Option<String>,
    /// The changed fields before, secrets masked.
    before: Option<Value>,
    /// The changed fields after, secrets masked.
    after: Option<Value>,
}

impl From<AuditEntry> for AuditRow {
    fn from(e: AuditEntry) -> Self {
        AuditRow {
            subject_camera_id: e.subject_camera().map(str::to_owned),
            id: e.id,
            actor: e.actor,
            actor_name: e.actor_name,
            role: e.role,
            action: e.action,
            target_type: e.target_type,
            target_id: e.target_id,
            detail: e.detail,
            created_at: e.created_at,
            outcome: e.outcome,
            ip: e.ip,
            user_agent: e.user_agent,
            request_id: e.request_id,
            credential_id: e.credential_id,
            before: e.before,
            after: e.after,
        }
    }
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// Written at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Written before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// By this principal.
    actor: Option<String>,
    /// Of exactly this action.
    action: Option<String>,
    /// About this kind of target.
    target_type: Option<String>,
    /// About this target.
    target_id: Option<String>,
    /// About this one camera.
    camera_id: Option<String>,
    /// That ended so.
    #[param(inline, value_type = words::AuditOutcome, required = false)]
    outcome: Option<AuditOutcome>,
    /// From this address.
    ip: Option<String>,
    /// Of this request.
    request_id: Option<String>,
}

impl From<Which> for AuditFilter {
    fn from(which: Which) -> Self {
        AuditFilter {
            range: TimeRange { from: which.from, to: which.to },
            actor: which.actor,
            action: which.action,
            target_type: which.target_type,
            target_id: which.target_id,
            camera_id: which.camera_id,
            outcome: which.outcome,
            ip: which.ip,
            request_id: which.request_id,
        }
    }
}

/// How much of the list.
#[derive(Debug, Deserialize, IntoParams)]
struct Paging {
    /// Longest page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<200, 1, 5000>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Query(which): Query<Which>,
    Query(paging): Query<Paging>,
    list: List,
) -> Result<Page<AuditRow>, ApiError> {
    let after: Option<AuditCursor> = list.position()?;
    let page = kernel.store.audit(caller.scope(), &which.into(), after.as_ref(), paging.limit.get()).await;
    let page = page.map_err(errors::store)?;
    Ok(list.page(page.rows.into_iter().map(AuditRow::from).collect(), page.next))
}

/// Form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// RFC 4180; texts that a spreadsheet would take for formulas are made plain.
    Csv,
}

/// Form of the export.
#[derive(Debug, Deserialize, IntoParams)]
struct Form {
    /// Form.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

async fn export(
    State(kernel): State<Api>,
    caller: Caller,
    Requester { author, .. }: Requester,
    Query(which): Query<Which>,
    Query(form): Query<Form>,
) -> Result<Response, ApiError> {
    let format = form.format;
    let filter = AuditFilter::from(which);
    // Before the row about the export, so that an export of nothing is empty.
    let scope = caller.scope().clone();
    let first = kernel.store.audit(&scope, &filter, None, EXPORT_PAGE).await.map_err(errors::store)?;
    let target = Target { kind: "audit", id: "*" };
    let entry = author.did(kernel.clock.wall(), "export_audit", target, detail(format, &filter));
    kernel.store.write(AppendAudit { entry }).await.map_err(errors::store)?;
    let (content_type, disposition, head) = match format {
        Format::Jsonl => ("application/x-ndjson", "attachment; filename=\"audit.jsonl\"", String::new()),
        Format::Csv => (
            "text/csv; charset=utf-8",
            "attachment; filename=\"audit.csv\"",
            csv_line(&COLUMNS.map(str::to_owned)),
        ),
    };
    let begun = head + &text(format, first.rows);
    let rest = Rest { kernel, scope, filter, format, after: first.next };
    let rest = stream::try_unfold(rest, Rest::next);
    let body = stream::once(async move { Ok::<_, StoreError>(begun) }).chain(rest);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// What the audit row of an export says: its form and its filters.
fn detail(format: Format, filter: &AuditFilter) -> Value {
    json!({
        "format": format,
        "from": filter.range.from,
        "to": filter.range.to,
        "actor": filter.actor,
        "action": filter.action,
        "target_type": filter.target_type,
        "target_id": filter.target_id,
        "camera_id": filter.camera_id,
        "outcome": filter.outcome,
        "ip": filter.ip,
        "request_id": filter.request_id,
    })
}

/// What is left of an export.
struct Rest {
    kernel: Arc<Kernel>,
    scope: Scope,
    filter: AuditFilter,
    format: Format,
    after: Option<AuditCursor>,
}

impl Rest {
    async fn next(mut self) -> Result<Option<(String, Rest)>, StoreError> {
        let Some(after) = self.after.take() else { return Ok(None) };
        let page = self.kernel.store.audit(&self.scope, &self.filter, Some(&after), EXPORT_PAGE).await?;
        self.after = page.next;
        Ok(Some((text(self.format, page.rows), self)))
    }
}

fn text(format: Format, rows: Vec<AuditEntry>) -> String {
    let lines = rows.into_iter().map(AuditRow::from).map(|row| match format {
        Format::Jsonl => json!(row).to_string() + "\n",
        Format::Csv => csv_line(&cells(row)),
    });
    lines.collect()
}

const COLUMNS: [&str; 17] = [
    "id",
    "created_at",
    "actor",
    "actor_name",
    "role",
    "action",
    "target_type",
    "target_id",
    "subject_camera_id",
    "outcome",
    "ip",
    "user_agent",
    "request_id",
    "credential_id",
    "detail",
    "before",
    "after",
];

fn cells(row: AuditRow) -> [String; 17] {
    let json = |value: Option<Value>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        row.id,
        row.created_at.to_string(),
        row.actor,
        row.actor_name.unwrap_or_default(),
        row.role.unwrap_or_default(),
        row.action,
        row.target_type.unwrap_or_default(),
        row.target_id.unwrap_or_default(),
        row.subject_camera_id.unwrap_or_default(),
        row.outcome.as_str().to_owned(),
        row.ip.unwrap_or_default(),
        row.user_agent.unwrap_or_default(),
        row.request_id.unwrap_or_default(),
        row.credential_id.unwrap_or_default(),
        row.detail.to_string(),
        json(row.before),
        json(row.after),
    ]
}

/// One record of RFC 4180. A cell that a spreadsheet would take for a formula begins with `'`, which makes it text there.
fn csv_line(cells: &[String]) -> String {
    let cells = cells.iter().map(|cell| {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        if formula || cell.contains(['"', ',', '\n', '\r']) {
            format!("\"{}{}\"", if formula { "'" } else { "" }, cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    });
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        let check = |cell: &str, expect: &str| {
            assert_eq!(csv_line(&[cell.to_owned(), "z".to_owned()]), format!("{expect},z\r\n"));
        };
        check("plain", "plain");
        check("", "");
        check("a,b", "\"a,b\"");
        check("a\"b\nc", "\"a\"\"b\nc\"");
        check("=1+1", "\"'=1+1\"");
        check("+1", "\"'+1\"");
        check("-1", "\"'-1\"");
        check("@x", "\"'@x\"");
        check("1-1", "1-1");
    }
}
