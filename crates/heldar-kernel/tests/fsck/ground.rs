//! Footage built file by file, its rows, and what of it can be read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use heldar_base::{CameraId, EndReason, Micros, Scope, Secret, SegmentId, StreamId, StreamKind, WallTime};
use heldar_bmff::{
    FragmentHeader, FragmentIndex, InitSegment, SampleMeta, SampleTable, TableBuilder, TrackRun,
    VIDEO_TRACK_ID, duration_box, read_sample_table, scan,
};
use heldar_config::{Flags, HostFiles, Input, Settings, load};
use heldar_disk::SegmentName;
use heldar_kernel::fsck::{FsckError, Intent, Run, run};
use heldar_media::{VideoCodec, VideoParams};
use heldar_store::op::{AppendWanted, CreateCamera, EnsureParams, EnsureStream, PutSegment, Seal};
use heldar_store::{
    CameraFields, CodecParams, DatabaseUrl, DeviceTls, Gap, GapFilter, GapOrder, RecordMode, RtspTransport,
    Store, StoreConfig,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Half a minute before midnight, and not on a whole second.
pub(crate) const START: WallTime = WallTime(1_793_836_770_400_000);
/// Of a segment.
pub(crate) const LENGTH: Micros = Micros::from_secs(10);
/// Segments of the main stream of `gate`.
pub(crate) const COUNT: usize = 6;
const FRAGMENTS: usize = 10;
const PICTURES: usize = 5;
/// 90000 / PICTURES.
const PICTURE_TICKS: u32 = 18_000;

/// A real AVCDecoderConfigurationRecord of x264, 160x120, baseline.
const AVCC: [u8; 39] =
    *b"\x01\x42\xc0\x0b\xff\xe1\x00\x18\x67\x42\xc0\x0b\xda\x0a\x11\xf9\x70\x11\x00\x00\x03\x00\x01\x00\
    \x00\x03\x00\x32\x0f\x14\x2a\xa0\x01\x00\x04\x68\xce\x0f\xc8";

/// Held while a program is started and while a check has the data folder: a child of this process keeps its locks for a
/// moment, until it is another program.
pub(crate) static SPAWN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs a check or a repair.
pub(crate) async fn fsck(settings: &Settings, intent: Intent) -> Result<Run, FsckError> {
    let _alone = SPAWN.lock().await;
    run(settings, intent, START + Micros::from_hours(100)).await
}

/// A built segment.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) start: WallTime,
    pub(crate) bytes: Vec<u8>,
    pub(crate) index: FragmentIndex,
    /// Where the sample table begins.
    pub(crate) table_at: usize,
}

impl Built {
    pub(crate) fn new(start: WallTime, seed: u8) -> Built {
        let video = VideoParams {
            codec: VideoCodec::H264,
            codec_string: "avc1.42c00b".to_owned(),
            width: 160,
            height: 120,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::from_static(&AVCC),
        };
        // As a stream with reordered pictures is written, every other time.
        let delay = u32::from(seed % 2) * 2 * PICTURE_TICKS;
        let init = InitSegment::delayed(start, &video, None, delay).unwrap();
        let mut bytes = init.bytes().to_vec();
        let mut table = TableBuilder::new(init.tracks());
        let mut index = FragmentIndex::new();
        for fragment in 0..FRAGMENTS {
            let payloads: Vec<Vec<u8>> =
                (0..PICTURES).map(|picture| payload(seed, fragment, picture)).collect();
            let samples: Vec<SampleMeta> = payloads
                .iter()
                .enumerate()
                .map(|(picture, payload)| SampleMeta {
                    size: u32::try_from(payload.len()).unwrap(),
                    duration: PICTURE_TICKS,
                    composition_offset: 0,
                    sync: picture == 0,
                })
                .collect();
            let base_decode_time = (fragment * PICTURES) as u64 * u64::from(PICTURE_TICKS);
            let run = TrackRun { track_id: VIDEO_TRACK_ID, base_decode_time, samples: &samples };
            let header =
                FragmentHeader::delayed(u32::try_from(fragment).unwrap() + 1, &[run], delay).unwrap();
            let offset = bytes.len() as u64;
            table.push(offset, &header, &[run]).unwrap();
            index.push_fragment(offset, header.fragment_len(), Some(&run)).unwrap();
            bytes.extend(&header.bytes);
            bytes.extend(payloads.concat());
        }
        let table_at = bytes.len();
        bytes.extend(table.encode().unwrap());
        let slot = usize::try_from(init.duration_slot()).unwrap();
        let duration = duration_box(index.end_ticks());
        bytes[slot..slot + duration.len()].copy_from_slice(&duration);
        Built { start, bytes, index, table_at }
    }

    /// Where a fragment starts, or the last one ends.
    pub(crate) fn fragment_at(&self, number: usize) -> usize {
        let entry = self.index.entries().get(number);
        usize::try_from(entry.map_or(self.index.end_offset(), |entry| entry.offset)).unwrap()
    }

    /// The index of its first fragments.
    pub(crate) fn first(&self, count: usize) -> FragmentIndex {
        let mut index = FragmentIndex::new();
        for number in 0..count {
            let range = self.index.byte_range(number..number + 1).unwrap();
            let end = self.index.end_of(number).unwrap();
            index.push(self.index.entries()[number], range.end, end).unwrap();
        }
        index
    }
}

/// One picture; no two are alike.
fn payload(seed: u8, fragment: usize, picture: usize) -> Vec<u8> {
    let mut hash = Sha256::digest([seed, u8::try_from(fragment).unwrap(), u8::try_from(picture).unwrap()]);
    let mut bytes = vec![0, 0, 0, 0, if picture == 0 { 0x65 } else { 0x41 }];
    for _ in 0..2 + usize::from(hash[0] % 5) {
        bytes.extend(hash);
        hash = Sha256::digest(hash);
    }
    let len = u32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

pub(crate) fn id(text: &str) -> CameraId {
    CameraId::new(text).unwrap()
}

pub(crate) fn gate() -> StreamId {
    StreamId::new(id("gate"), StreamKind::Main)
}

fn fields() -> CameraFields {
    CameraFields {
        name: "Gate".to_owned(),
        site_id: None,
        vendor: "generic".to_owned(),
        model: None,
        address: None,
        rtsp_port: 554,
        username: None,
        password: None,
        main_stream_url: None,
        sub_stream_url: None,
        record_stream: StreamKind::Main,
        record_sub: false,
        rtsp_transport: RtspTransport::Auto,
        channel: 1,
        capabilities: json!({}),
        record_enabled: true,
        segment_seconds: 10,
        retention_hours: 24 * 3650,
        retention_motion_hours: None,
        retention_alert_hours: None,
        storage_quota_bytes: None,
        record_audio: false,
        record_mode: RecordMode::Continuous,
        pre_roll_seconds: 10,
        post_roll_seconds: 30,
        mirror_enabled: false,
        anr_enabled: false,
        anr_replay_url_template: None,
        native_anpr_enabled: false,
        native_events_enabled: false,
        enabled: false,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    }
}

/// Six segments of the camera `gate` over midnight, and two of the camera `yard`.
pub(crate) struct Ground {
    folder: tempfile::TempDir,
    pub(crate) settings: Settings,
    database: Option<String>,
    pub(crate) gate_no: i64,
    pub(crate) params_no: i64,
    pub(crate) built: Vec<Built>,
}

impl Ground {
    /// On SQLite, or on the PostgreSQL database of a URL.
    pub(crate) async fn new(database: Option<String>) -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), database.as_deref());
        let mut ground = Ground { folder, settings, database, gate_no: 0, params_no: 0, built: Vec::new() };
        std::fs::create_dir_all(ground.recordings()).unwrap();
        let store = ground.store().await;
        for camera in ["gate", "yard"] {
            let op = CreateCamera { id: id(camera), fields: fields(), now: START };
            store.write(op).await.unwrap();
            let wanted = AppendWanted { camera: id(camera), at: START, reason: None };
            store.write(wanted).await.unwrap();
        }
        let params = CodecParams {
            codec: "h264".to_owned(),
            codec_string: "avc1.42c00b".to_owned(),
            width: 160,
            height: 120,
            audio: None,
        };
        ground.params_no = store.write(EnsureParams { params }).await.unwrap();
        ground.gate_no = store.write(EnsureStream { stream: gate() }).await.unwrap();
        let yard = StreamId::new(id("yard"), StreamKind::Main);
        let yard_no = store.write(EnsureStream { stream: yard.clone() }).await.unwrap();
        for number in 0..COUNT {
            let start = START + Micros(LENGTH.0 * i64::try_from(number).unwrap());
            let built = Built::new(start, u8::try_from(number).unwrap());
            ground.write(&SegmentName::new(gate(), start, 1).relative_path(), &built.bytes);
            store.write(ground.row(ground.gate_no, &built)).await.unwrap();
            ground.built.push(built);
        }
        for number in 0..2u8 {
            let start = START + Micros::from_secs(600 + 10 * i64::from(number));
            let built = Built::new(start, 100 + number);
            ground.write(&SegmentName::new(yard.clone(), start, 1).relative_path(), &built.bytes);
            store.write(ground.row(yard_no, &built)).await.unwrap();
        }
        store.close().await;
        ground
    }

    /// The row of a segment as the recorder writes it.
    pub(crate) fn row(&self, stream_no: i64, built: &Built) -> PutSegment {
        PutSegment {
            id: SegmentId { stream_no, start: built.start },
            end: built.start + LENGTH,
            size_bytes: i64::try_from(built.bytes.len()).unwrap(),
            name_no: 1,
            params_no: self.params_no,
            dependent: false,
            seal: Some(Seal { reason: EndReason::Rotated, cause: None }),
            holes: Vec::new(),
            index: Some(built.index.encode()),
            created_at: built.start,
        }
    }

    pub(crate) fn id(&self, number: usize) -> SegmentId {
        SegmentId { stream_no: self.gate_no, start: self.built[number].start }
    }

    pub(crate) fn recordings(&self) -> PathBuf {
        self.settings.storage.recordings_dir.clone()
    }

    /// The folder, kept beyond the end of this value.
    pub(crate) fn into_folder(self) -> tempfile::TempDir {
        self.folder
    }

    /// Path of a segment below the recordings folder.
    pub(crate) fn path(&self, number: usize) -> String {
        SegmentName::new(gate(), self.built[number].start, 1).relative_path()
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.recordings().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        std::fs::remove_file(self.recordings().join(path)).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        let to = self.recordings().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::rename(self.recordings().join(from), to).unwrap();
    }

    fn url(&self) -> DatabaseUrl {
        match &self.database {
            Some(url) => url.parse().unwrap(),
            None => heldar_kernel::kernel::database_url(&self.settings),
        }
    }

    /// The store, taken over.
    pub(crate) async fn store(&self) -> Store {
        let config = StoreConfig { url: self.url(), max_connections: 4, now: START };
        Store::open(config).await.unwrap()
    }

    /// Runs statements behind the store's back.
    pub(crate) async fn tamper(&self, statements: &str) {
        match self.url() {
            DatabaseUrl::Sqlite(path) => {
                rusqlite::Connection::open(path).unwrap().execute_batch(statements).unwrap();
            }
            DatabaseUrl::Postgres(url) => {
                let url: &Secret<String> = &url;
                let _alone = SPAWN.lock().await;
                let run = std::process::Command::new("psql")
                    .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url.expose(), "-c", statements])
                    .output()
                    .unwrap();
                assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            }
        }
    }

    pub(crate) async fn fsck(&self, intent: Intent) -> Result<Run, FsckError> {
        fsck(&self.settings, intent).await
    }

    /// Checksums of the pictures that the files hold, by whatever means of reading a file.
    pub(crate) fn readable(&self) -> BTreeSet<[u8; 32]> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.recordings()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(path).unwrap();
                    found.extend(tables(&bytes).iter().flat_map(|table| pictures(&bytes, table, u64::MAX)));
                }
            }
        }
        found
    }

    /// Checksums of the pictures that the index leads to.
    pub(crate) async fn reachable(&self) -> BTreeSet<[u8; 32]> {
        let store = self.store().await;
        let mut found = BTreeSet::new();
        for stream in store.streams(&Scope::All).await.unwrap() {
            let rows = store.every_segment(&Scope::All, stream.stream_no, None, 1000).await.unwrap().rows;
            for row in rows {
                let path = heldar_kernel::engine::recovery::path_of(&row);
                let Ok(bytes) = std::fs::read(self.recordings().join(path)) else { continue };
                let index = store.segment_index(&Scope::All, row.id).await.unwrap();
                let index = index.and_then(|index| FragmentIndex::decode(&index).ok());
                let end = index.map_or(0, |index| index.end_offset());
                found.extend(tables(&bytes).iter().flat_map(|table| pictures(&bytes, table, end)));
            }
        }
        store.close().await;
        found
    }

    /// Gap rows of `gate`.
    pub(crate) async fn gaps(&self) -> Vec<Gap> {
        let store = self.store().await;
        let (camera, filter) = (id("gate"), GapFilter::default());
        let page = store.gaps(&Scope::All, &camera, &filter, GapOrder::OldestFirst, None, 100).await.unwrap();
        store.close().await;
        page.rows
    }
}

pub(crate) fn settings(folder: &Path, database: Option<&str>) -> Settings {
    let mut env = vec![("HELDAR_DATA_DIR".into(), folder.into()), ("HELDAR_API_PORT".into(), "0".into())];
    if let Some(url) = database {
        env.push(("HELDAR_DATABASE_URL".into(), url.into()));
    }
    let input = Input { flags: Flags::take([]), env, files: &HostFiles };
    load(&input).settings.unwrap_or_else(|errors| panic!("{errors}"))
}

/// What the fragments of a file say, and what its table does.
fn tables(bytes: &[u8]) -> Vec<SampleTable> {
    let scanned = scan(bytes).ok().map(|scan| scan.table);
    scanned.into_iter().chain(read_sample_table(bytes).ok()).collect()
}

/// The pictures of a table in fragments that end at or before `end`, and whose bytes are there.
fn pictures(bytes: &[u8], table: &SampleTable, end: u64) -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    for track in table.tracks() {
        for run in track.runs() {
            if table.fragments()[run.fragment as usize].end() > end {
                continue;
            }
            let mut at = usize::try_from(run.data_offset).unwrap();
            for sample in track.run_samples(run) {
                let len = usize::try_from(sample.size).unwrap();
                found
                    .extend(bytes.get(at..at + len).map(|payload| <[u8; 32]>::from(Sha256::digest(payload))));
                at += len;
            }
        }
    }
    found
}
