-- Heldar store, schema 1, SQLite. The PostgreSQL text beside it describes the same tables.
--
-- Units: `*_us` are microseconds since 1970-01-01T00:00:00Z, `*_bytes` are bytes, `*_seconds` and `*_hours` are what
-- they say, `*_no` are numbers that this store gives out. Flags are 0 or 1. JSON is text. Intervals are half-open.
-- A value whose vocabulary may grow (causes, reasons) is bounded in length here and parsed by its reader; one whose
-- vocabulary is closed is listed here.

-- Who owns the store, and how far its numbers have been given out. One row.
CREATE TABLE writer_state (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    -- Count of owners so far; a group commits only under the epoch of its owner, so that a second owner fences the first.
    epoch          INTEGER NOT NULL CHECK (epoch >= 0),
    -- Number of the newest committed group; tells after a lost COMMIT whether it happened.
    group_no       INTEGER NOT NULL CHECK (group_no >= 0),
    -- Every `event.seq` below may have been given out. Raised ahead of use in blocks, fully synced, so that an unclean
    -- stop skips numbers and never uses one twice.
    next_seq       INTEGER NOT NULL CHECK (next_seq >= 1),
    -- The next `stream.stream_no`; segment ids contain it, so that it is never used twice.
    next_stream_no INTEGER NOT NULL CHECK (next_stream_no >= 1)
) STRICT;
INSERT INTO writer_state (id, epoch, group_no, next_seq, next_stream_no) VALUES (1, 0, 0, 1, 1);

-- Settings changed at run time; they win over the configuration.
CREATE TABLE setting (
    key        TEXT PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 128),
    -- As text; its reader knows the type.
    value      TEXT NOT NULL,
    updated_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A place with a time zone.
CREATE TABLE site (
    id         TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 128),
    name       TEXT NOT NULL CHECK (length(name) > 0),
    -- IANA name; null is the zone of the server.
    timezone   TEXT,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    -- Counts changes; an update names the revision that it was made from.
    revision   INTEGER NOT NULL CHECK (revision >= 1)
) STRICT, WITHOUT ROWID;

-- A device as configured.
CREATE TABLE camera (
    id                     TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 128),
    name                   TEXT NOT NULL CHECK (length(name) > 0),
    site_id                TEXT REFERENCES site (id) ON DELETE SET NULL,
    vendor                 TEXT NOT NULL,
    model                  TEXT,
    -- Host name or address of the device, for the vendor's URL templates.
    address                TEXT,
    rtsp_port              INTEGER NOT NULL CHECK (rtsp_port BETWEEN 1 AND 65535),
    username               TEXT,
    -- Sealed by the kernel; opaque here, as are the three columns of URLs below.
    password_sealed        TEXT,
    main_url_sealed        TEXT,
    sub_url_sealed         TEXT,
    -- Which stream is the recorded one.
    record_stream          TEXT NOT NULL CHECK (record_stream IN ('main', 'sub')),
    -- Whether the sub stream is recorded beside it.
    record_sub             INTEGER NOT NULL CHECK (record_sub IN (0, 1)),
    rtsp_transport         TEXT NOT NULL CHECK (rtsp_transport IN ('auto', 'tcp', 'udp')),
    -- Channel of a recorder or encoder, for the vendor's URL templates.
    channel                INTEGER NOT NULL CHECK (channel BETWEEN 1 AND 256),
    -- Any JSON.
    capabilities           TEXT NOT NULL,
    record_enabled         INTEGER NOT NULL CHECK (record_enabled IN (0, 1)),
    segment_seconds        INTEGER NOT NULL CHECK (segment_seconds BETWEEN 2 AND 3600),
    retention_hours        INTEGER NOT NULL CHECK (retention_hours >= 1),
    -- Longer retention of footage with motion; null is `retention_hours`.
    retention_motion_hours INTEGER CHECK (retention_motion_hours >= 1),
    -- The same for footage with events of severity warning and above.
    retention_alert_hours  INTEGER CHECK (retention_alert_hours >= 1),
    -- Null: no quota.
    storage_quota_bytes    INTEGER CHECK (storage_quota_bytes > 0),
    record_audio           INTEGER NOT NULL CHECK (record_audio IN (0, 1)),
    record_mode            TEXT NOT NULL CHECK (record_mode IN ('continuous', 'scheduled', 'event', 'scheduled_event')),
    pre_roll_seconds       INTEGER NOT NULL CHECK (pre_roll_seconds BETWEEN 0 AND 300),
    post_roll_seconds      INTEGER NOT NULL CHECK (post_roll_seconds BETWEEN 0 AND 3600),
    mirror_enabled         INTEGER NOT NULL CHECK (mirror_enabled IN (0, 1)),
    anr_enabled            INTEGER NOT NULL CHECK (anr_enabled IN (0, 1)),
    anr_replay_url_sealed  TEXT,
    native_anpr_enabled    INTEGER NOT NULL CHECK (native_anpr_enabled IN (0, 1)),
    native_events_enabled  INTEGER NOT NULL CHECK (native_events_enabled IN (0, 1)),
    enabled                INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    live_warm              INTEGER NOT NULL CHECK (live_warm IN (0, 1)),
    -- The higher is served first under a budget.
    priority               INTEGER NOT NULL,
    -- HTTP port of the device; null is 80, or 443 with TLS.
    http_port              INTEGER CHECK (http_port BETWEEN 1 AND 65535),
    device_tls             TEXT NOT NULL CHECK (device_tls IN ('off', 'accept_any', 'verify')),
    created_us             INTEGER NOT NULL,
    updated_us             INTEGER NOT NULL,
    revision               INTEGER NOT NULL CHECK (revision >= 1),
    -- Set when the camera was removed and its footage kept; null while it is in use.
    removed_us             INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX camera_site ON camera (site_id, id) WHERE site_id IS NOT NULL;

-- One encoded feed of a camera, with its stored totals.
CREATE TABLE stream (
    stream_no           INTEGER PRIMARY KEY,
    -- Null: the camera was deleted with its footage; what is left of it here is being removed.
    camera_id           TEXT REFERENCES camera (id) ON DELETE SET NULL,
    -- Id of the camera when the stream was made, the folder of its files; stays when the camera is deleted.
    folder              TEXT NOT NULL CHECK (length(folder) BETWEEN 1 AND 128),
    kind                TEXT NOT NULL CHECK (kind IN ('main', 'sub')),
    -- Segments that are not being deleted, and their bytes; moved in the commit that changes them.
    segment_count       INTEGER NOT NULL DEFAULT 0 CHECK (segment_count >= 0),
    total_bytes         INTEGER NOT NULL DEFAULT 0 CHECK (total_bytes >= 0),
    -- Latest end of any segment ever, deleted ones included; nothing may be recorded before it.
    newest_end_us       INTEGER,
    -- What the last session showed; null until one has.
    observed_codec      TEXT,
    observed_width      INTEGER,
    observed_height     INTEGER,
    -- Pictures per 1000 seconds.
    observed_fps_milli  INTEGER,
    UNIQUE (camera_id, kind)
) STRICT;

-- Codec parameters, each set stored once; segments name it by number. Never changed, never deleted.
CREATE TABLE codec_params (
    params_no          INTEGER PRIMARY KEY,
    codec              TEXT NOT NULL CHECK (codec IN ('h264', 'hevc', 'av1')),
    -- RFC 6381.
    codec_string       TEXT NOT NULL,
    -- Displayed size in pixels.
    width              INTEGER NOT NULL CHECK (width > 0),
    height             INTEGER NOT NULL CHECK (height > 0),
    -- Null in all four: no audio track.
    audio_codec        TEXT,
    audio_codec_string TEXT,
    -- Samples per second.
    audio_rate         INTEGER,
    audio_channels     INTEGER,
    CHECK ((audio_codec IS NULL) = (audio_codec_string IS NULL)
       AND (audio_codec IS NULL) = (audio_rate IS NULL)
       AND (audio_codec IS NULL) = (audio_channels IS NULL))
) STRICT;
CREATE UNIQUE INDEX codec_params_once ON codec_params
    (codec_string, width, height, coalesce(audio_codec_string, ''), coalesce(audio_rate, 0), coalesce(audio_channels, 0));

-- One file of footage. Clustered by stream and time: a window of one stream is one range. Its path follows from
-- `stream.folder`, `stream.kind`, `start_us` and `name_no`. Segments of one stream never overlap.
CREATE TABLE segment (
    stream_no  INTEGER NOT NULL REFERENCES stream (stream_no),
    start_us   INTEGER NOT NULL,
    -- End of the last picture written. With `start_us` the span; holes inside are listed in `holes`.
    end_us     INTEGER NOT NULL CHECK (end_us >= start_us),
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    -- When it was first indexed.
    created_us INTEGER NOT NULL,
    params_no  INTEGER NOT NULL REFERENCES codec_params (params_no),
    -- Number at the end of the file name; 1 has none.
    name_no    INTEGER NOT NULL CHECK (name_no >= 1),
    -- 0 open: being written. 1 sealed: complete. 2 deleting: gone from every answer, the file is being removed.
    state      INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
    -- 1: its pictures up to the next sync sample need the segment before it.
    dependent  INTEGER NOT NULL CHECK (dependent IN (0, 1)),
    -- Why the file ended; null while open.
    end_reason TEXT CHECK (length(end_reason) BETWEEN 1 AND 32),
    -- Cause of the hole that follows, where the end reason alone does not tell it.
    end_cause  TEXT CHECK (length(end_cause) BETWEEN 1 AND 32),
    -- Holes inside: JSON array of [start_us, end_us, cause]; null for none.
    holes      TEXT,
    PRIMARY KEY (stream_no, start_us),
    CHECK (state <> 0 OR end_reason IS NULL),
    CHECK (state <> 1 OR end_reason IS NOT NULL)
) STRICT, WITHOUT ROWID;
-- The few that a start has to look at: open and deleting ones.
CREATE INDEX segment_unsealed ON segment (state, stream_no, start_us) WHERE state <> 1;

-- Fragment entries of a segment, compactly coded by the kernel; apart, so that the timeline does not read them.
CREATE TABLE segment_index (
    stream_no INTEGER NOT NULL,
    start_us  INTEGER NOT NULL,
    entries   BLOB NOT NULL,
    PRIMARY KEY (stream_no, start_us),
    FOREIGN KEY (stream_no, start_us) REFERENCES segment (stream_no, start_us) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Bytes of segments by the hour in which they ended, for the write rate. What was written stays counted when it is
-- deleted; rows past a day are of no use and pruned.
CREATE TABLE stream_hour (
    stream_no INTEGER NOT NULL REFERENCES stream (stream_no) ON DELETE CASCADE,
    -- Hours since 1970-01-01T00:00:00Z.
    hour_no   INTEGER NOT NULL,
    bytes     INTEGER NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (stream_no, hour_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX stream_hour_age ON stream_hour (hour_no, stream_no);

-- Wanted time that was not recorded, or is no longer there.
CREATE TABLE gap (
    id              TEXT PRIMARY KEY CHECK (length(id) = 36),
    camera_id       TEXT NOT NULL REFERENCES camera (id) ON DELETE CASCADE,
    start_us        INTEGER NOT NULL,
    -- While open: how far it is known to reach.
    end_us          INTEGER NOT NULL CHECK (end_us >= start_us),
    open            INTEGER NOT NULL CHECK (open IN (0, 1)),
    -- The reason that held longest.
    cause           TEXT NOT NULL CHECK (length(cause) BETWEEN 1 AND 32),
    detail          TEXT,
    -- Masked.
    last_error      TEXT,
    -- Refill from the device.
    fill_state      TEXT NOT NULL CHECK (fill_state IN ('pending', 'filled', 'failed')),
    fill_attempts   INTEGER NOT NULL CHECK (fill_attempts >= 0),
    last_attempt_us INTEGER,
    filled_us       INTEGER,
    created_us      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX gap_time ON gap (camera_id, start_us, id);
CREATE INDEX gap_age ON gap (end_us, id) WHERE open = 0;
CREATE UNIQUE INDEX gap_open ON gap (camera_id) WHERE open = 1;

-- History of what was wanted: a row for each change, so that later edits do not rewrite the past.
CREATE TABLE wanted_change (
    camera_id TEXT NOT NULL REFERENCES camera (id) ON DELETE CASCADE,
    -- Holds from here to the next row.
    at_us     INTEGER NOT NULL,
    -- Why recording is not wanted; null: it is.
    reason    TEXT CHECK (length(reason) BETWEEN 1 AND 32),
    PRIMARY KEY (camera_id, at_us)
) STRICT, WITHOUT ROWID;

-- What is worth keeping of a camera's state across restarts.
CREATE TABLE camera_status (
    camera_id         TEXT PRIMARY KEY REFERENCES camera (id) ON DELETE CASCADE,
    state             TEXT NOT NULL CHECK (state IN ('unknown', 'disabled', 'connecting', 'recording', 'offline', 'error')),
    state_since_us    INTEGER NOT NULL,
    not_wanted_reason TEXT CHECK (length(not_wanted_reason) BETWEEN 1 AND 32),
    reason_class      TEXT CHECK (length(reason_class) BETWEEN 1 AND 32),
    -- Masked.
    last_error        TEXT CHECK (length(last_error) <= 800),
    -- End of the newest sealed segment.
    last_segment_us   INTEGER,
    -- Begin of the newest run.
    last_started_us   INTEGER,
    last_picture_us   INTEGER,
    -- Over the camera's life.
    reconnect_count   INTEGER NOT NULL CHECK (reconnect_count >= 0),
    segments_written  INTEGER NOT NULL CHECK (segments_written >= 0),
    updated_us        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened, in commit order.
CREATE TABLE event (
    seq          INTEGER PRIMARY KEY,
    -- UUID; makes appending again harmless.
    id           TEXT NOT NULL UNIQUE CHECK (length(id) = 36),
    -- Null: of no camera. The camera may be gone since.
    camera_id    TEXT,
    event_type   TEXT NOT NULL CHECK (length(event_type) BETWEEN 1 AND 64),
    severity     TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- When it happened; `created_us`: when it was known.
    timestamp_us INTEGER NOT NULL,
    created_us   INTEGER NOT NULL,
    -- JSON object.
    payload      TEXT NOT NULL
) STRICT;
CREATE INDEX event_time ON event (timestamp_us, seq);
CREATE INDEX event_camera ON event (camera_id, timestamp_us, seq);
CREATE INDEX event_type_time ON event (event_type, timestamp_us, seq);
CREATE INDEX event_severity ON event (severity, timestamp_us, seq);
-- Alert intervals for retention, answered from the index alone.
CREATE INDEX event_alert ON event (camera_id, timestamp_us, seq, event_type) WHERE severity <> 'info';

-- Who did what. Append only.
CREATE TABLE audit (
    id                TEXT PRIMARY KEY CHECK (length(id) = 36),
    created_us        INTEGER NOT NULL,
    -- The whole row as canonical JSON (RFC 8785); the columns below repeat what is searched.
    body              TEXT NOT NULL,
    actor             TEXT NOT NULL,
    action            TEXT NOT NULL,
    target_type       TEXT,
    target_id         TEXT,
    -- The one camera that it is about; null for none or several.
    subject_camera_id TEXT,
    outcome           TEXT NOT NULL CHECK (outcome IN ('ok', 'denied', 'failed')),
    ip                TEXT,
    request_id        TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_time ON audit (created_us, id);
CREATE INDEX audit_actor ON audit (actor, created_us, id);
CREATE INDEX audit_action ON audit (action, created_us, id);
CREATE INDEX audit_camera_time ON audit (subject_camera_id, created_us, id) WHERE subject_camera_id IS NOT NULL;

-- The cameras of an audit row that is about several; decides who may see it.
CREATE TABLE audit_camera (
    audit_id  TEXT NOT NULL REFERENCES audit (id) ON DELETE CASCADE,
    camera_id TEXT NOT NULL,
    PRIMARY KEY (audit_id, camera_id)
) STRICT, WITHOUT ROWID;

-- Audit rows from before this instant may be deleted; only the retention step moves it. One row.
CREATE TABLE audit_floor (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    before_us INTEGER NOT NULL
) STRICT;
INSERT INTO audit_floor (id, before_us) VALUES (1, 0);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE (ABORT, 'audit rows are append only');
END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
WHEN OLD.created_us >= (SELECT before_us FROM audit_floor WHERE id = 1)
BEGIN
    SELECT RAISE (ABORT, 'audit rows are append only');
END;

-- An exported file.
CREATE TABLE clip (
    id            TEXT PRIMARY KEY CHECK (length(id) = 37),
    -- The camera may be gone since.
    camera_id     TEXT NOT NULL,
    -- Name of the file in the folder of clips; never used twice.
    filename      TEXT NOT NULL UNIQUE,
    -- Name offered to whoever downloads it.
    download_name TEXT NOT NULL,
    -- The window that was asked for.
    from_us       INTEGER NOT NULL,
    to_us         INTEGER NOT NULL CHECK (to_us > from_us),
    -- Time of the window with footage; what the file plays; what it carries unpresented before. All in microseconds.
    covered_us    INTEGER NOT NULL CHECK (covered_us >= 0),
    media_us      INTEGER NOT NULL CHECK (media_us >= 0),
    lead_in_us    INTEGER NOT NULL CHECK (lead_in_us >= 0),
    -- JSON array of [start_us, end_us, cause].
    gaps          TEXT NOT NULL,
    size_bytes    INTEGER NOT NULL CHECK (size_bytes >= 0),
    segment_count INTEGER NOT NULL CHECK (segment_count >= 0),
    -- 64 hexadecimal digits.
    sha256        TEXT NOT NULL CHECK (length(sha256) = 64),
    -- JSON array of RFC 6381 strings.
    codecs        TEXT NOT NULL,
    name          TEXT,
    incident_id   TEXT,
    -- 1: exempt from the retention of clips.
    keep          INTEGER NOT NULL CHECK (keep IN (0, 1)),
    created_by    TEXT,
    created_us    INTEGER NOT NULL,
    -- When retention removes it; null: never.
    expires_us    INTEGER,
    -- 1: gone from every answer, the file is being removed.
    deleting      INTEGER NOT NULL CHECK (deleting IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX clip_time ON clip (created_us, id);
CREATE INDEX clip_camera ON clip (camera_id, created_us, id);
CREATE INDEX clip_expiry ON clip (expires_us, id) WHERE expires_us IS NOT NULL;
CREATE INDEX clip_deleting ON clip (id) WHERE deleting = 1;
