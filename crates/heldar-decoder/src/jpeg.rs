//! JPEG by libturbojpeg: the few functions of its C interface that are needed.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_ulong, c_void};
use std::ptr;

/// 4:2:0 (`TJSAMP_420`).
const SAMPLING_420: c_int = 2;
/// The buffer is ours and is not to be exchanged (`TJFLAG_NOREALLOC`).
const NO_REALLOC: c_int = 1024;

// SAFETY: declared as in turbojpeg.h of version 2.1, and the same since 1.4.
unsafe extern "C" {
    fn tjInitCompress() -> *mut c_void;
    fn tjDestroy(handle: *mut c_void) -> c_int;
    fn tjBufSize(width: c_int, height: c_int, sampling: c_int) -> c_ulong;
    fn tjGetErrorStr2(handle: *mut c_void) -> *mut c_char;
    fn tjCompressFromYUVPlanes(
        handle: *mut c_void,
        planes: *const *const c_uchar,
        width: c_int,
        strides: *const c_int,
        height: c_int,
        sampling: c_int,
        jpeg: *mut *mut c_uchar,
        jpeg_len: *mut c_ulong,
        quality: c_int,
        flags: c_int,
    ) -> c_int;
}

/// A picture that can be encoded: full range, colour at half the resolution both ways.
pub(crate) struct Planes<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Luma, then both colours.
    pub(crate) planes: [&'a [u8]; 3],
    /// Bytes from row to row.
    pub(crate) strides: [usize; 3],
}

/// An encoder.
pub(crate) struct Encoder {
    handle: *mut c_void,
    buffer: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new() -> Result<Self, String> {
        // SAFETY: takes nothing, gives a handle or null.
        let handle = unsafe { tjInitCompress() };
        if handle.is_null() {
            Err("no JPEG encoder".to_owned())
        } else {
            Ok(Encoder { handle, buffer: Vec::new() })
        }
    }

    /// The picture as JPEG of this quality, 1 to 100.
    pub(crate) fn encode(&mut self, picture: &Planes<'_>, quality: u8) -> Result<Vec<u8>, String> {
        let rows = [picture.height, picture.height.div_ceil(2), picture.height.div_ceil(2)];
        let columns = [picture.width, picture.width.div_ceil(2), picture.width.div_ceil(2)];
        for at in 0..3 {
            let need = (rows[at].max(1) - 1) * picture.strides[at] + columns[at];
            if picture.planes[at].len() < need || picture.strides[at] < columns[at] || rows[at] == 0 {
                return Err("a plane is too short".to_owned());
            }
        }
        let int = |value: usize| c_int::try_from(value).map_err(|_large| "a picture is too large".to_owned());
        let (width, height) = (int(picture.width)?, int(picture.height)?);
        let strides = [int(picture.strides[0])?, int(picture.strides[1])?, int(picture.strides[2])?];
        let planes = picture.planes.map(<[u8]>::as_ptr);
        // SAFETY: plain arithmetic of the library; -1 for what it cannot encode.
        let most = unsafe { tjBufSize(width, height, SAMPLING_420) };
        let most = usize::try_from(most).ok().filter(|most| *most <= 1 << 30);
        let most = most.ok_or_else(|| "a picture is too large".to_owned())?;
        if self.buffer.len() < most {
            self.buffer.resize(most, 0);
        }
        let mut jpeg = self.buffer.as_mut_ptr();
        let mut len = self.buffer.len() as c_ulong;
        // SAFETY: the planes have been checked to hold what their strides and the size promise; the buffer is as long as the
        // library asks for and stays ours.
        let failed = unsafe {
            tjCompressFromYUVPlanes(
                self.handle,
                planes.as_ptr(),
                width,
                strides.as_ptr(),
                height,
                SAMPLING_420,
                ptr::from_mut(&mut jpeg),
                ptr::from_mut(&mut len),
                c_int::from(quality.clamp(1, 100)),
                NO_REALLOC,
            )
        } != 0;
        if failed {
            // SAFETY: a string of the handle that lives until its next call.
            let why = unsafe { CStr::from_ptr(tjGetErrorStr2(self.handle)) };
            return Err(why.to_string_lossy().into_owned());
        }
        let len = usize::try_from(len).unwrap_or(0).min(self.buffer.len());
        Ok(self.buffer[..len].to_vec())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from `tjInitCompress` and is not used after.
        let _status = unsafe { tjDestroy(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_becomes_a_jpeg_and_a_wrong_one_an_error() {
        let mut encoder = Encoder::new().expect("an encoder");
        let (luma, chroma) = (vec![90; 64 * 36], vec![128; 32 * 18]);
        let picture =
            |luma| Planes { width: 64, height: 36, planes: [luma, &chroma, &chroma], strides: [64, 32, 32] };
        let jpeg = encoder.encode(&picture(&luma), 85).expect("a JPEG");
        assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]), "{} bytes", jpeg.len());
        assert!(encoder.encode(&picture(&luma[..64 * 35]), 85).is_err());
        let nothing = Planes { width: 0, height: 0, planes: [&[], &[], &[]], strides: [0, 0, 0] };
        assert!(encoder.encode(&nothing, 85).is_err());
    }
}
