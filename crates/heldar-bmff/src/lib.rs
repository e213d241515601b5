//! Fragmented MP4, bytes in and bytes out.
//!
//! Owns: the layout of a recorded file (`ftyp moov (moof mdat)*` and, once sealed, one `uuid` box with its whole sample
//! table), the fragment index kept beside it, the scan that finds both again in whatever a crash left behind, and the
//! progressive file that is only ever computed ([`VirtualFile`]). Never: a file, a socket, a clock, a thread; payload
//! bytes are placed and addressed here, not read or copied.
//!
//! What is read may have been torn by a crash or bent by a disk: no byte string reaches a panic, a loop without end, or
//! an allocation that is not bounded by the length of what was read.
//!
//! Clause numbers without another name are those of ISO/IEC 14496-12.
#![forbid(unsafe_code)]

mod boxes;
mod cursor;
mod cut;
mod descriptor;
mod entry;
mod entry_read;
mod error;
mod fragment;
mod index;
mod init;
mod init_read;
mod moof;
mod moov;
mod read_at;
mod sample;
mod scan;
mod shift;
mod table;
mod table_build;
mod table_read;
mod varint;
mod virtual_file;

pub use cut::{CutFragment, cut_fragment};
pub use entry::TrackEntry;
pub use error::Error;
pub use fragment::{FragmentHeader, TrackRun};
pub use index::{FragmentIndex, IndexEntry};
pub use init::{InitSegment, duration_box};
pub use init_read::InitInfo;
pub use read_at::ReadAt;
pub use sample::{AUDIO_TRACK_ID, SampleMeta, VIDEO_TIMESCALE, VIDEO_TRACK_ID};
pub use scan::{Scan, Tail, next_whole_fragment, scan};
pub use shift::{hide_edits, shift_decode_times};
pub use table::{FragmentSpan, RunSpan, SampleTable, TrackTable};
pub use table_build::TableBuilder;
pub use table_read::{read_sample_table, sample_table_box_len};
pub use virtual_file::{
    FileRange, Join, Part, PartMap, Source, Still, StillAt, StillSample, VirtualFile, starts_decodable,
    still_at, sync_stills,
};
