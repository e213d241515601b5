//! Folders, recording, retention, playback, clips, live view, devices, footage backup.

use super::{NATURAL, PORT, clamp, derived, floor, fraction, unset, var};
use crate::kind::{FloatRule, IntRule, Kind};
use crate::part::Part;
use crate::variable::Variable;

#[rustfmt::skip]
pub(super) const TABLE: &[Variable] = &[
    var("HELDAR_DATA_DIR", Part::Storage, Kind::Path, "./data", "root of the folders below and of the SQLite database"),
    derived("HELDAR_RECORDINGS_DIR", Part::Storage, Kind::Path, "{data}/recordings", "recorded segments"),
    derived("HELDAR_CLIPS_DIR", Part::Storage, Kind::Path, "{data}/clips", "exported clips"),
    derived("HELDAR_SNAPSHOTS_DIR", Part::Snapshots, Kind::Path, "{data}/snapshots", "snapshots, evidence pictures, thumbnails"),
    derived("HELDAR_FRAMES_DIR", Part::Perception, Kind::Path, "{data}/frames", "frames for programs that read files, with HELDAR_FRAMES_MIRROR"),
    derived("HELDAR_ARCHIVE_DIR", Part::FootageBackup, Kind::Path, "{data}/archives", "archives"),

    var("HELDAR_RECORDER_ENABLED", Part::Recording, Kind::Bool, "true", "record at all; live view and playback work without"),
    var("HELDAR_FRAGMENT_MS", Part::Recording, clamp(200, 4000), "1000", "longest fragment in milliseconds: what a crash of the process costs at most, with the held picture"),
    var("HELDAR_SYNC_INTERVAL_S", Part::Recording, floor(1), "5", "seconds until written footage is synced to disk: what a power loss costs at most beyond a crash"),
    var("HELDAR_STREAM_STALL_S", Part::Recording, floor(3), "10", "seconds without a picture until a stream is reconnected"),
    var("HELDAR_OFFLINE_DEBOUNCE_S", Part::Recording, floor(0), "10", "seconds without a picture until camera_offline is raised"),
    var("HELDAR_DEFAULT_SEGMENT_SECONDS", Part::Recording, clamp(2, 3600), "60", "new cameras: length of a recorded file in seconds"),
    var("HELDAR_DEFAULT_RETENTION_HOURS", Part::Recording, floor(1), "24", "new cameras: hours that footage is kept"),
    var("HELDAR_DEFAULT_CAMERA_QUOTA_GB", Part::Recording, Kind::Gib(FloatRule::NOT_NEGATIVE), "0", "new cameras: storage quota in GiB; 0: none"),
    var("HELDAR_DEFAULT_RECORD_AUDIO", Part::Recording, Kind::Bool, "false", "new cameras: record audio"),
    var("HELDAR_DEFAULT_PRE_ROLL_SECONDS", Part::Recording, clamp(0, 300), "10", "new cameras: seconds kept from before an event"),
    var("HELDAR_DEFAULT_POST_ROLL_SECONDS", Part::Recording, clamp(0, 3600), "30", "new cameras: seconds recorded after an event"),
    unset("HELDAR_VENDOR_TEMPLATES", Part::Recording, Kind::Path, "JSON file with further stream address templates"),

    var("HELDAR_PREROLL_MEMORY_MB", Part::Triggers, floor(16), "512", "memory of all pre-roll rings together, in MiB"),
    var("HELDAR_SCHEDULE_CHECK_INTERVAL_S", Part::Triggers, floor(5), "30", "longest time between evaluations of schedules, in seconds"),

    var("HELDAR_RETENTION_INTERVAL_S", Part::Retention, floor(30), "300", "seconds between sweeps"),
    var("HELDAR_MAX_RECORDINGS_GB", Part::Retention, Kind::Gib(FloatRule::POSITIVE), "20", "size cap of all recordings in GiB; the stored setting wins"),
    var("HELDAR_MIN_FREE_DISK_GB", Part::Retention, Kind::Gib(FloatRule::NOT_NEGATIVE), "5", "free space that sweeps keep on the disk, in GiB; 0: none; the stored setting wins"),

    var("HELDAR_PLAYBACK_SESSION_TTL_MINUTES", Part::Playback, fraction(FloatRule::floor(1.0)), "60", "minutes that a playback session lives without use"),
    var("HELDAR_MAX_PLAYBACK_SECONDS", Part::Playback, fraction(FloatRule::floor(1.0)), "7200", "longest window of a playback session, in seconds"),

    var("HELDAR_MAX_CLIP_SECONDS", Part::Clips, floor(1), "3600", "longest clip, in seconds"),
    var("HELDAR_CLIP_RETENTION_HOURS", Part::Clips, NATURAL, "48", "hours that clips are kept; 0: for ever"),
    var("HELDAR_MEDIA_JOB_CONCURRENCY", Part::Clips, clamp(1, 64), "3", "clips, thumbnails and snapshots made at the same time"),

    derived("HELDAR_DECODER", Part::Clips, Kind::Path, "heldar-decoder beside the server's own program", "program of the decoder processes"),

    var("HELDAR_HEALTH_INTERVAL_S", Part::Health, floor(5), "15", "seconds between refreshes of observed figures"),
    var("HELDAR_SMART_CHECK_ENABLED", Part::DiskHealth, Kind::Bool, "false", "ask disks for their SMART state"),
    var("HELDAR_SMART_DEVICES", Part::DiskHealth, Kind::List, "", "disks to ask"),
    var("HELDAR_SMART_CHECK_INTERVAL_S", Part::DiskHealth, floor(30), "300", "seconds between questions"),
    var("HELDAR_MDSTAT_CHECK_ENABLED", Part::DiskHealth, Kind::Bool, "false", "watch Linux software RAID"),

    var("HELDAR_RTSP_PORT", Part::Live, PORT, "8554", "restream port; 0: off"),
    var("HELDAR_WEBRTC_UDP_PORT", Part::Live, PORT, "8189", "one UDP port for all sessions"),
    var("HELDAR_WEBRTC_PUBLIC_IPS", Part::Live, Kind::AddressList, "", "addresses to announce"),
    unset("HELDAR_WEBRTC_ICE_SERVERS", Part::Live, Kind::JsonArray, "JSON array for viewers; may hold TURN credentials").secret(),
    var("HELDAR_MEDIA_SAME_ORIGIN", Part::Live, Kind::Bool, "false", "live URLs are paths only"),
    var("HELDAR_LIVEVIEW_TOKEN_TTL_SECS", Part::Live, floor(1), "3600", "seconds that a live token lives"),
    var("HELDAR_LIVE_REAPER_INTERVAL_S", Part::Live, Kind::Int(IntRule::zero_or_floor(2)), "15", "taken and without effect: live sessions are looked at each second and at every change of rights"),
    var("HELDAR_LIVE_IDLE_CLOSE_SECS", Part::Live, NATURAL, "60", "seconds without a viewer until a stream is closed"),
    var("HELDAR_LIVE_TRANSCODE_ENGINE", Part::Live, Kind::Words(&[&["software"], &["vaapi"], &["nvenc"]]), "software", "what converts pictures for viewers that cannot play the camera's; the stored setting wins"),
    var("HELDAR_VAAPI_DEVICE", Part::Live, Kind::Path, "/dev/dri/renderD128", "VA-API device"),

    var("HELDAR_SNAPSHOT_SCHEDULER_ENABLED", Part::Snapshots, Kind::Bool, "true", "take scheduled snapshots"),
    var("HELDAR_SNAPSHOT_RETENTION_HOURS", Part::Snapshots, NATURAL, "168", "hours that they are kept; 0: for ever"),

    var("HELDAR_BACKUP_ENABLED", Part::FootageBackup, Kind::Bool, "true", "run backup policies when they are due"),
    var("HELDAR_BACKUP_SCHEDULER_INTERVAL_S", Part::FootageBackup, floor(5), "60", "longest time between evaluations of policies, in seconds"),
    var("HELDAR_BACKUP_JOB_TIMEOUT_S", Part::FootageBackup, floor(30), "3600", "seconds a job may take"),
    var("HELDAR_BACKUP_MAX_CONCURRENT_JOBS", Part::FootageBackup, floor(1), "2", "jobs at the same time"),
    var("HELDAR_BACKUP_MAX_RETRIES", Part::FootageBackup, floor(0), "3", "attempts after a failure"),
    var("HELDAR_RCLONE_BIN", Part::FootageBackup, Kind::Path, "rclone", "helper for sftp and ftp destinations"),
    var("HELDAR_ARCHIVE_MAX_BYTES", Part::FootageBackup, NATURAL, "10737418240", "largest archive, in bytes"),
    var("HELDAR_ARCHIVE_DIR_MAX_BYTES", Part::FootageBackup, NATURAL, "53687091200", "all archives together, in bytes"),
    var("HELDAR_ARCHIVE_RETENTION_HOURS", Part::FootageBackup, NATURAL, "48", "hours that archives are kept; 0: for ever"),

    unset("HELDAR_MIRROR_RECORDINGS_DIR", Part::Mirror, Kind::Path, "folder of the second copy of recordings; unset: none"),

    var("HELDAR_ANR_ENABLED", Part::Refill, Kind::Bool, "false", "fill gaps from the camera's own storage"),
    var("HELDAR_ANR_INTERVAL_S", Part::Refill, floor(10), "300", "seconds between attempts"),
    var("HELDAR_ANR_MAX_GAP_HOURS", Part::Refill, floor(1), "24", "oldest gap that is tried, in hours"),
    var("HELDAR_ANR_MAX_ATTEMPTS", Part::Refill, floor(1), "3", "attempts per gap"),

    var("HELDAR_ONVIF_DISCOVERY_TIMEOUT_MS", Part::Devices, floor(200), "2000", "milliseconds that discovery listens"),
    var("HELDAR_ONVIF_REQUEST_TIMEOUT_MS", Part::Devices, floor(500), "5000", "milliseconds for an ONVIF request"),
    var("HELDAR_ISAPI_REQUEST_TIMEOUT_MS", Part::Devices, floor(500), "8000", "milliseconds for an ISAPI request"),
    var("HELDAR_NATIVE_ANPR_POLL_MS", Part::Devices, floor(250), "1000", "milliseconds between questions for plates"),
    var("HELDAR_CAMERA_EVENTS_REARM_SECS", Part::Devices, floor(1), "10", "seconds until an event of a device may repeat"),
    var("HELDAR_DISCOVERY_ALLOWED_RANGES", Part::Devices, Kind::CidrList, "", "ranges that may be searched, beside the private ones"),
];
