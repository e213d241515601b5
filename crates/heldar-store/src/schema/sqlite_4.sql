-- Heldar store, schema 4, SQLite. The PostgreSQL text beside it describes the same tables.
--
-- Scheduled snapshots: when pictures are to be taken, and those that were. Units as in schema 1.

-- When pictures of a camera are to be taken.
CREATE TABLE snapshot_schedule (
    -- `snsch_` and 32 hexadecimal digits.
    id               TEXT PRIMARY KEY CHECK (length(id) = 38),
    camera_id        TEXT NOT NULL REFERENCES camera (id) ON DELETE CASCADE,
    interval_seconds INTEGER NOT NULL CHECK (interval_seconds BETWEEN 5 AND 86400),
    enabled          INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    -- When a picture was last due and tried for; null: never.
    fired_us         INTEGER,
    -- Why there was none then; null: there was one.
    last_error       TEXT CHECK (length(last_error) BETWEEN 1 AND 500),
    created_us       INTEGER NOT NULL,
    updated_us       INTEGER NOT NULL,
    -- Counts changes by people; an update names the revision that it was made from.
    revision         INTEGER NOT NULL CHECK (revision >= 1)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_schedule_camera ON snapshot_schedule (camera_id, created_us, id);

-- A camera of which there are snapshots, by number: a camera that is deleted takes all of them with one row.
CREATE TABLE snapshot_camera (
    camera_no INTEGER PRIMARY KEY,
    -- Null: the camera was deleted; its snapshots are gone from every answer and being removed.
    camera_id TEXT UNIQUE REFERENCES camera (id) ON DELETE SET NULL,
    -- Name of the folder of its files: the id of the camera, also when that is gone.
    folder    TEXT NOT NULL CHECK (length(folder) BETWEEN 1 AND 128)
) STRICT;
CREATE INDEX snapshot_camera_gone ON snapshot_camera (camera_no) WHERE camera_id IS NULL;

-- A picture that was taken. The name of its file follows from `taken_us`.
CREATE TABLE snapshot (
    -- `snap_` and 32 hexadecimal digits.
    id          TEXT PRIMARY KEY CHECK (length(id) = 37),
    camera_no   INTEGER NOT NULL REFERENCES snapshot_camera (camera_no),
    -- The schedule may be gone since. Null: none.
    schedule_id TEXT CHECK (length(schedule_id) = 38),
    -- When the picture was captured. Of a camera there is one in a millisecond at most.
    taken_us    INTEGER NOT NULL,
    size_bytes  INTEGER NOT NULL CHECK (size_bytes >= 0),
    created_us  INTEGER NOT NULL,
    UNIQUE (camera_no, taken_us)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_age ON snapshot (taken_us, id);
