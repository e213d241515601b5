//! Which streams run because somebody watches them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{CameraId, Clock as _, Micros, MonoTime, StreamId};
use heldar_store::StoreError;

use crate::kernel::Kernel;
use crate::rhythm::Rhythm;

/// Streams that somebody watches or has watched lately, and when that was last seen.
#[derive(Debug)]
pub(super) struct Demand {
    streams: Mutex<HashMap<StreamId, MonoTime>>,
    idle_close: Micros,
}

/// Viewers are looked for this often.
const BEAT: Micros = Micros::from_secs(1);

impl Demand {
    pub(super) fn new(idle_close: Micros) -> Self {
        Demand { streams: Mutex::default(), idle_close }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, MonoTime>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wants(&self, stream: &StreamId) -> bool {
        self.streams().contains_key(stream)
    }

    /// Somebody wants it; tells whether that is news.
    pub(super) fn note(&self, stream: &StreamId, now: MonoTime) -> bool {
        self.streams().insert(stream.clone(), now).is_none()
    }

    pub(super) fn forget(&self, camera: &CameraId) {
        self.streams().retain(|stream, _| stream.camera != *camera);
    }

    /// Streams that nobody has watched for long enough; they are wanted no more.
    fn expire(&self, now: MonoTime) -> Vec<StreamId> {
        let mut streams = self.streams();
        let mut over = Vec::new();
        streams.retain(|stream, seen| {
            // A viewer that was seen may have stayed until it was looked for again.
            let stays = now - *seen <= self.idle_close + BEAT;
            if !stays {
                over.push(stream.clone());
            }
            stays
        });
        over
    }
}

/// Closes what nobody watches any more, for good.
pub async fn run(kernel: Arc<Kernel>) {
    let mut beat = Rhythm::main().every(1);
    loop {
        beat.tick().await;
        kernel.watching.hls.expire(kernel.clock.mono());
        // A viewer may change over to the camera's other stream by itself.
        let followed = kernel.ingest.followed();
        followed.iter().for_each(|stream| kernel.demand(stream));
        for stream in kernel.watching.demand.expire(kernel.clock.mono()) {
            if let Err(error) = close(&kernel, &stream).await {
                tracing::debug!(%stream, %error, "a stream without viewers stays open");
                kernel.watching.demand.note(&stream, kernel.clock.mono());
            }
        }
    }
}

/// Ends the session of a stream unless it is kept ready.
async fn close(kernel: &Kernel, stream: &StreamId) -> Result<(), StoreError> {
    let camera = kernel.store.camera(&heldar_base::Scope::All, &stream.camera).await?;
    let stays = camera.is_some_and(|camera| kernel.watching.wants(&camera, stream.kind));
    kernel.ingest.set_live(stream, stays);
    // Somebody may have come meanwhile, to whom it was no news.
    if kernel.watching.demand.wants(stream) {
        kernel.ingest.set_live(stream, true);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heldar_base::StreamKind;

    #[test]
    fn a_stream_is_wanted_until_some_time_after_its_last_viewer() {
        let demand = Demand::new(Micros::from_secs(60));
        let stream = StreamId::new(CameraId::new("gate").unwrap(), StreamKind::Sub);
        let at = |seconds: i64| MonoTime(seconds * 1_000_000);
        assert!(demand.note(&stream, at(0)));
        assert!(!demand.note(&stream, at(10)));
        assert!(demand.expire(at(71)).is_empty());
        assert_eq!(demand.expire(at(72)), std::slice::from_ref(&stream));
        assert!(demand.expire(at(73)).is_empty());
        assert!(!demand.wants(&stream));
        demand.note(&stream, at(300));
        // Without any patience a stream that is watched stays nevertheless.
        let hasty = Demand::new(Micros::ZERO);
        hasty.note(&stream, at(0));
        assert!(hasty.expire(at(1)).is_empty());
        assert_eq!(hasty.expire(at(2)), std::slice::from_ref(&stream));
        demand.forget(&stream.camera);
        assert!(!demand.wants(&stream));
    }
}
