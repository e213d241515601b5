//! What the server knows of an event beside itself: names, time zones, pictures.
//!
//! Owns: where the picture of an event is found: its evidence, else the recording. Never: waits without somebody who bounds
//! that.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use heldar_base::{CameraId, Clock as _, Micros, Scope, StreamId, StreamKind, WallTime};
use heldar_decode::wire::{Format, Output};
use heldar_store::{Event, ZoneEventId};
use jiff::tz::TimeZone;

use super::Site;
use crate::kernel::Kernel;
use crate::stills::{Absence, ShotError};
use crate::zones::evidence_name;

/// Width at most of a picture from the recording.
const WIDTH: u16 = 1280;
/// Quality of the same.
const QUALITY: u8 = 85;
/// A picture that is not there yet is looked for so often.
const LOOK: Duration = Duration::from_millis(100);
/// What is older has its picture now or never.
const YOUNG: Micros = Micros::from_secs(30);

/// Whether the recording has a picture.
enum Recorded {
    /// This one.
    Picture(Bytes),
    /// It may soon.
    Later,
    /// It has none of this instant.
    Never,
}

impl Site for Kernel {
    fn camera<'a>(&'a self, id: &'a CameraId) -> BoxFuture<'a, Option<(String, TimeZone)>> {
        async move {
            let camera = self.store.camera(&Scope::All, id).await.ok()??;
            let zone = self.zone_of(&camera).await.unwrap_or_else(|_| self.settings.time_zone.zone());
            Some((camera.fields.name, zone))
        }
        .boxed()
    }

    fn zone(&self) -> TimeZone {
        self.settings.time_zone.zone()
    }

    fn description(&self, event_type: &str) -> Option<&'static str> {
        crate::api::events::description(event_type)
    }

    fn picture<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Option<Bytes>> {
        async move {
            let of = &event.event;
            let camera = of.camera.as_ref()?;
            let id = of.payload.get("zone_event_id").and_then(|id| id.as_str()).and_then(ZoneEventId::parse);
            let has_link = of.payload.get("links").and_then(|links| links.get("picture")).is_some();
            if id.is_none() && !has_link {
                return None;
            }
            // The frame that was analysed is on its way to a file.
            let is_promised = of.payload.get("evidence").is_some_and(|evidence| evidence.is_string());
            loop {
                if let Some(id) = id
                    && let Some(found) = self.evidence(id).await
                {
                    return Some(found);
                }
                if !is_promised {
                    match Box::pin(self.recorded(camera, of.timestamp)).await {
                        Recorded::Picture(found) => return Some(found),
                        Recorded::Never => return None,
                        Recorded::Later => {}
                    }
                }
                if self.clock.wall() - of.timestamp > YOUNG {
                    return None;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        .boxed()
    }
}

impl Kernel {
    /// The picture of a zone event, if it is kept.
    async fn evidence(&self, id: ZoneEventId) -> Option<Bytes> {
        let folder = self.snapshots.folder.clone();
        let read = move || {
            let mut bytes = Vec::new();
            folder.open_evidence(&evidence_name(id)).ok()?.read_to_end(&mut bytes).ok()?;
            Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty())
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    /// The picture that was recorded at an instant.
    async fn recorded(&self, camera: &CameraId, at: WallTime) -> Recorded {
        let output = Output { format: Format::Jpeg(QUALITY), width: WIDTH, crop: None };
        let mut found = Recorded::Never;
        for kind in [StreamKind::Main, StreamKind::Sub] {
            let stream = StreamId::new(camera.clone(), kind);
            match self.recorded_shot(&Scope::All, &stream, at, output).await {
                Ok(shot) => return Recorded::Picture(shot.image.data.into()),
                Err(ShotError::NoFootage(Absence::Future) | ShotError::NoSlot) => found = Recorded::Later,
                Err(_) => {}
            }
        }
        found
    }
}
