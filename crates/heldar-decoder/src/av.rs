//! libav behind safe types: a decoder, a decoded picture, a scaler. The only other unsafe code is in `jpeg`.

use std::ffi::c_int;
use std::ptr;
use std::slice;

use ffi::{AVCodecID, AVDiscard, AVPixelFormat};
use ffmpeg_sys_next as ffi;
use heldar_media::VideoCodec;

/// Side of a picture at most, in pixels.
const MAX_SIDE: c_int = 16_384;

/// Keeps libav from writing to standard error.
pub(crate) fn silence() {
    // SAFETY: sets one integer.
    unsafe { ffi::av_log_set_level(ffi::AV_LOG_QUIET) };
}

/// A decoder of one stream.
pub(crate) struct Decoder {
    context: *mut ffi::AVCodecContext,
    packet: *mut ffi::AVPacket,
}

/// Whether all pictures are decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    Nothing,
    /// Those that no other refers to.
    Unreferenced,
}

impl Decoder {
    /// A decoder for a stream whose `avcC` or `hvcC` is given.
    pub(crate) fn open(codec: VideoCodec, reorder_depth: u8, config: &[u8]) -> Result<Self, String> {
        let id = match codec {
            VideoCodec::H264 => AVCodecID::AV_CODEC_ID_H264,
            VideoCodec::H265 => AVCodecID::AV_CODEC_ID_HEVC,
        };
        let padding = ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        let extra_len =
            c_int::try_from(config.len()).map_err(|_long| "parameter sets are too long".to_owned())?;
        // SAFETY: every pointer is checked before it is used; the extra data is allocated with the padding that libav asks
        // for and belongs to the context from then on; `Drop` frees what was made, whatever fails.
        unsafe {
            let found = ffi::avcodec_find_decoder(id);
            if found.is_null() {
                return Err(format!("libav has no decoder for {}", codec.as_str()));
            }
            let decoder =
                Decoder { context: ffi::avcodec_alloc_context3(found), packet: ffi::av_packet_alloc() };
            if decoder.context.is_null() || decoder.packet.is_null() {
                return Err("out of memory".to_owned());
            }
            let extra = ffi::av_mallocz(config.len() + padding).cast::<u8>();
            if extra.is_null() {
                return Err("out of memory".to_owned());
            }
            ptr::copy_nonoverlapping(config.as_ptr(), extra, config.len());
            let context = &mut *decoder.context;
            context.extradata = extra;
            context.extradata_size = extra_len;
            context.has_b_frames = c_int::from(reorder_depth.min(16));
            context.thread_count = 1;
            let status = ffi::avcodec_open2(decoder.context, found, ptr::null_mut());
            if status < 0 { Err(words(status)) } else { Ok(decoder) }
        }
    }

    /// Sends one coded picture; [`Decoder::receive`] must be called until it gives none.
    pub(crate) fn send(&mut self, payload: &[u8], pts: i64, skip: Skip) -> Result<(), String> {
        let len = c_int::try_from(payload.len()).map_err(|_long| "an access unit is too long".to_owned())?;
        // SAFETY: the packet is ours and is allocated with its padding before the payload is copied into it.
        unsafe {
            (*self.context).skip_frame = match skip {
                Skip::Nothing => AVDiscard::AVDISCARD_DEFAULT,
                Skip::Unreferenced => AVDiscard::AVDISCARD_NONREF,
            };
            let status = ffi::av_new_packet(self.packet, len);
            if status < 0 {
                return Err(words(status));
            }
            ptr::copy_nonoverlapping(payload.as_ptr(), (*self.packet).data, payload.len());
            (*self.packet).pts = pts;
            let status = ffi::avcodec_send_packet(self.context, self.packet);
            ffi::av_packet_unref(self.packet);
            if status < 0 { Err(words(status)) } else { Ok(()) }
        }
    }

    /// Says that nothing follows.
    pub(crate) fn drain(&mut self) {
        // SAFETY: a null packet asks for what is left; a decoder that drains already says so and nothing else happens.
        let _status = unsafe { ffi::avcodec_send_packet(self.context, ptr::null()) };
    }

    /// Forgets everything; the next picture must be a sync sample.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the context is open.
        unsafe { ffi::avcodec_flush_buffers(self.context) };
    }

    /// The next decoded picture, if one is ready.
    pub(crate) fn receive(&mut self) -> Option<Result<Picture, String>> {
        let picture = Picture::empty()?;
        // SAFETY: both pointers are valid; the frame is filled on success only.
        let status = unsafe { ffi::avcodec_receive_frame(self.context, picture.frame) };
        if status == ffi::AVERROR(ffi::EAGAIN) || status == ffi::AVERROR_EOF {
            return None;
        }
        Some(if status < 0 { Err(words(status)) } else { Ok(picture) })
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: both take a pointer to a pointer that may hold null, and free what is there once.
        unsafe {
            ffi::avcodec_free_context(&raw mut self.context);
            ffi::av_packet_free(&raw mut self.packet);
        }
    }
}

fn words(status: c_int) -> String {
    let mut buffer = [0u8; 128];
    // SAFETY: the buffer is as long as is said, and ends in a zero after the call.
    unsafe { ffi::av_strerror(status, buffer.as_mut_ptr().cast(), buffer.len()) };
    let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..end]).into_owned()
}

/// A decoded picture.
pub(crate) struct Picture {
    frame: *mut ffi::AVFrame,
}

impl Picture {
    fn empty() -> Option<Self> {
        // SAFETY: allocates or gives null.
        let frame = unsafe { ffi::av_frame_alloc() };
        (!frame.is_null()).then_some(Picture { frame })
    }

    fn raw(&self) -> &ffi::AVFrame {
        // SAFETY: never null, and ours as long as `self` lives.
        unsafe { &*self.frame }
    }

    pub(crate) fn pts(&self) -> i64 {
        self.raw().pts
    }

    /// Some of it could not be decoded.
    pub(crate) fn is_corrupt(&self) -> bool {
        let frame = self.raw();
        frame.flags & ffi::AV_FRAME_FLAG_CORRUPT as c_int != 0 || frame.decode_error_flags != 0
    }

    /// Width and height, each within 1 to 16384; none of a picture that is not so.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        let frame = self.raw();
        let side = |side: c_int| u16::try_from(side).ok().filter(|_| (1..=MAX_SIDE).contains(&side));
        Some((side(frame.width)?, side(frame.height)?))
    }

    /// Whether its levels are those of JPEG already.
    pub(crate) fn is_full_range(&self) -> bool {
        let frame = self.raw();
        let jpeg_formats = [AVPixelFormat::AV_PIX_FMT_YUVJ420P, AVPixelFormat::AV_PIX_FMT_YUVJ422P];
        frame.color_range == ffi::AVColorRange::AVCOL_RANGE_JPEG
            || jpeg_formats.iter().any(|format| *format as c_int == frame.format)
            || frame.format == AVPixelFormat::AV_PIX_FMT_YUVJ444P as c_int
    }

    /// Its planes where they are 8 bit with colour at half the resolution, the layout that everything here works in.
    pub(crate) fn planes(&self) -> Option<([&[u8]; 3], [usize; 3])> {
        let frame = self.raw();
        let planar = [AVPixelFormat::AV_PIX_FMT_YUV420P, AVPixelFormat::AV_PIX_FMT_YUVJ420P];
        if !planar.iter().any(|format| *format as c_int == frame.format) {
            return None;
        }
        let (width, height) = self.size()?;
        let (width, height) = (usize::from(width), usize::from(height));
        let mut planes: [&[u8]; 3] = [&[]; 3];
        let mut strides = [0; 3];
        for at in 0..3 {
            let (columns, rows) =
                if at == 0 { (width, height) } else { (width.div_ceil(2), height.div_ceil(2)) };
            let stride = usize::try_from(frame.linesize[at]).ok().filter(|stride| *stride >= columns)?;
            if frame.data[at].is_null() {
                return None;
            }
            // SAFETY: a decoded plane holds `rows` rows of `stride` bytes each, the last at least its columns.
            planes[at] = unsafe { slice::from_raw_parts(frame.data[at], (rows - 1) * stride + columns) };
            strides[at] = stride;
        }
        Some((planes, strides))
    }

    /// The part within these pixels, sharing its bytes; the edges must be even.
    pub(crate) fn part(&self, x: u16, y: u16, width: u16, height: u16) -> Option<Picture> {
        let (full_width, full_height) = self.size()?;
        let right = full_width.checked_sub(x.checked_add(width)?)?;
        let bottom = full_height.checked_sub(y.checked_add(height)?)?;
        // SAFETY: the clone holds a reference of its own to the bytes; the margins were checked to leave something.
        unsafe {
            let frame = ffi::av_frame_clone(self.frame);
            if frame.is_null() {
                return None;
            }
            let part = Picture { frame };
            let raw = &mut *part.frame;
            (raw.crop_left, raw.crop_top) = (x.into(), y.into());
            (raw.crop_right, raw.crop_bottom) = (right.into(), bottom.into());
            let status = ffi::av_frame_apply_cropping(part.frame, ffi::AV_FRAME_CROP_UNALIGNED as c_int);
            (status >= 0).then_some(part)
        }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: frees the frame once, with its reference to the bytes.
        unsafe { ffi::av_frame_free(&raw mut self.frame) };
    }
}

/// A scaler from pictures of one size and format to planes of another size.
pub(crate) struct Scaler {
    context: *mut ffi::SwsContext,
    source: (u16, u16, c_int),
    target: Target,
}

/// What a scaler makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Luma alone.
    pub(crate) luma: bool,
}

impl Target {
    /// Bytes of each plane, rows packed without padding.
    pub(crate) fn plane_lens(&self) -> [usize; 3] {
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let chroma = if self.luma { 0 } else { width.div_ceil(2) * height.div_ceil(2) };
        [width * height, chroma, chroma]
    }

    pub(crate) fn strides(&self) -> [usize; 3] {
        let width = usize::from(self.width);
        let chroma = if self.luma { 0 } else { width.div_ceil(2) };
        [width, chroma, chroma]
    }
}

impl Scaler {
    /// Whether it fits a picture and a target.
    pub(crate) fn fits(&self, picture: &Picture, target: Target) -> bool {
        picture.size().is_some_and(|(w, h)| self.source == (w, h, source_format(picture, target)))
            && self.target == target
    }

    /// A scaler from pictures like this one.
    pub(crate) fn new(picture: &Picture, target: Target) -> Result<Self, String> {
        let (width, height) = picture.size().ok_or("a picture without size")?;
        let format = source_format(picture, target);
        let source = pixel_format(format).ok_or("a picture of unknown form")?;
        let wanted =
            if target.luma { AVPixelFormat::AV_PIX_FMT_GRAY8 } else { AVPixelFormat::AV_PIX_FMT_YUV420P };
        // SAFETY: sizes are those of a decoded picture and of a target between 1 and 16384; gives a context or null.
        let context = unsafe {
            ffi::sws_getContext(
                width.into(),
                height.into(),
                source,
                target.width.into(),
                target.height.into(),
                wanted,
                ffi::SWS_BILINEAR as c_int,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if context.is_null() {
            return Err("a picture of a form that cannot be scaled".to_owned());
        }
        Ok(Scaler { context, source: (width, height, format), target })
    }

    /// Scales a picture that it fits into planes of the target's lengths.
    pub(crate) fn scale(&mut self, picture: &Picture, planes: &mut [Vec<u8>; 3]) -> Result<(), String> {
        if !self.fits(picture, self.target) {
            return Err("a picture of another form".to_owned());
        }
        let frame = picture.raw();
        let strides = self.target.strides();
        let mut data = [ptr::null_mut(); 4];
        let mut linesize = [0; 4];
        for (at, len) in self.target.plane_lens().into_iter().enumerate() {
            planes[at].resize(len, 0);
            data[at] = planes[at].as_mut_ptr();
            linesize[at] = c_int::try_from(strides[at]).unwrap_or(0);
        }
        // SAFETY: the source is a decoded picture of the size and format of the context, the target planes have been made as
        // long as their size asks for.
        let rows = unsafe {
            ffi::sws_scale(
                self.context,
                frame.data.as_ptr().cast(),
                frame.linesize.as_ptr(),
                0,
                frame.height,
                data.as_ptr(),
                linesize.as_ptr(),
            )
        };
        if rows == c_int::from(self.target.height) {
            Ok(())
        } else {
            Err("a picture could not be scaled".to_owned())
        }
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: frees the context once.
        unsafe { ffi::sws_freeContext(self.context) };
    }
}

/// The source format for a target: of 8-bit planar pictures only the first plane is read where luma is all that is wanted.
fn source_format(picture: &Picture, target: Target) -> c_int {
    let format = picture.raw().format;
    if target.luma && picture.planes().is_some() {
        return AVPixelFormat::AV_PIX_FMT_GRAY8 as c_int;
    }
    // Levels are spread after scaling, by `range`, so that both spellings of the format are one here.
    if format == AVPixelFormat::AV_PIX_FMT_YUVJ420P as c_int {
        AVPixelFormat::AV_PIX_FMT_YUV420P as c_int
    } else {
        format
    }
}

/// The formats that decoders of H.264 and H.265 give.
fn pixel_format(format: c_int) -> Option<AVPixelFormat> {
    use AVPixelFormat::*;
    [
        AV_PIX_FMT_YUV420P,
        AV_PIX_FMT_GRAY8,
        AV_PIX_FMT_YUV422P,
        AV_PIX_FMT_YUVJ422P,
        AV_PIX_FMT_YUV444P,
        AV_PIX_FMT_YUVJ444P,
        AV_PIX_FMT_YUV420P10LE,
        AV_PIX_FMT_YUV422P10LE,
        AV_PIX_FMT_YUV444P10LE,
        AV_PIX_FMT_YUV420P12LE,
        AV_PIX_FMT_GRAY10LE,
        AV_PIX_FMT_GRAY12LE,
        AV_PIX_FMT_GBRP,
    ]
    .into_iter()
    .find(|known| *known as c_int == format)
}
