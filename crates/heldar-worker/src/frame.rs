//! What a handler is given: one sampled picture of one task.
//!
//! Owns: the picture with its capture time, and its decoding, which happens when asked for: a handler that only forwards
//! bytes pays nothing. Never: a network call.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::task::Task;

/// Widest and highest picture that is decoded, pixels; servers send at most 3840 wide ones.
#[cfg(feature = "decode")]
const LARGEST_SIDE: usize = 8192;

/// The picture is no whole JPEG, or one beyond 8192 pixels a side. A handler passes it on by `?`; the frame is then skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenFrame(String);

impl fmt::Display for BrokenFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the picture cannot be decoded: {}", self.0)
    }
}

impl std::error::Error for BrokenFrame {}

/// One sampled picture and where it comes from.
pub struct Frame {
    pub(crate) task: Arc<Task>,
    pub(crate) jpeg: Vec<u8>,
    /// As the server wrote it; results carry it back unchanged.
    pub(crate) captured_at_text: String,
    pub(crate) captured_at: SystemTime,
    pub(crate) age_at_receipt: Duration,
    pub(crate) received: Instant,
    pub(crate) seq: Option<u64>,
    pub(crate) skipped: u64,
    pub(crate) ticket: Option<String>,
    pub(crate) size: Option<(u32, u32)>,
}

impl Frame {
    /// A frame of your own, to test a handler with: not from a server, without number and ticket, and new at this moment.
    pub fn from_jpeg(task: Task, jpeg: Vec<u8>, captured_at: SystemTime) -> Self {
        // Beyond the years that have a text there is no frame; the epoch stands for them.
        let captured = jiff::Timestamp::try_from(captured_at).unwrap_or_default();
        Self {
            task: Arc::new(task),
            jpeg,
            captured_at_text: captured.to_string(),
            captured_at,
            age_at_receipt: Duration::ZERO,
            received: Instant::now(),
            seq: None,
            skipped: 0,
            ticket: None,
            size: None,
        }
    }

    /// The task it was pulled for.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The camera that took it.
    pub fn camera_id(&self) -> &str {
        &self.task.camera_id
    }

    /// The picture as sent.
    pub fn jpeg(&self) -> &[u8] {
        &self.jpeg
    }

    /// When the camera took it; milliseconds count.
    pub fn captured_at(&self) -> SystemTime {
        self.captured_at
    }

    /// How long ago that was, now. Counted from receipt where the server does not tell.
    pub fn age(&self) -> Duration {
        self.age_at_receipt.saturating_add(self.received.elapsed())
    }

    /// Number of the picture, rising with every picture of its stream; absent on old servers.
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// Pictures of this task since the frame before that were passed over, because the worker was busy.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Width and height in pixels, without decoding.
    ///
    /// # Errors
    /// The server does not tell, and the picture is no JPEG.
    pub fn size(&self) -> Result<(u32, u32), BrokenFrame> {
        self.size
            .or_else(|| jpeg_size(&self.jpeg))
            .ok_or_else(|| BrokenFrame("it has no JPEG frame header".to_owned()))
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.age() > self.task.stale_after()
    }
}

impl fmt::Debug for Frame {
    // The ticket is a right to post and has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("task", &self.task.id)
            .field("seq", &self.seq)
            .field("captured_at", &self.captured_at_text)
            .field("bytes", &self.jpeg.len())
            .finish_non_exhaustive()
    }
}

/// Rows of pixels from the top, each row from the left, without padding.
#[cfg(feature = "decode")]
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes a pixel: 3 (red, green, blue) or 1 (grey).
    pub channels: u32,
    /// `width * height * channels` bytes.
    pub pixels: Vec<u8>,
}

#[cfg(feature = "decode")]
impl Picture {
    /// The rows from the top, `width * channels` bytes each.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pixels.chunks_exact((self.width * self.channels).max(1) as usize)
    }
}

#[cfg(feature = "decode")]
impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{}x{})", self.width, self.height, self.channels)
    }
}

#[cfg(feature = "decode")]
impl Frame {
    /// The picture, three bytes a pixel: red, green, blue. It is decoded anew with each call.
    ///
    /// # Errors
    /// It is no whole JPEG.
    pub fn rgb(&self) -> Result<Picture, BrokenFrame> {
        self.decode(zune_jpeg::zune_core::colorspace::ColorSpace::RGB, 3)
    }

    /// The picture, one byte of brightness a pixel; quicker than [`Frame::rgb`]. It is decoded anew with each call.
    ///
    /// # Errors
    /// It is no whole JPEG.
    pub fn grey(&self) -> Result<Picture, BrokenFrame> {
        self.decode(zune_jpeg::zune_core::colorspace::ColorSpace::Luma, 1)
    }

    fn decode(
        &self,
        form: zune_jpeg::zune_core::colorspace::ColorSpace,
        channels: u32,
    ) -> Result<Picture, BrokenFrame> {
        use zune_jpeg::zune_core::bytestream::ZCursor;
        use zune_jpeg::zune_core::options::DecoderOptions;
        // Strict: half a picture would be grey below, and grey is a finding to many a model.
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(LARGEST_SIDE)
            .set_max_height(LARGEST_SIDE)
            .jpeg_set_out_colorspace(form);
        let mut decoder =
            zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(self.jpeg.as_slice()), options);
        let pixels = decoder.decode().map_err(|error| BrokenFrame(format!("{error:?}")))?;
        let info = decoder.info().ok_or_else(|| BrokenFrame("it has no JPEG frame header".to_owned()))?;
        let (width, height) = (u32::from(info.width), u32::from(info.height));
        if pixels.len() as u64 != u64::from(width) * u64::from(height) * u64::from(channels) {
            return Err(BrokenFrame("its colours have an unknown form".to_owned()));
        }
        Ok(Picture { width, height, channels, pixels })
    }
}

/// Width and height from the frame header (ITU-T T.81 B.2.2).
fn jpeg_size(jpeg: &[u8]) -> Option<(u32, u32)> {
    let mut rest = jpeg.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let [0xff, marker, after @ ..] = rest else { return None };
        match marker {
            // Any number of fill bytes may stand before a marker (B.1.1.2).
            0xff => rest = &rest[1..],
            // Start of frame, whatever the process; C4, C8 and CC are something else.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let [_, _, _, h1, h2, w1, w2, ..] = after else { return None };
                let (width, height) = (u16::from_be_bytes([*w1, *w2]), u16::from_be_bytes([*h1, *h2]));
                return (width > 0 && height > 0).then_some((width.into(), height.into()));
            }
            // Scan data before a frame header, or the end.
            0xd8..=0xda => return None,
            _ => {
                let [l1, l2, ..] = after else { return None };
                rest = after.get(usize::from(u16::from_be_bytes([*l1, *l2])).max(2)..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::tests::task;
    use proptest::prelude::*;
    use serde_json::json;

    /// 48 x 32, left half dark, right half red.
    const HALVES: &[u8] = include_bytes!("../tests/data/halves.jpg");

    fn frame(jpeg: &[u8]) -> Frame {
        Frame::from_jpeg(task(json!({})).unwrap(), jpeg.to_vec(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn the_size_is_known_without_decoding() {
        assert_eq!(frame(HALVES).size(), Ok((48, 32)));
        assert!(frame(b"\xff\xd8no picture").size().is_err());
        assert!(frame(b"").size().is_err());
    }

    #[test]
    fn age_goes_on_after_receipt() {
        let mut old = frame(HALVES);
        assert!(!old.is_stale());
        old.age_at_receipt = Duration::from_millis(2001);
        assert!(old.is_stale() && old.age() >= Duration::from_millis(2001));
        old.task = Arc::new(task(json!({"fps": 0.5})).unwrap());
        assert!(!old.is_stale());
    }

    #[test]
    fn a_ticket_is_not_shown() {
        let mut ticketed = frame(HALVES);
        ticketed.ticket = Some("f1.ai_1.0.0.signature".to_owned());
        let shown = format!("{ticketed:?}");
        assert!(shown.contains("ai_1") && !shown.contains("signature"), "{shown}");
    }

    #[cfg(feature = "decode")]
    #[test]
    fn pictures_come_in_both_forms() {
        let rgb = frame(HALVES).rgb().unwrap();
        assert_eq!((rgb.width, rgb.height, rgb.channels, rgb.rows().len()), (48, 32, 3, 32));
        let row = rgb.rows().nth(16).unwrap();
        assert!(row[..3].iter().all(|level| *level < 20), "{:?}", &row[..3]);
        let red = &row[47 * 3..];
        assert!(red[0] > 200 && red[1] < 40 && red[2] < 40, "{red:?}");
        let grey = frame(HALVES).grey().unwrap();
        assert_eq!((grey.channels, grey.pixels.len()), (1, 48 * 32));
        let row = grey.rows().nth(16).unwrap();
        assert!(row[0] < 20 && (60..100).contains(&row[47]), "{row:?}");
    }

    #[cfg(feature = "decode")]
    #[test]
    fn half_a_picture_is_none() {
        assert!(frame(&HALVES[..HALVES.len() - 40]).rgb().is_err());
        assert!(frame(&HALVES[..HALVES.len() / 3]).rgb().is_err());
        let told = frame(b"\xff\xd8no picture").grey().unwrap_err().to_string();
        assert!(told.starts_with("the picture cannot be decoded: "), "{told}");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_wild(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..600) {
            let _ = jpeg_size(&bytes);
            let mut damaged = HALVES[..cut.min(HALVES.len())].to_vec();
            damaged.extend(&bytes);
            let _ = frame(&damaged).size();
            #[cfg(feature = "decode")]
            let _ = frame(&damaged).rgb();
        }
    }
}
