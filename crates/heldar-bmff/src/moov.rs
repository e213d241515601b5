//! The boxes that a `moov` of either kind of file has in common.

use heldar_media::TrackParams;

use crate::{boxes::BoxWriter, entry::uneven_aspect, sample::VIDEO_TIMESCALE};

/// Unity matrix of movie and track headers (8.2.2.2).
const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

fn matrix(w: &mut BoxWriter) {
    for word in MATRIX {
        w.u32(word);
    }
}

/// `mvhd` (8.2.2) with the movie timescale 90000; dates are left at zero so that equal content has equal bytes.
pub(crate) fn mvhd(w: &mut BoxWriter, duration: u64, next_track_id: u32) {
    w.full(b"mvhd", 1, 0, |w| {
        w.zeros(16);
        w.u32(VIDEO_TIMESCALE);
        w.u64(duration);
        w.u32(0x0001_0000); // rate
        w.u16(0x0100); // volume
        w.zeros(10);
        matrix(w);
        w.zeros(24);
        w.u32(next_track_id);
    });
}

/// `tkhd` (8.3.2); the duration is in the movie timescale.
pub(crate) fn tkhd(w: &mut BoxWriter, id: u32, params: &TrackParams, duration: u64) {
    // Enabled, in the movie, in the preview.
    w.full(b"tkhd", 1, 7, |w| {
        w.zeros(16);
        w.u32(id);
        w.u32(0);
        w.u64(duration);
        w.zeros(8);
        w.u16(0); // layer
        w.u16(0); // alternate_group
        w.u16(if params.audio().is_some() { 0x0100 } else { 0 });
        w.u16(0);
        matrix(w);
        let (width, height) = presented_size(params);
        w.u32(width);
        w.u32(height);
    });
}

/// Presented width and height in 16.16, zero for audio; an uneven pixel aspect widens the picture.
fn presented_size(params: &TrackParams) -> (u32, u32) {
    let TrackParams::Video(video) = params else {
        return (0, 0);
    };
    let fixed = |pixels: u64| u32::try_from(pixels << 16).unwrap_or(u32::MAX);
    let (horizontal, vertical) = uneven_aspect(video).unwrap_or((1, 1));
    let width = (u64::from(video.width.min(0xffff)) << 16) * u64::from(horizontal) / u64::from(vertical);
    (u32::try_from(width).unwrap_or(u32::MAX), fixed(u64::from(video.height.min(0xffff))))
}

/// `mdia` (8.4.1) around the `stbl` that `sample_table` writes.
pub(crate) fn mdia(
    w: &mut BoxWriter,
    params: &TrackParams,
    timescale: u32,
    duration: u64,
    sample_table: impl FnOnce(&mut BoxWriter),
) {
    w.boxed(b"mdia", |w| {
        w.full(b"mdhd", 1, 0, |w| {
            w.zeros(16);
            w.u32(timescale);
            w.u64(duration);
            w.u16(0x55c4); // language "und"
            w.u16(0);
        });
        let (handler, name): (&[u8; 4], &[u8]) = match params {
            TrackParams::Video(_) => (b"vide", b"video\0"),
            TrackParams::Audio(_) => (b"soun", b"sound\0"),
        };
        w.full(b"hdlr", 0, 0, |w| {
            w.u32(0);
            w.bytes(handler);
            w.zeros(12);
            w.bytes(name);
        });
        w.boxed(b"minf", |w| {
            match params {
                TrackParams::Video(_) => w.full(b"vmhd", 0, 1, |w| w.zeros(8)),
                TrackParams::Audio(_) => w.full(b"smhd", 0, 0, |w| w.zeros(4)),
            }
            w.boxed(b"dinf", |w| {
                w.full(b"dref", 0, 0, |w| {
                    w.u32(1);
                    // The media data is in this file.
                    w.full(b"url ", 0, 1, |_| {});
                });
            });
            w.boxed(b"stbl", sample_table);
        });
    });
}

/// `stsd` (8.5.2) of these sample entries.
pub(crate) fn stsd<E: AsRef<[u8]>>(w: &mut BoxWriter, entries: &[E]) {
    w.full(b"stsd", 0, 0, |w| {
        w.u32(entries.len() as u32);
        for entry in entries {
            w.bytes(entry.as_ref());
        }
    });
}
