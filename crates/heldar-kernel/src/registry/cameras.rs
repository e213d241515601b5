//! The life of a camera: made, changed, removed, deleted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, Scope, Secret, StreamId, StreamKind, slugify};
use heldar_live::Cut;
use heldar_store::op::{
    AppendAudit, CameraCreated, CreateCamera, CreateTask, DeleteCamera, Outcome, RemoveCamera, UpdateCamera,
    WriteOp,
};
use heldar_store::{Attached, AuditEntry, Camera, CameraFields, ErrorKind, StoreError};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use super::author::{Author, Target, masked};
use super::error::{FieldError, RegistryError};
use super::fields::{self, CameraChanges, Rules, unknown_site};
use super::secret_fields::{Edit, MASK, OpenedSecrets, SecretEdits};
use super::to_its_end;
use super::urls::{Opened, TABLE};
use crate::engine::supervisor::SessionPhase;
use crate::kernel::Kernel;

/// Rest before the engine is told again.
const REST: Duration = Duration::from_secs(1);
/// How long a deletion waits for the last segments of its camera.
const LAST_SEGMENTS: Duration = Duration::from_secs(3);
/// Time between looks at them.
const LOOK: Duration = Duration::from_millis(10);

/// What becomes of the footage of a camera that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footage {
    /// It goes too.
    Delete,
    /// It stays readable.
    Keep,
}

/// Makes a camera, or takes a removed one of that id back into use, and starts it.
///
/// # Errors
/// A field that cannot be accepted, an id outside `scope` or taken, the store.
pub async fn create_camera(
    kernel: &Arc<Kernel>,
    author: Author,
    scope: Scope,
    id: Option<String>,
    change: CameraChanges,
) -> Result<Camera, RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let base = fields::defaults(&kernel.settings.cameras);
        let merged = fields::merge(base, &OpenedSecrets::NONE, change, Rules::Create, &*kernel.guard)?;
        let (mut fields, edits) = merged;
        let id = new_id(id.as_deref(), &fields.name)?;
        scope.check(&id).map_err(|_| RegistryError::OutOfScope)?;
        let _turn = kernel.registry.turn.lock().await;
        let before = kernel.store.camera(&Scope::All, &id).await?;
        if before.as_ref().is_some_and(|camera| camera.removed_at.is_none()) {
            return Err(RegistryError::Taken);
        }
        require_site(&kernel, &scope, &fields).await?;
        kernel.seal(&id, &mut fields, edits)?;
        let now = kernel.clock.wall();
        let detail = json!({ "name": fields.name, "vendor": fields.vendor });
        let audit = author.did(now, "create_camera", target(&id), detail);
        let op = CreateCamera { id: id.clone(), fields: fields.clone(), now };
        let first = if before.is_none() { kernel.first_task(&id, now) } else { None };
        let mut ops = vec![op.into(), WriteOp::from(AppendAudit { entry: audit })];
        ops.extend(first.map(WriteOp::from));
        let mut outcomes = kernel.store.write_all(ops).await.map_err(refused)?.into_iter();
        let made = outcomes.next().map(Outcome::of::<CreateCamera>).transpose()?;
        if let Some(task) = outcomes.nth(1).map(Outcome::of::<CreateTask>).transpose()? {
            kernel.keep_first_task(task.task);
        }
        let revision = match made.unwrap_or(CameraCreated::New) {
            CameraCreated::New => 1,
            CameraCreated::Reattached => before.map_or(1, |camera| camera.revision + 1),
        };
        let camera = Camera { id, fields, created_at: now, updated_at: now, revision, removed_at: None };
        tell_engine(&kernel, &camera).await;
        Ok(camera)
    })
    .await
}

/// Changes a camera. One that says nothing new writes nothing and interrupts nothing.
///
/// # Errors
/// No such camera, one that was removed, a field that cannot be accepted, the store.
pub async fn change_camera(
    kernel: &Arc<Kernel>,
    author: Author,
    scope: Scope,
    id: CameraId,
    change: CameraChanges,
) -> Result<Camera, RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let _turn = kernel.registry.turn.lock().await;
        let camera = kernel.store.camera(&scope, &id).await?.ok_or(RegistryError::NotFound("camera"))?;
        if camera.removed_at.is_some() {
            return Err(RegistryError::Removed);
        }
        let opened = kernel.opened_secrets(&camera);
        let base = camera.fields.clone();
        let masked_url = change.masked_url();
        let (mut fields, edits) = fields::merge(base, &opened, change, Rules::Change, &*kernel.guard)?;
        if !scope.is_all() {
            check_limited(&camera.fields, &fields, &edits, masked_url, &opened)?;
        }
        let (changed, before, after) = differences(&camera.fields, &opened, &fields, &edits);
        if changed.is_empty() {
            return Ok(camera);
        }
        if fields.site_id != camera.fields.site_id {
            require_site(&kernel, &scope, &fields).await?;
        }
        kernel.seal(&id, &mut fields, edits)?;
        let now = kernel.clock.wall();
        let audit = author.did(now, "update_camera", target(&id), json!({ "fields": changed }));
        let audit = AuditEntry { before: Some(before), after: Some(after), ..audit };
        let op = UpdateCamera { id: id.clone(), fields: fields.clone(), revision: camera.revision, now };
        let attached = Attached { audit: Some(audit), events: Vec::new() };
        kernel.store.manage(op, attached).await.map_err(refused)?;
        let camera = Camera { fields, updated_at: now, revision: camera.revision + 1, ..camera };
        tell_engine(&kernel, &camera).await;
        Ok(camera)
    })
    .await
}

/// Takes a camera out of use, with or without its footage. When this answers, its last segment is complete.
///
/// # Errors
/// No such camera, the store.
pub async fn delete_camera(
    kernel: &Arc<Kernel>,
    author: Author,
    scope: Scope,
    id: CameraId,
    footage: Footage,
) -> Result<(), RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let _turn = kernel.registry.turn.lock().await;
        let camera = kernel.store.camera(&scope, &id).await?.ok_or(RegistryError::NotFound("camera"))?;
        if footage == Footage::Keep && camera.removed_at.is_some() {
            return Ok(());
        }
        let now = kernel.clock.wall();
        let detail = json!({ "keep_recordings": footage == Footage::Keep });
        let audit = author.did(now, "delete_camera", target(&id), detail);
        let attached = Attached { audit: Some(audit), events: Vec::new() };
        match footage {
            Footage::Keep => {
                kernel.store.manage(RemoveCamera { id, now }, attached).await.map_err(refused)?;
            }
            Footage::Delete => {
                kernel.store.manage(DeleteCamera { id: id.clone() }, attached).await.map_err(refused)?;
                kernel.accounts.change(|directory| directory.sites_mut().remove_camera(&id));
                kernel.forget_tasks_of(&id);
            }
        }
        if camera.removed_at.is_none() {
            end(&kernel, camera).await;
        }
        Ok(())
    })
    .await
}

/// What somebody who is limited to some cameras may not do to them: decide to which site they belong, which is who else may
/// see them; and send a stored secret to another address, where it could be read.
fn check_limited(
    old: &CameraFields,
    new: &CameraFields,
    edits: &SecretEdits,
    masked_url: Option<&'static str>,
    opened: &OpenedSecrets,
) -> Result<(), RegistryError> {
    if old.site_id != new.site_id {
        return Err(RegistryError::FleetOnly);
    }
    let urls = [&edits.main_url, &edits.sub_url, &edits.replay];
    let sets_url = urls.iter().any(|edit| matches!(edit, Edit::Set(_)));
    let moves = sets_url
        || (&old.vendor, &old.address, old.rtsp_port, old.http_port, old.device_tls)
            != (&new.vendor, &new.address, new.rtsp_port, new.http_port, new.device_tls);
    if moves && edits.password == Edit::Keep && opened.password != Opened::Nothing {
        let text = "say the password again: the stored one does not go to another address";
        return Err(FieldError::value("password", text).into());
    }
    match masked_url.filter(|_| sets_url) {
        Some(field) => {
            let text = "say user and password again: stored ones do not go to another address";
            Err(FieldError::value(field, text).into())
        }
        None => Ok(()),
    }
}

fn target(id: &CameraId) -> Target<'_> {
    Target { kind: "camera", id: id.as_str() }
}

/// The id that was asked for, else that of the name.
fn new_id(given: Option<&str>, name: &str) -> Result<CameraId, FieldError> {
    let text = given.filter(|id| !id.trim().is_empty()).unwrap_or(name);
    CameraId::new(&slugify(text, "camera")).map_err(|error| FieldError::value("id", error.to_string()))
}

/// A refusal of the store in the words of the registry.
fn refused(error: StoreError) -> RegistryError {
    match error.kind() {
        // The camera was there under the same turn, so it is the site that went.
        ErrorKind::NotFound => unknown_site().into(),
        ErrorKind::Conflict => RegistryError::Changed,
        _ => error.into(),
    }
}

/// A site that its camera's manager cannot see is as if it were not there.
async fn require_site(kernel: &Kernel, scope: &Scope, fields: &CameraFields) -> Result<(), RegistryError> {
    match &fields.site_id {
        Some(site) if kernel.store.site(scope, site).await?.is_none() => Err(unknown_site().into()),
        _ => Ok(()),
    }
}

/// Tells the engine of a committed change; when that fails, again until it succeeds.
pub(super) async fn tell_engine(kernel: &Arc<Kernel>, camera: &Camera) {
    let site = camera.fields.site_id.clone();
    kernel.accounts.change(|directory| directory.sites_mut().put_camera(camera.id.clone(), site));
    let Err(error) = kernel.apply(camera).await else { return };
    tracing::warn!(camera = %camera.id, %error, "a change reaches the camera late");
    let id = camera.id.clone();
    let kernel = Arc::downgrade(kernel);
    tokio::spawn(async move {
        loop {
            sleep(REST).await;
            let Some(kernel) = kernel.upgrade() else { return };
            let _turn = kernel.registry.turn.lock().await;
            match kernel.store.camera(&Scope::All, &id).await {
                Ok(Some(camera)) if camera.removed_at.is_none() => {
                    if kernel.apply(&camera).await.is_ok() {
                        return;
                    }
                }
                Ok(_) => return,
                Err(error) => tracing::debug!(camera = %id, %error, "the camera cannot be read"),
            }
        }
    });
}

/// Ends everything that runs for a camera that is gone from the store. Its last segments are complete and indexed
/// afterwards, so that a camera made anew under its id has nothing to do with them.
async fn end(kernel: &Kernel, mut camera: Camera) {
    kernel.watching.viewers.cut_camera(&camera.id, Cut::CameraRemoved);
    camera.fields.enabled = false;
    if let Err(error) = kernel.apply(&camera).await {
        tracing::debug!(camera = %camera.id, %error, "a camera that goes was not stopped in order");
    }
    if timeout(LAST_SEGMENTS, last_segments(kernel, &camera.id)).await.is_err() {
        tracing::warn!(camera = %camera.id, "the last segments of a camera that goes are late");
    }
    kernel.dismiss(&camera.id);
    kernel.registry.observed.forget(&camera.id);
    // Its files go now, not with the next sweep.
    kernel.retention.kick();
}

/// Waits until sessions have ended, what they handed on is on disk, and what is on disk is in the store.
async fn last_segments(kernel: &Kernel, camera: &CameraId) {
    let streams = [StreamKind::Main, StreamKind::Sub].map(|kind| StreamId::new(camera.clone(), kind));
    // Nobody can start on a bus whose session is over, all of its pictures handed on.
    let holds = |stream| kernel.ingest.get(stream).is_some_and(|handle| handle.feed.bus().ring().has_start());
    let runs = || kernel.supervisor.view(camera).is_some_and(|view| view.session != SessionPhase::Idle);
    let writes = || kernel.writer.stats().queued_bytes.load(Ordering::Relaxed) > 0;
    while runs() || streams.iter().any(holds) {
        sleep(LOOK).await;
    }
    while writes() {
        sleep(LOOK).await;
    }
    while streams.iter().any(|stream| !kernel.live.of_stream(stream).is_empty()) {
        sleep(LOOK).await;
    }
}

impl Kernel {
    fn opened_secrets(&self, camera: &Camera) -> OpenedSecrets {
        let fields = &camera.fields;
        let open = |column, stored: &Option<_>| self.opened(camera.id.as_str(), column, stored.as_ref());
        OpenedSecrets {
            password: open("password", &fields.password),
            main_url: open("main_stream_url", &fields.main_stream_url),
            sub_url: open("sub_stream_url", &fields.sub_stream_url),
            replay: open("anr_replay_url_template", &fields.anr_replay_url_template),
        }
    }

    /// Seals what is new and puts it in its place.
    fn seal(
        &self,
        id: &CameraId,
        fields: &mut CameraFields,
        edits: SecretEdits,
    ) -> Result<(), RegistryError> {
        let put = |column, edit, place: &mut Option<Secret<String>>| {
            match edit {
                Edit::Keep => {}
                Edit::Clear => *place = None,
                Edit::Set(value) => {
                    // In clear it would be taken for a sealed value when it is read.
                    if !self.sealer.seals() && value.expose().starts_with("enc:v") {
                        return Err(FieldError::value(column, "a value cannot begin with `enc:v`").into());
                    }
                    *place = Some(self.sealer.seal_value(TABLE, column, id.as_str(), &value)?);
                }
            }
            Ok::<_, RegistryError>(())
        };
        put("password", edits.password, &mut fields.password)?;
        put("main_stream_url", edits.main_url, &mut fields.main_stream_url)?;
        put("sub_stream_url", edits.sub_url, &mut fields.sub_stream_url)?;
        put("anr_replay_url_template", edits.replay, &mut fields.anr_replay_url_template)
    }
}

/// Names of the fields that differ, with their values before and after, secrets masked.
fn differences(
    old: &CameraFields,
    opened: &OpenedSecrets,
    new: &CameraFields,
    edits: &SecretEdits,
) -> (Vec<&'static str>, Value, Value) {
    let mut names = Vec::new();
    let (mut before, mut after) = (Map::new(), Map::new());
    let mut differs = |name: &'static str, was: Value, is: Value| {
        names.push(name);
        before.insert(name.to_owned(), was);
        after.insert(name.to_owned(), is);
    };
    for ((name, was), (_, is)) in plain(old).into_iter().zip(plain(new)) {
        if was != is {
            differs(name, was, is);
        }
    }
    if edits.password != Edit::Keep {
        let is = if edits.password == Edit::Clear { Value::Null } else { MASK.into() };
        let was = if opened.password == Opened::Nothing { Value::Null } else { MASK.into() };
        differs("password", was, is);
    }
    for (name, was, edit) in [
        ("main_stream_url", &opened.main_url, &edits.main_url),
        ("sub_stream_url", &opened.sub_url, &edits.sub_url),
        ("anr_replay_url_template", &opened.replay, &edits.replay),
    ] {
        let is = match edit {
            Edit::Keep => continue,
            Edit::Clear => Value::Null,
            Edit::Set(_) => Value::from(MASK),
        };
        let was = match was {
            Opened::Nothing => Value::Null,
            Opened::Unreadable | Opened::Value(_) => Value::from(MASK),
        };
        differs(name, was, is);
    }
    (names, masked(Value::Object(before)), masked(Value::Object(after)))
}

/// Every field that is no secret, by its name in the API.
fn plain(f: &CameraFields) -> Vec<(&'static str, Value)> {
    vec![
        ("name", json!(f.name)),
        ("site_id", json!(f.site_id)),
        ("vendor", json!(f.vendor)),
        ("model", json!(f.model)),
        ("address", json!(f.address)),
        ("rtsp_port", json!(f.rtsp_port)),
        ("username", json!(f.username)),
        ("record_stream", json!(f.record_stream)),
        ("record_sub", json!(f.record_sub)),
        ("rtsp_transport", json!(f.rtsp_transport)),
        ("channel", json!(f.channel)),
        ("capabilities", f.capabilities.clone()),
        ("record_enabled", json!(f.record_enabled)),
        ("segment_seconds", json!(f.segment_seconds)),
        ("retention_hours", json!(f.retention_hours)),
        ("retention_motion_hours", json!(f.retention_motion_hours)),
        ("retention_alert_hours", json!(f.retention_alert_hours)),
        ("storage_quota_bytes", json!(f.storage_quota_bytes)),
        ("record_audio", json!(f.record_audio)),
        ("record_mode", json!(f.record_mode)),
        ("pre_roll_seconds", json!(f.pre_roll_seconds)),
        ("post_roll_seconds", json!(f.post_roll_seconds)),
        ("mirror_enabled", json!(f.mirror_enabled)),
        ("anr_enabled", json!(f.anr_enabled)),
        ("native_anpr_enabled", json!(f.native_anpr_enabled)),
        ("native_events_enabled", json!(f.native_events_enabled)),
        ("enabled", json!(f.enabled)),
        ("live_warm", json!(f.live_warm)),
        ("priority", json!(f.priority)),
        ("http_port", json!(f.http_port)),
        ("device_tls", json!(f.device_tls)),
    ]
}
