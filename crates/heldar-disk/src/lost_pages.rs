//! Fragments whose bytes a power cut has taken, although their file is long enough.
//!
//! What was not synced comes back page by page: the length of a file and some of its pages may have survived, and the
//! pages between them read as zeros. The header of a fragment tells nothing of that. But no fragment has a whole page of
//! zeros, nor ends with one: NAL units hold no three zero bytes in a row and do not end with one (ITU-T H.264 7.4.1,
//! H.265 7.4.2), and coded audio frames are shorter than a page.
//!
//! Owns: the search for such pages. Never: a decision about what becomes of them.

use std::io;
use std::ops::Range;

use heldar_bmff::FragmentIndex;

use crate::DiskFile;

/// Granularity in which file systems keep or lose what was written.
const PAGE: usize = 4096;
/// How much is read at a time; a multiple of [`PAGE`].
const STEP: usize = 64 * PAGE;

/// The first fragment of which a page is missing.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn first_with_lost_page(file: &dyn DiskFile, index: &FragmentIndex) -> io::Result<Option<usize>> {
    for number in 0..index.entries().len() {
        if let Some(bytes) = index.byte_range(number..number + 1)
            && has_lost_page(file, bytes)?
        {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn has_lost_page(file: &dyn DiskFile, bytes: Range<u64>) -> io::Result<bool> {
    let mut buf = vec![0; STEP];
    let mut at = bytes.start;
    while at < bytes.end {
        // Up to the end of a page, so that every page is looked at whole.
        let into_page = usize::try_from(at % PAGE as u64).unwrap_or(0);
        let wanted = usize::try_from(bytes.end - at).unwrap_or(usize::MAX).min(STEP - into_page);
        let read = &mut buf[..wanted];
        if !fill(file, at, read)? {
            return Ok(true);
        }
        let (first, rest) = read.split_at((PAGE - into_page).min(wanted));
        // A fragment begins with its size, which is not zero in four bytes.
        let telling = at > bytes.start || first.len() >= 4;
        if (telling && is_zero(first)) || rest.chunks(PAGE).any(is_zero) {
            return Ok(true);
        }
        at += wanted as u64;
    }
    Ok(false)
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().all(|byte| *byte == 0)
}

/// Reads all of `buf`; false when the file ends before.
fn fill(file: &dyn DiskFile, at: u64, buf: &mut [u8]) -> io::Result<bool> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], at + done as u64) {
            Ok(0) => return Ok(false),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use heldar_bmff::IndexEntry;

    use super::*;

    struct Memory(Vec<u8>);

    impl DiskFile for Memory {
        fn write_all_at(&self, _parts: &mut [IoSlice<'_>], _offset: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let from = usize::try_from(offset).unwrap().min(self.0.len());
            let count = (self.0.len() - from).min(buf.len()).min(5000);
            buf[..count].copy_from_slice(&self.0[from..from + count]);
            Ok(count)
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, _len: u64) -> io::Result<()> {
            Ok(())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
    }

    /// Fragments with these ends, behind 100 bytes of other content; zeros in `lost`.
    fn check(ends: &[u64], lost: Range<usize>, expect: Option<usize>) {
        let len = usize::try_from(*ends.last().unwrap()).unwrap();
        let mut bytes = vec![7; len];
        bytes[lost.clone()].fill(0);
        let mut index = FragmentIndex::new();
        let mut offset = 100;
        for (number, end) in ends.iter().enumerate() {
            let ticks = number as u64;
            let entry = IndexEntry { offset, start_ticks: ticks, sync: true };
            index.push(entry, *end, ticks + 1).unwrap();
            offset = *end;
        }
        assert_eq!(first_with_lost_page(&Memory(bytes), &index).unwrap(), expect, "{ends:?} {lost:?}");
    }

    #[test]
    fn a_page_of_zeros_is_missing() {
        let page = PAGE;
        check(&[500, 9000, 20_000], 0..0, None);
        check(&[500, 9000, 20_000], page..2 * page, Some(1));
        // The last page of a fragment holds 808 bytes of it, and is lost up to the end of the file.
        check(&[500, 9000], 2 * page..9000, Some(1));
        check(&[500, 9000, 20_000], 2 * page..3 * page, Some(1));
        check(&[500, 9000, 20_000], 3 * page..4 * page, Some(2));
        // The page that it begins in, which the one before reaches into.
        check(&[500, 9000, 20_000], 9000..3 * page, Some(2));
        check(&[500, 3 * page as u64 - 3, 20_000], 3 * page - 3..3 * page, None);
        // Zeros that are no page.
        check(&[500, 9000, 20_000], page + 1..2 * page, None);
        check(&[500, 9000, 2_000_000], 400 * page..401 * page, Some(2));
        check(&[500, 9000, 2_000_000], 400 * page..401 * page - 1, None);
    }
}
