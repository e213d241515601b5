//! Where the bytes of footage come from: recorded files, with shifted decode times or as ranges of a virtual file.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use heldar_bmff::{FragmentIndex, InitInfo, Source, TrackEntry, VirtualFile, hide_edits, shift_decode_times};
use heldar_disk::{Disk, DiskFile, FileAccess};
use heldar_http::ByteSource;

/// Longest `moof` that is shifted.
const MAX_MOOF: u64 = 5 << 20;

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}

fn read_exact(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(&mut buffer[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    buffer.truncate(done);
    Ok(buffer)
}

/// A recorded file, its decode times moved by a base.
#[derive(Clone)]
pub struct SegmentSource {
    file: Arc<dyn DiskFile>,
    shift: Option<Arc<Shift>>,
}

struct Shift {
    base_ticks: u64,
    index: FragmentIndex,
    tracks: Vec<TrackEntry>,
    /// The init segment without edit lists.
    init: Vec<u8>,
    /// The `moof` that was shifted last, by fragment.
    newest: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

impl SegmentSource {
    /// The file as it is.
    pub fn plain(file: Arc<dyn DiskFile>) -> Self {
        SegmentSource { file, shift: None }
    }

    /// The file as a part of a session, with `base_ticks` (1/90000 s) added to every decode time. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read or is none of ours.
    pub fn shifted(file: Arc<dyn DiskFile>, base_ticks: u64, index: FragmentIndex) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let InitInfo { len, tracks, .. } = InitInfo::read(&*file).map_err(invalid)?;
        // Bounded by what `InitInfo` believes.
        let mut init = read_exact(&*file, 0, usize::try_from(len).unwrap_or(0))?;
        hide_edits(&mut init).map_err(invalid)?;
        let shift = Shift { base_ticks, index, tracks, init, newest: Mutex::new(None) };
        Ok(SegmentSource { file, shift: Some(Arc::new(shift)) })
    }

    fn read_now(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = read_exact(&*self.file, offset, len)?;
        let Some(shift) = &self.shift else { return Ok(bytes.into()) };
        let end = offset + bytes.len() as u64;
        if let Some(init) = usize::try_from(offset).ok().and_then(|at| shift.init.get(at..)) {
            let len = init.len().min(bytes.len());
            bytes[..len].copy_from_slice(&init[..len]);
        }
        let entries = shift.index.entries();
        let first = entries.partition_point(|entry| entry.offset <= offset).saturating_sub(1);
        for (number, entry) in
            entries.iter().enumerate().skip(first).take_while(|(_, entry)| entry.offset < end)
        {
            let moof = shift.moof(&*self.file, number, entry.offset)?;
            let moof_end = entry.offset + moof.len() as u64;
            let (from, to) = (offset.max(entry.offset), end.min(moof_end));
            if from < to {
                // Both differences are below the lengths of buffers in memory.
                let target = (from - offset) as usize..(to - offset) as usize;
                let origin = (from - entry.offset) as usize..(to - entry.offset) as usize;
                bytes[target].copy_from_slice(&moof[origin]);
            }
        }
        Ok(bytes.into())
    }
}

impl Shift {
    fn moof(&self, file: &dyn DiskFile, number: usize, offset: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, moof)) = &*newest
            && *held == number
        {
            return Ok(moof.clone());
        }
        let moof = Arc::new(read_moof(file, offset, |moof| {
            shift_decode_times(moof, self.base_ticks, &self.tracks)
        })?);
        *newest = Some((number, moof.clone()));
        Ok(moof)
    }
}

/// Reads the `moof` at an offset and changes it.
fn read_moof(
    file: &dyn DiskFile,
    offset: u64,
    change: impl FnOnce(&mut [u8]) -> Result<(), heldar_bmff::Error>,
) -> io::Result<Vec<u8>> {
    let head = read_exact(file, offset, 8)?;
    let len = head.first_chunk::<4>().map_or(0, |size| u64::from(u32::from_be_bytes(*size)));
    if !(8..=MAX_MOOF).contains(&len) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut moof = read_exact(file, offset, usize::try_from(len).unwrap_or(0))?;
    change(&mut moof).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(moof)
}

impl ByteSource for SegmentSource {
    async fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let source = self.clone();
        blocking(move || source.read_now(offset, len)).await
    }
}

/// The bytes of a group of pictures, cut behind the picture needed at the end of a session.
pub fn cut_group(
    file: &dyn DiskFile,
    index: &FragmentIndex,
    first: usize,
    until_ticks: u64,
    base_ticks: u64,
    tracks: &[TrackEntry],
) -> io::Result<Vec<u8>> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut out = Vec::new();
    for (number, entry) in index.entries().iter().enumerate().skip(first) {
        if entry.start_ticks >= until_ticks || (number > first && entry.sync) {
            break;
        }
        let original = read_moof(file, entry.offset, |_moof| Ok(()))?;
        let cut = heldar_bmff::cut_fragment(&original, until_ticks, tracks).map_err(invalid)?;
        let at = out.len();
        out.extend_from_slice(&cut.header);
        let moof_len = usize::try_from(cut.moof_len).unwrap_or(0);
        shift_decode_times(&mut out[at..at + moof_len], base_ticks, tracks).map_err(invalid)?;
        for range in cut.payload {
            let len = usize::try_from(range.end - range.start).unwrap_or(0);
            out.extend(read_exact(file, entry.offset + range.start, len)?);
        }
    }
    Ok(out)
}

/// A file that is open, by its number in a plan.
type OpenFile = Option<(u32, Arc<dyn DiskFile>)>;

/// The bytes of a virtual file.
#[derive(Clone)]
pub struct VirtualSource {
    plan: Arc<VirtualFile>,
    /// Paths of the files, by their number in the plan.
    paths: Arc<Vec<String>>,
    disk: Arc<dyn Disk>,
    /// The file that was read last.
    open: Arc<Mutex<OpenFile>>,
}

impl VirtualSource {
    /// The bytes of a plan over files of the recordings folder.
    pub fn new(plan: Arc<VirtualFile>, paths: Arc<Vec<String>>, disk: Arc<dyn Disk>) -> Self {
        VirtualSource { plan, paths, disk, open: Arc::default() }
    }

    /// Reads without leaving the thread.
    ///
    /// # Errors
    /// A file is gone or shorter than planned.
    pub fn read_now(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut out = Vec::with_capacity(len);
        for source in self.plan.sources(offset..offset + len as u64) {
            match source {
                Source::Header(bytes) => out.extend_from_slice(&bytes),
                Source::File(range) => {
                    let file = self.file(range.file)?;
                    let len = usize::try_from(range.len).unwrap_or(usize::MAX);
                    let bytes = read_exact(&*file, range.offset, len)?;
                    let short = bytes.len() < len;
                    out.extend(bytes);
                    if short {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        Ok(out.into())
    }

    fn file(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, file)) = &*open
            && *held == number
        {
            return Ok(file.clone());
        }
        let path =
            usize::try_from(number).ok().and_then(|n| self.paths.get(n)).ok_or(io::ErrorKind::NotFound)?;
        let file = self.disk.open(path, FileAccess::Read)?;
        *open = Some((number, file.clone()));
        Ok(file)
    }
}

impl ByteSource for VirtualSource {
    async fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let source = self.clone();
        blocking(move || source.read_now(offset, len)).await
    }
}
