//! The note on which a decoder process writes what it is at, so that its end names a stream.
//!
//! Owns: a few bytes of anonymous memory, which the process holds as its standard output. Layout, little-endian: how many
//! requests it has begun (8 bytes), the number of the stream at work plus one or 0 (8 bytes).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};

/// Bytes of the note.
pub(crate) const NOTE_BYTES: usize = 16;

/// The note, as its reader holds it.
#[derive(Debug)]
pub(crate) struct Progress {
    file: File,
}

/// What the note says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// Requests begun.
    pub(crate) begun: u64,
    /// The stream at work.
    pub(crate) stream: Option<u32>,
}

impl Progress {
    /// An empty note, and what its writer gets.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let memory = memfd_create("heldar-decoder", MemfdFlags::CLOEXEC)?;
        let file = File::from(memory);
        file.set_len(NOTE_BYTES as u64)?;
        let writer = OwnedFd::from(file.try_clone()?);
        Ok((Progress { file }, writer))
    }

    pub(crate) fn read(&self) -> Note {
        let mut bytes = [0; NOTE_BYTES];
        if self.file.read_exact_at(&mut bytes, 0).is_err() {
            // The process has made it shorter: then it names nobody.
            return Note::default();
        }
        let half = |at: usize| bytes[at..at + 8].first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
        Note { begun: half(0), stream: half(8).checked_sub(1).and_then(|stream| u32::try_from(stream).ok()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_a_ruined_one_says_nothing() {
        let (progress, writer) = Progress::new().expect("memory");
        let writer = File::from(writer);
        assert_eq!(progress.read(), Note::default());
        let mut bytes = [0; NOTE_BYTES];
        bytes[0] = 9;
        bytes[8] = 5;
        writer.write_all_at(&bytes, 0).expect("written");
        assert_eq!(progress.read(), Note { begun: 9, stream: Some(4) });
        writer.set_len(3).expect("shortened");
        assert_eq!(progress.read(), Note::default());
    }
}
