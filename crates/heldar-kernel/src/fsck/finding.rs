//! What a check finds, and what can be done about it.

use std::collections::BTreeMap;

use heldar_base::{CameraId, Interval, SegmentId, StreamId, StreamKind};
use heldar_disk::SegmentName;
use heldar_disk::fsck::Truth;
use heldar_store::Segment;

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $slug:literal,)+) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$meta])* $variant,)+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)+];

            /// Its stable name in reports, events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $slug,)+ }
            }
        }
    };
}

kinds! {
    /// A row whose file is absent or has no byte.
    MissingFile = "missing_file",
    /// A file without a row.
    OrphanFile = "orphan_file",
    /// A file without a row whose time another segment of its stream has.
    OverlappingFile = "overlapping_file",
    /// The file ends before its index does.
    ShortFile = "short_file",
    /// Whole fragments follow the last one of the index.
    UnindexedFragments = "unindexed_fragments",
    /// The file ends in something that is no whole fragment.
    TornTail = "torn_tail",
    /// A row is open, and nobody records.
    OpenRow = "open_row",
    /// There is no fragment index.
    IndexMissing = "index_missing",
    /// The fragment index cannot be decoded.
    IndexUnreadable = "index_unreadable",
    /// The fragment index says something else than the file.
    IndexMismatch = "index_mismatch",
    /// The row has another size than the file.
    SizeMismatch = "size_mismatch",
    /// The row ends at another instant than the file.
    EndMismatch = "end_mismatch",
    /// The file begins at another instant than the row.
    StartMismatch = "start_mismatch",
    /// Stored totals of a stream are not the sums over its rows.
    TotalsMismatch = "totals_mismatch",
    /// A row is marked for deletion, and nobody finishes it.
    UnfinishedDeletion = "unfinished_deletion",
    /// Two segments of a stream overlap.
    Overlap = "overlap",
    /// Two rows name the same file.
    DuplicateRow = "duplicate_row",
    /// A segment file lies in the folder of another day or camera.
    MisplacedFile = "misplaced_file",
    /// A file without a byte.
    EmptyFile = "empty_file",
    /// Something that is no segment file.
    StrayFile = "stray_file",
    /// A folder of no camera, no day, or without content.
    StrayFolder = "stray_folder",
    /// One fragment of a complete file is damaged; its sample table knows what it holds.
    DamagedFragment = "damaged_fragment",
    /// Footage lies behind damage that no sample table bridges.
    DamagedMiddle = "damaged_middle",
    /// The sample table is damaged; the fragments are whole.
    DamagedTable = "damaged_table",
    /// A file that holds nothing that this version can read, or that the disk does not give.
    UnreadableFile = "unreadable_file",
}

/// What a repair would do.
#[derive(Clone, Debug)]
pub enum Remedy {
    /// Nothing, and why.
    LeaveAlone(&'static str),
    /// Give a file its row, as the start of the server does.
    Adopt {
        /// Whose it is.
        stream: StreamId,
        /// Which file.
        name: SegmentName,
    },
    /// Move a file to where its name says that it belongs.
    Move {
        /// Where it is.
        from: String,
        /// Where it belongs.
        to: String,
    },
    /// Remove a row whose file is gone, and say so in the ledger.
    RemoveRow(Box<Segment>),
    /// Remove one of two rows of a file; the file stays.
    RemoveDuplicate(SegmentId),
    /// Cut an open file behind its last whole fragment and seal its row, as the start of the server does.
    Seal(Box<Segment>),
    /// Make a row say what its file holds.
    Mend(Box<Mending>),
    /// Cut a torn tail of a file whose row is right.
    CutTail(String),
    /// Unlink the file and remove the row.
    FinishDeletion,
    /// Remove a file without a byte.
    RemoveEmptyFile(String),
    /// Remove a folder without content.
    RemoveEmptyFolder(String),
    /// Count the totals of a stream anew.
    RestateTotals(i64),
}

/// How a row is mended.
#[derive(Clone, Debug)]
pub struct Mending {
    /// The row as it is.
    pub segment: Segment,
    /// What it should say.
    pub truth: Truth,
    /// Whether its file has a torn tail, which is cut.
    pub torn: bool,
    /// Footage that the row promised and the file has not.
    pub lost: Option<Interval>,
}

impl Remedy {
    /// True when a repair does something.
    pub fn acts(&self) -> bool {
        !matches!(self, Remedy::LeaveAlone(_))
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Remedy::LeaveAlone(why) => format!("nothing: {why}"),
            Remedy::Adopt { .. } => "take the file into the index".to_owned(),
            Remedy::Move { to, .. } => format!("move the file to {to}"),
            Remedy::RemoveRow(_) => "remove the row and note a gap with the cause `damaged`".to_owned(),
            Remedy::RemoveDuplicate(_) => "remove this row; the file stays with the other".to_owned(),
            Remedy::Seal(_) => "cut behind the last whole fragment and seal the row".to_owned(),
            Remedy::Mend(mending) => {
                let cut = if mending.torn { "cut the torn tail and " } else { "" };
                let gap =
                    if mending.lost.is_some() { ", and note a gap with the cause `damaged`" } else { "" };
                format!("{cut}correct the row after the file{gap}")
            }
            Remedy::CutTail(_) => "cut the torn tail".to_owned(),
            Remedy::FinishDeletion => "unlink the file and remove the row".to_owned(),
            Remedy::RemoveEmptyFile(_) => "remove the empty file".to_owned(),
            Remedy::RemoveEmptyFolder(_) => "remove the empty folder".to_owned(),
            Remedy::RestateTotals(_) => "count the totals anew".to_owned(),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Whose, where that is known.
    pub camera: Option<CameraId>,
    /// Of which stream.
    pub stream: Option<StreamKind>,
    /// The file or folder below the recordings folder.
    pub path: Option<String>,
    /// The segment, where there is a row.
    pub segment: Option<SegmentId>,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// What a repair would do.
    pub remedy: Remedy,
}

impl Finding {
    /// About a row.
    pub(super) fn of_row(kind: Kind, segment: &Segment, remedy: Remedy) -> Self {
        Finding {
            kind,
            camera: Some(segment.stream.camera.clone()),
            stream: Some(segment.stream.kind),
            path: Some(crate::engine::recovery::path_of(segment)),
            segment: Some(segment.id),
            expected: String::new(),
            found: String::new(),
            remedy,
        }
    }

    /// About a file or folder without a row.
    pub(super) fn of_path(kind: Kind, camera: Option<&CameraId>, path: String, remedy: Remedy) -> Self {
        Finding {
            kind,
            camera: camera.cloned(),
            stream: None,
            path: Some(path),
            segment: None,
            expected: String::new(),
            found: String::new(),
            remedy,
        }
    }

    /// With what should be and what is.
    pub(super) fn told(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.expected = expected.into();
        self.found = found.into();
        self
    }

    /// With the stream of a file.
    pub(super) fn in_stream(mut self, kind: StreamKind) -> Self {
        self.stream = Some(kind);
        self
    }

    /// What makes it the same finding in another look.
    pub(super) fn key(&self) -> (Kind, Option<String>, Option<SegmentId>) {
        (self.kind, self.path.clone(), self.segment)
    }
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Cameras.
    pub cameras: u64,
    /// Streams.
    pub streams: u64,
    /// Rows.
    pub segments: u64,
    /// Rows whose file was there.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How much was looked at.
    pub checked: Checked,
    /// Everything wrong, by stream and time.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings there are of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.kind.as_str()).or_default() += 1;
        }
        counts
    }

    /// True when a repair would do something.
    pub fn can_be_repaired(&self) -> bool {
        self.findings.iter().any(|finding| finding.remedy.acts())
    }
}
