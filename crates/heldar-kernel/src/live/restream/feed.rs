//! The task that hands one stream's units to the RTSP server.

use std::sync::Arc;

use bytes::Bytes;
use heldar_live::{Bus, Received, Units};
use heldar_media::{AccessUnit, TrackKind, TrackParams, g711};
use heldar_rtsp::server::{Payload, Unit};

use super::format::{self, AUDIO, VIDEO};
use super::times::Times;
use super::{LINGER, Restream, Served};

/// Ticks per second of pictures (RFC 6184 8.1, RFC 7798 7.1).
const VIDEO_RATE: u32 = 90_000;

/// Why a stream is not served on.
enum Over {
    /// The camera has gone over to a coding that its sessions were not told of.
    OtherCoding,
    /// The stream ended for good.
    Closed,
}

/// Feeds a stream until nobody plays it, it ends, or the server stops.
pub(super) async fn run(restream: Arc<Restream>, served: Arc<Served>, bus: Bus) {
    let mut feed = Feed { served: &served, times: Times::default(), params: None };
    let mut stop = restream.stop.subscribe();
    let why = tokio::select! {
        why = feed.follow(bus.follow()) => Some(why),
        () = deserted(&restream, &served) => None,
        _ = stop.wait_for(|stop| *stop) => None,
    };
    restream.end(&served);
    if let Some(why) = why {
        let why = match why {
            Over::OtherCoding => "the camera's coding has changed",
            Over::Closed => "the camera is gone",
        };
        tracing::debug!(stream = %served.id, why, "RTSP sessions of a stream end");
    }
    served.stream.disconnect_all();
}

/// Resolves when nobody has played for a while; what is served is forgotten then.
async fn deserted(restream: &Restream, served: &Arc<Served>) {
    let mut sessions = served.stream.sessions();
    loop {
        // The sender lives as long as the stream, which the caller holds.
        if sessions.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        let back = sessions.wait_for(|count| *count > 0);
        if tokio::time::timeout(LINGER, back).await.is_err() && restream.leave(served) {
            return;
        }
    }
}

struct Feed<'a> {
    served: &'a Served,
    times: Times,
    /// Of the pictures, as the server knows them.
    params: Option<Arc<TrackParams>>,
}

impl Feed<'_> {
    async fn follow(&mut self, mut units: Units) -> Over {
        loop {
            match units.recv().await {
                Received::Piece(unit) => {
                    if let Err(over) = self.publish(&unit) {
                        return over;
                    }
                }
                Received::Lagged(_) | Received::Interrupted => self.interrupt(),
                Received::Closed => return Over::Closed,
            }
        }
    }

    /// What follows begins at a sync sample, whenever it comes. Sessions stay.
    fn interrupt(&mut self) {
        self.times.interrupt();
        self.served.stream.interrupt();
    }

    fn publish(&mut self, unit: &AccessUnit) -> Result<(), Over> {
        let (track, rate, payload) = match unit.track {
            TrackKind::Video => {
                self.take_params(&unit.params)?;
                (VIDEO, VIDEO_RATE, &unit.payload)
            }
            TrackKind::Audio => match self.sound(unit) {
                Some((rate, payload)) => (AUDIO, rate, payload),
                None => return Ok(()),
            },
        };
        self.served.stream.publish(&Unit {
            track,
            captured_at: unit.captured_at,
            rtp_time: self.times.rtp(unit.captured_at, rate),
            sync: unit.sync.is_sync(),
            payload: Payload::Frame(payload.clone()),
        });
        Ok(())
    }

    /// A frame of sound as it was described, with its clock rate; `None` for sound that no session was told of.
    fn sound<'a>(&self, unit: &'a AccessUnit) -> Option<(u32, &'a Bytes)> {
        let shape = &self.served.shape;
        if let Some(law) = shape.law {
            let original = unit.original.as_ref().filter(|original| original.law == law)?;
            return Some((g711::SAMPLE_RATE, &original.samples));
        }
        let params = unit.params.audio().filter(|params| shape.audio.as_ref() == Some(params))?;
        Some((params.sample_rate, &unit.payload))
    }

    /// Parameters of the next picture, which the server sends in band before each sync sample.
    fn take_params(&mut self, params: &Arc<TrackParams>) -> Result<(), Over> {
        if self.params.as_ref().is_some_and(|known| Arc::ptr_eq(known, params)) {
            return Ok(());
        }
        let video = params.video().filter(|video| video.codec == self.served.shape.codec);
        let video = video.ok_or(Over::OtherCoding)?;
        match format::pictures(video) {
            Ok(format) => self.served.stream.set_format(VIDEO, format),
            // The recorder's parser has made them; whoever has older ones goes on with these.
            Err(error) => tracing::warn!(stream = %self.served.id, %error, "parameter sets are not sent on"),
        }
        self.params = Some(params.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use heldar_base::{CameraId, MonoTime, StreamId, StreamKind, WallTime};
    use heldar_live::Tracks;
    use heldar_media::{AudioCodec, SyncKind, VideoCodec, VideoParams};
    use heldar_rtsp::server::Format;

    use super::super::format::Shape;
    use super::super::format::tests::{audio, video};
    use super::*;

    fn unit(ms: i64, params: &Arc<TrackParams>, sync: SyncKind) -> Arc<AccessUnit> {
        let is_video = params.video().is_some();
        Arc::new(AccessUnit {
            track: if is_video { TrackKind::Video } else { TrackKind::Audio },
            captured_at: WallTime(ms * 1000),
            received_at: MonoTime(0),
            rtp_time: 0,
            sync,
            params: params.clone(),
            payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]),
            original: None,
        })
    }

    fn begin(bus: &Bus) -> (Arc<Restream>, Arc<heldar_rtsp::server::Stream>) {
        let restream = Arc::<Restream>::default();
        let id = StreamId::new(CameraId::new("gate").unwrap(), StreamKind::Main);
        let tracks: Tracks = bus.tracks().borrow().clone();
        let stream = restream.begin(&id, bus, Shape::of(&tracks).unwrap().unwrap());
        (restream, stream)
    }

    /// Waits until the server was handed so many units.
    async fn handed(stream: &heldar_rtsp::server::Stream, units: u64) {
        for _patience in 0..10_000 {
            if stream.stats().units >= units {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{} units of {units}", stream.stats().units);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_after_the_last_session_and_some_time() {
        let bus = Bus::default();
        bus.publish(unit(0, &video(0x1f), SyncKind::Closed));
        let (restream, stream) = begin(&bus);
        let mut followers = bus.ring().followers();
        followers.wait_for(|count| *count == 1).await.unwrap();
        tokio::time::sleep(LINGER - Duration::from_millis(100)).await;
        // Opened again: it stays as long once more.
        let id = restream.of(&stream).unwrap().id.clone();
        assert!(Arc::ptr_eq(&restream.find(&id, |_| true).unwrap(), &stream));
        tokio::time::sleep(LINGER - Duration::from_millis(100)).await;
        assert_eq!((*followers.borrow(), restream.of(&stream).is_some()), (1, true));
        followers.wait_for(|count| *count == 0).await.unwrap();
        assert!(restream.of(&stream).is_none() && restream.find(&id, |_| true).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn parameters_change_and_sound_is_what_was_described() {
        let bus = Bus::default();
        let aac = audio(AudioCodec::Aac, 48_000);
        bus.begin(Some(aac.clone()), None, None);
        bus.publish(unit(0, &video(0x1f), SyncKind::Closed));
        let (_restream, stream) = begin(&bus);
        handed(&stream, 1).await;
        bus.publish(unit(10, &aac, SyncKind::Closed));
        bus.publish(unit(20, &audio(AudioCodec::Opus, 48_000), SyncKind::Closed));
        bus.publish(unit(40, &video(0x28), SyncKind::Closed));
        handed(&stream, 3).await;
        let Format::H264(sets) = &stream.formats()[VIDEO] else { panic!() };
        assert_eq!(sets.sps[0][3], 0x28);
        assert_eq!(stream.stats().units, 3, "not the other sound");
    }

    #[tokio::test(start_paused = true)]
    async fn sound_that_was_converted_goes_on_as_it_came() {
        let bus = Bus::default();
        let opus = audio(AudioCodec::Opus, 48_000);
        bus.begin(Some(opus.clone()), None, Some(g711::Law::Mu));
        bus.publish(unit(0, &video(0x1f), SyncKind::Closed));
        let (_restream, stream) = begin(&bus);
        handed(&stream, 1).await;
        let frame = unit(20, &opus, SyncKind::Closed);
        bus.publish(frame.clone());
        let samples = Bytes::from_static(&[0xff; 160]);
        for law in [g711::Law::A, g711::Law::Mu] {
            let original = Some(g711::Original { law, samples: samples.clone() });
            bus.publish(Arc::new(AccessUnit { original, ..AccessUnit::clone(&frame) }));
        }
        handed(&stream, 2).await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        assert_eq!(stream.stats().units, 2, "only what was described");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_anew_gets_the_sound_that_has_come_since() {
        let bus = Bus::default();
        bus.publish(unit(0, &video(0x1f), SyncKind::Closed));
        let (restream, silent) = begin(&bus);
        bus.begin(Some(audio(AudioCodec::Aac, 48_000)), None, None);
        let tracks = bus.tracks().borrow().clone();
        let id = restream.of(&silent).unwrap().id.clone();
        assert!(restream.find(&id, |shape| shape.fits(&tracks)).is_none());
        let shape = Shape::of(&tracks).unwrap().unwrap();
        let loud = restream.begin(&id, &bus, shape.clone());
        assert_eq!((loud.formats().len(), silent.formats().len()), (2, 1));
        assert!(Arc::ptr_eq(&restream.find(&id, |shape| shape.fits(&tracks)).unwrap(), &loud));
        assert!(Arc::ptr_eq(&restream.begin(&id, &bus, shape), &loud), "two who ask at the same time");
        assert!(restream.of(&silent).is_some(), "those who have it keep it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_interruption_ends_nothing_and_another_coding_does() {
        let bus = Bus::default();
        let h264 = video(0x1f);
        bus.publish(unit(0, &h264, SyncKind::Closed));
        let (restream, stream) = begin(&bus);
        handed(&stream, 1).await;
        bus.interrupt();
        bus.publish(unit(40, &h264, SyncKind::None));
        bus.publish(unit(80, &h264, SyncKind::Closed));
        handed(&stream, 2).await;
        assert!(restream.of(&stream).is_some());
        let hevc = VideoParams { codec: VideoCodec::H265, ..h264.video().unwrap().clone() };
        bus.publish(unit(120, &Arc::new(TrackParams::Video(hevc)), SyncKind::Closed));
        let mut followers = bus.ring().followers();
        followers.wait_for(|count| *count == 0).await.unwrap();
        assert!(restream.of(&stream).is_none());
    }
}
