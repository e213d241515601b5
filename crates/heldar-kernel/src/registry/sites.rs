//! Sites: made, changed, deleted (media.md 5).

use std::sync::Arc;

use heldar_base::{Clock as _, Scope, SiteId, slugify};
use heldar_http::Patch;
use heldar_store::op::{CreateSite, DeleteSite, OnCameras, UpdateSite};
use heldar_store::{Attached, AuditEntry, ErrorKind, SiteFields, SiteView, StoreError};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde_json::{Map, Value, json};

use super::author::{Author, Target, masked};
use super::cameras::tell_engine;
use super::error::{FieldError, RegistryError};
use super::to_its_end;
use crate::kernel::Kernel;

/// What is said about a site.
#[derive(Clone, Debug, Default)]
pub struct SiteChanges {
    /// Its name.
    pub name: Patch<String>,
    /// IANA name of its time zone; null is the server's.
    pub timezone: Patch<String>,
}

/// Makes a site.
///
/// # Errors
/// A field that cannot be accepted, an id that is taken, the store.
pub async fn create_site(
    kernel: &Arc<Kernel>,
    author: Author,
    id: Option<String>,
    change: SiteChanges,
) -> Result<SiteView, RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let fields = merge(SiteFields { name: String::new(), timezone: None }, change)?;
        let text = id.as_deref().filter(|id| !id.trim().is_empty()).unwrap_or(&fields.name);
        let id = SiteId::new(&slugify(text, "site"))
            .map_err(|error| FieldError::value("id", error.to_string()))?;
        let _turn = kernel.registry.turn.lock().await;
        let now = kernel.clock.wall();
        let detail = json!({ "name": fields.name, "timezone": fields.timezone });
        let audit = author.did(now, "create_site", target(&id), detail);
        let op = CreateSite { id: id.clone(), fields, now };
        kernel.store.manage(op, with(audit)).await.map_err(|error| match error.kind() {
            ErrorKind::Conflict => RegistryError::Taken,
            _ => error.into(),
        })?;
        kernel.accounts.change(|directory| directory.sites_mut().put_site(id.clone()));
        read(&kernel, &id).await
    })
    .await
}

/// Changes a site. One that says nothing new writes nothing.
///
/// # Errors
/// No such site, a field that cannot be accepted, the store.
pub async fn change_site(
    kernel: &Arc<Kernel>,
    author: Author,
    id: SiteId,
    change: SiteChanges,
) -> Result<SiteView, RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let _turn = kernel.registry.turn.lock().await;
        let view = read(&kernel, &id).await?;
        let old = &view.site.fields;
        let change = SiteChanges { name: keep_null(change.name, &old.name), ..change };
        let fields = merge(old.clone(), change)?;
        if fields == *old {
            return Ok(view);
        }
        let (mut before, mut after) = (Map::new(), Map::new());
        for (name, was, is) in [
            ("name", json!(old.name), json!(fields.name)),
            ("timezone", json!(old.timezone), json!(fields.timezone)),
        ] {
            if was != is {
                before.insert(name.to_owned(), was);
                after.insert(name.to_owned(), is);
            }
        }
        let now = kernel.clock.wall();
        let changed: Vec<&String> = after.keys().collect();
        let audit = author.did(now, "update_site", target(&id), json!({ "fields": changed }));
        let (before, after) = (masked(Value::Object(before)), masked(Value::Object(after)));
        let audit = AuditEntry { before: Some(before), after: Some(after), ..audit };
        let is_other_zone = fields.timezone != old.timezone;
        let op = UpdateSite { id: id.clone(), fields, revision: view.site.revision, now };
        kernel.store.manage(op, with(audit)).await.map_err(refused)?;
        if is_other_zone {
            rezone(&kernel, &id).await;
        }
        read(&kernel, &id).await
    })
    .await
}

/// Cameras of a site look at their schedules anew.
async fn rezone(kernel: &Arc<Kernel>, site: &SiteId) {
    for camera in kernel.modes.of_site(site) {
        match kernel.store.camera(&Scope::All, &camera).await {
            Ok(Some(camera)) if camera.removed_at.is_none() => tell_engine(kernel, &camera).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%camera, %error, "another time zone reaches the camera with its next change")
            }
        }
    }
}

/// Deletes a site.
///
/// # Errors
/// No such site, cameras that belong to it, the store.
pub async fn delete_site(
    kernel: &Arc<Kernel>,
    author: Author,
    id: SiteId,
    on_cameras: OnCameras,
) -> Result<(), RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let _turn = kernel.registry.turn.lock().await;
        let now = kernel.clock.wall();
        let detail = json!({ "detach": on_cameras == OnCameras::Detach });
        let audit = author.did(now, "delete_site", target(&id), detail);
        let op = DeleteSite { id: id.clone(), on_cameras, now };
        kernel.store.manage(op, with(audit)).await.map_err(refused)?;
        kernel.accounts.change(|directory| directory.sites_mut().remove_site(&id));
        rezone(&kernel, &id).await;
        Ok(())
    })
    .await
}

fn target(id: &SiteId) -> Target<'_> {
    Target { kind: "site", id: id.as_str() }
}

fn with(audit: AuditEntry) -> Attached {
    Attached { audit: Some(audit), events: Vec::new() }
}

fn refused(error: StoreError) -> RegistryError {
    match error.kind() {
        ErrorKind::NotFound => RegistryError::NotFound("site"),
        ErrorKind::InUse => RegistryError::InUse,
        ErrorKind::Conflict => RegistryError::Changed,
        _ => error.into(),
    }
}

async fn read(kernel: &Kernel, id: &SiteId) -> Result<SiteView, RegistryError> {
    kernel.store.site(&Scope::All, id).await?.ok_or(RegistryError::NotFound("site"))
}

/// Null keeps a field that cannot be cleared.
fn keep_null(change: Patch<String>, old: &str) -> Patch<String> {
    match change {
        Patch::Absent | Patch::Null => Patch::Value(old.to_owned()),
        given => given,
    }
}

impl Kernel {
    /// The zone in which people at a camera read the time: that of its site, without one the server's.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn zone_of(&self, camera: &heldar_store::Camera) -> Result<TimeZone, StoreError> {
        let site = match &camera.fields.site_id {
            Some(site) => self.store.site(&Scope::All, site).await?,
            None => None,
        };
        let name = site.and_then(|view| view.site.fields.timezone);
        let zone = name.and_then(|name| TimeZoneDatabase::bundled().get(&name).ok());
        Ok(zone.unwrap_or_else(|| self.settings.time_zone.zone()))
    }
}

fn merge(base: SiteFields, change: SiteChanges) -> Result<SiteFields, FieldError> {
    let name = change.name.or_keep(base.name);
    if name.trim().is_empty() {
        return Err(FieldError::value("name", "the site needs a name"));
    }
    let timezone = change.timezone.try_map(|name| zone_name(&name))?.or_clear(base.timezone);
    Ok(SiteFields { name, timezone })
}

/// The name of a zone as the IANA database spells it.
fn zone_name(text: &str) -> Result<String, FieldError> {
    let unknown = || FieldError::value("timezone", "a time zone is an IANA name such as Europe/Berlin");
    let zone = TimeZoneDatabase::bundled().get(text).map_err(|_| unknown())?;
    zone.iana_name().map(str::to_owned).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_those_of_the_database() {
        for (text, expect) in [
            ("Europe/Berlin", Some("Europe/Berlin")),
            ("europe/berlin", Some("Europe/Berlin")),
            ("UTC", Some("UTC")),
            ("Europe/Berlni", None),
            ("", None),
            ("../etc/passwd", None),
            ("CET-1CEST,M3.5.0,M10.5.0/3", None),
        ] {
            assert_eq!(zone_name(text).ok().as_deref(), expect, "{text}");
        }
    }
}
