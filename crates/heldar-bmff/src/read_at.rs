//! Where bytes are read from.

use std::io;

use crate::error::{Error, malformed};

/// Bytes that can be read at any place, such as a file.
pub trait ReadAt {
    /// Reads into `buf` from `offset` on and says how many bytes were read; 0 only at the end or for an empty `buf`.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// How many bytes there are.
    ///
    /// # Errors
    /// Whatever the file system reports.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let tail = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = tail.len().min(buf.len());
        buf[..count].copy_from_slice(&tail[..count]);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }
}

/// Fills as much of `buf` as there is from `offset` on and says how much that was.
pub(crate) fn fill(from: &(impl ReadAt + ?Sized), offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
    let mut done = 0;
    while done < buf.len() {
        match from.read_at(offset.saturating_add(done as u64), &mut buf[done..]) {
            Ok(0) => break,
            // A reader that claims more than was asked for is not believed.
            Ok(count) => done = (done + count).min(buf.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// The `len` bytes at `offset`; all of them, or an error.
pub(crate) fn exact(from: &(impl ReadAt + ?Sized), offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    let mut buf = vec![0; len];
    if fill(from, offset, &mut buf)? < len {
        return Err(malformed("file ends early", offset));
    }
    Ok(buf)
}
