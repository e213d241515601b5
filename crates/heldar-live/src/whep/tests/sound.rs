//! Sound beside the pictures.

use heldar_media::g711::{Law, Original};
use heldar_media::{AudioCodec, AudioParams};

use super::*;

fn opus_frame(ms: i64, params: &Arc<TrackParams>) -> Arc<AccessUnit> {
    let frame = picture(params, ms, &[]);
    let payload = Bytes::from(vec![0xfc, ms as u8]);
    Arc::new(AccessUnit {
        track: TrackKind::Audio,
        sync: SyncKind::Closed,
        payload,
        ..AccessUnit::clone(&frame)
    })
}

fn opus() -> Arc<TrackParams> {
    Arc::new(TrackParams::Audio(AudioParams {
        codec: AudioCodec::Opus,
        codec_string: "opus".to_owned(),
        sample_rate: 48_000,
        channels: 1,
        frame_samples: 960,
        config: Bytes::new(),
    }))
}

#[tokio::test]
async fn g711_goes_along_as_it_came_and_converted_where_it_did_not() {
    let stage = Stage::new();
    let sound = opus();
    stage.main.begin(Some(sound.clone()), None, Some(Law::A));
    stage.sync(0, 1);
    let (mut client, answer) = Client::play_with(&stage, stage.feeds(), |codecs| {
        codecs.enable_h264(true);
        codecs.enable_pcma(true, false);
    })
    .await;
    assert_eq!((answer.audio, stage.viewers.list()[0].audio), (Some("pcma"), Some("pcma")));
    assert_eq!(client.frame().await.mid, client.video);
    let samples = Bytes::from(vec![0x55; 160]);
    let mut last: Option<i64> = None;
    for number in 1..4 {
        let original = Some(Original { law: Law::A, samples: samples.clone() });
        let frame = opus_frame(number * 20, &sound);
        stage.main.publish(Arc::new(AccessUnit { original, ..AccessUnit::clone(&frame) }));
        let frame = client.frame().await;
        assert_eq!(frame.units, [samples.to_vec()]);
        assert!(last.is_none_or(|last| frame.ticks == last + 160));
        last = Some(frame.ticks);
    }
    stage.main.publish(opus_frame(80, &sound));
    assert_eq!(client.frame().await.units, [vec![0xfc, 80]]);
}

#[tokio::test]
async fn opus_goes_along() {
    let stage = Stage::new();
    let sound = opus();
    stage.main.begin(Some(sound.clone()), None, None);
    stage.sync(0, 1);
    let (mut client, answer) = Client::play(&stage, stage.feeds()).await;
    assert_eq!((answer.audio, stage.viewers.list()[0].audio), (Some("opus"), Some("opus")));
    assert_eq!(client.frame().await.mid, client.video);
    let mut last: Option<i64> = None;
    for number in 1..4 {
        stage.main.publish(opus_frame(number * 20, &sound));
        let frame = client.frame().await;
        assert_eq!(frame.units, [vec![0xfc, number as u8 * 20]]);
        assert!(last.is_none_or(|last| frame.ticks == last + 960));
        last = Some(frame.ticks);
    }
}
