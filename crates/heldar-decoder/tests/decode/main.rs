//! The decoder process behind its client: every picture is the one that was asked for, as ffmpeg decodes it, and whatever a
//! stream does is its own loss.

mod clip;
mod harm;

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use clip::{Clip, HEIGHT, WIDTH, clip, decoders, difference, rgb, shown};
use heldar_decode::wire::{Crop, Format, Hints, Output};
use heldar_decode::{Picture, Reply, Unit, still};
use heldar_media::VideoCodec;

/// What cameras send: with and without pictures out of order, with and without a word about it in the stream.
static CLIPS: LazyLock<Vec<(&str, Clip)>> = LazyLock::new(|| {
    [
        ("plain", VideoCodec::H264, "-c:v libx264 -preset veryfast -bf 0"),
        (
            "out of order",
            VideoCodec::H264,
            "-c:v libx264 -preset veryfast -bf 3 -x264-params b-pyramid=normal",
        ),
        (
            "open groups",
            VideoCodec::H264,
            "-c:v libx264 -preset veryfast -bf 2 -x264-params open-gop=1:keyint=25:min-keyint=25",
        ),
        (
            "H.265",
            VideoCodec::H265,
            "-c:v libx265 -preset ultrafast -bf 3 -x265-params log-level=none -tag:v hvc1",
        ),
    ]
    .into_iter()
    .map(|(name, codec, encode)| (name, clip(codec, encode)))
    .collect()
});

const LUMA: Output = Output { format: Format::Luma, width: 0, crop: None };

fn jpeg(width: u16) -> Output {
    Output { format: Format::Jpeg(90), width, crop: None }
}

fn unit(sample: &heldar_testcam::mp4::Sample, outputs: Vec<Output>) -> Unit {
    Unit { pts: shown(sample), hints: Hints::default(), outputs, payload: sample.payload.clone() }
}

/// How far pictures of a clip are out of order.
fn depth(clip: &Clip) -> u8 {
    let later =
        |(at, sample)| clip.samples[..at].iter().filter(|before| shown(before) > shown(sample)).count();
    clip.samples.iter().enumerate().map(later).max().unwrap_or(0) as u8
}

async fn whole(clip: &Clip) -> HashMap<i64, Picture> {
    let decoders = decoders(1);
    let params = &clip.params;
    let (feed, mut answers) = decoders.open(params.codec, depth(clip), &params.config).await.expect("open");
    let send = async {
        for sample in &clip.samples {
            feed.unit(unit(sample, vec![LUMA])).await.expect("sent");
        }
        feed.flush(7).await.expect("flushed");
    };
    let receive = async {
        let mut pictures = HashMap::new();
        loop {
            match answers.recv().await.0 {
                Reply::Picture(picture) => drop(pictures.insert(picture.pts, picture)),
                Reply::Flushed(7) => return pictures,
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::join!(send, receive).1
}

#[tokio::test]
async fn every_picture_is_what_ffmpeg_decodes() {
    for (name, clip) in CLIPS.iter() {
        let expected = clip.luma_by_ffmpeg();
        let pictures = whole(clip).await;
        assert_eq!(pictures.len(), clip.samples.len(), "{name}");
        for sample in &clip.samples {
            let picture = &pictures[&shown(sample)];
            assert_eq!((picture.width, picture.height), (WIDTH as u16, HEIGHT as u16));
            assert!(
                picture.images[0].data == expected[clip.order(sample)],
                "{name}: picture {}",
                clip.order(sample)
            );
        }
    }
}

#[tokio::test]
async fn one_picture_out_of_the_middle_is_exact() {
    for (name, clip) in CLIPS.iter() {
        let decoders = decoders(1);
        let expected = clip.luma_by_ffmpeg();
        let sync = clip.samples.iter().rposition(|sample| sample.sync).expect("a sync sample");
        for target in [sync, sync + 1, sync + 7, clip.samples.len() - 1] {
            let sample = &clip.samples[target];
            let units: Vec<(i64, Bytes)> = clip.samples[sync..=target]
                .iter()
                .map(|sample| (shown(sample), sample.payload.clone()))
                .collect();
            // Pictures shown before an open group need the group before it.
            if shown(sample) < shown(&clip.samples[sync]) {
                continue;
            }
            let made = still(&decoders, &clip.params, depth(clip), units, shown(sample), vec![LUMA]).await;
            let picture = made.expect("a picture");
            assert_eq!(picture.pts, shown(sample));
            assert!(picture.images[0].data == expected[clip.order(sample)], "{name}: picture {target}");
        }
        assert_eq!(decoders.running(), 1, "{name}: one process served them all");
    }
}

#[tokio::test]
async fn sync_samples_alone_come_out_at_once() {
    for (name, clip) in CLIPS.iter() {
        let decoders = decoders(1);
        let params = &clip.params;
        let expected = clip.luma_by_ffmpeg();
        let (feed, mut answers) =
            decoders.open(params.codec, depth(clip), &params.config).await.expect("open");
        for sample in clip.samples.iter().filter(|sample| sample.sync) {
            let hints = Hints { alone: true, skip_unreferenced: false };
            feed.unit(Unit { hints, ..unit(sample, vec![LUMA]) }).await.expect("sent");
            let Reply::Picture(picture) = answers.recv().await.0 else { panic!("{name}: no picture") };
            assert!(picture.images[0].data == expected[clip.order(sample)], "{name}");
        }
    }
}

#[tokio::test]
async fn jpegs_have_the_size_the_part_and_the_colours_that_were_asked_for() {
    let (_, clip) = &CLIPS[0];
    let decoders = decoders(1);
    let sample = &clip.samples[0];
    let crop = Crop { x: 0.25, y: 0.5, w: 0.25, h: 0.25 };
    let outputs =
        vec![jpeg(0), jpeg(160), Output { crop: Some(crop), ..jpeg(0) }, Output { width: 100, ..LUMA }];
    let units = vec![(0, sample.payload.clone())];
    let picture = still(&decoders, &clip.params, 0, units, 0, outputs).await.expect("a picture");
    let size = |at: usize| (picture.images[at].width, picture.images[at].height);
    assert_eq!([size(0), size(1), size(2), size(3)], [(320, 180), (160, 90), (80, 46), (100, 56)]);
    assert_eq!(picture.images[3].data.len(), 5600);
    let whole = rgb(&picture.images[0].data);
    let by_ffmpeg = clip::first_picture_rgb(clip);
    let off = difference(&whole, &by_ffmpeg);
    assert!(off < 4.0, "colours are off by {off}");
    let shown = picture.images[2].crop.expect("a part");
    let (left, top) = ((shown.x * 320.0).round() as usize, (shown.y * 180.0).round() as usize);
    let part = rgb(&picture.images[2].data);
    let rows = (0..46).flat_map(|row| {
        let from = ((top + row) * 320 + left) * 3;
        by_ffmpeg[from..from + 80 * 3].to_vec()
    });
    let off = difference(&part, &rows.collect::<Vec<u8>>());
    assert!(off < 4.0, "the part is off by {off}");
}

#[tokio::test]
async fn planes_become_a_jpeg_and_wrong_ones_are_told() {
    let decoders = decoders(1);
    let (_, clip) = &CLIPS[0];
    let units = vec![(0, clip.samples[0].payload.clone())];
    let planar = Output { format: Format::Planar, width: 160, crop: None };
    let picture =
        still(&decoders, &clip.params, 0, units, 0, vec![planar, jpeg(160)]).await.expect("a picture");
    let planes = &picture.images[0].data;
    assert_eq!(planes.len(), 160 * 90 * 3 / 2);
    let made = decoders.encode((160, 90), 90, planes).await.expect("a JPEG");
    assert!(made == picture.images[1].data, "the same planes give the same bytes");
    let refused = decoders.encode((160, 92), 90, planes).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("another size")));
}
