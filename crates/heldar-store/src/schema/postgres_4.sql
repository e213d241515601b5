-- Heldar store, schema 4, PostgreSQL. The SQLite text beside it describes the same tables.
--
-- Scheduled snapshots: when pictures are to be taken, and those that were. Units as in schema 1.

-- When pictures of a camera are to be taken.
CREATE TABLE snapshot_schedule (
    -- `snsch_` and 32 hexadecimal digits.
    id               TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 38),
    camera_id        TEXT COLLATE "C" NOT NULL REFERENCES camera (id) ON DELETE CASCADE,
    interval_seconds BIGINT NOT NULL CHECK (interval_seconds BETWEEN 5 AND 86400),
    enabled          SMALLINT NOT NULL CHECK (enabled IN (0, 1)),
    -- When a picture was last due and tried for; null: never.
    fired_us         BIGINT,
    -- Why there was none then; null: there was one.
    last_error       TEXT COLLATE "C" CHECK (length(last_error) BETWEEN 1 AND 500),
    created_us       BIGINT NOT NULL,
    updated_us       BIGINT NOT NULL,
    -- Counts changes by people; an update names the revision that it was made from.
    revision         BIGINT NOT NULL CHECK (revision >= 1)
);
CREATE INDEX snapshot_schedule_camera ON snapshot_schedule (camera_id, created_us, id);

-- A camera of which there are snapshots, by number: a camera that is deleted takes all of them with one row.
CREATE TABLE snapshot_camera (
    camera_no INTEGER PRIMARY KEY,
    -- Null: the camera was deleted; its snapshots are gone from every answer and being removed.
    camera_id TEXT COLLATE "C" UNIQUE REFERENCES camera (id) ON DELETE SET NULL,
    -- Name of the folder of its files: the id of the camera, also when that is gone.
    folder    TEXT COLLATE "C" NOT NULL CHECK (length(folder) BETWEEN 1 AND 128)
);
CREATE INDEX snapshot_camera_gone ON snapshot_camera (camera_no) WHERE camera_id IS NULL;

-- A picture that was taken. The name of its file follows from `taken_us`.
CREATE TABLE snapshot (
    -- `snap_` and 32 hexadecimal digits.
    id          TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 37),
    camera_no   INTEGER NOT NULL REFERENCES snapshot_camera (camera_no),
    -- The schedule may be gone since. Null: none.
    schedule_id TEXT COLLATE "C" CHECK (length(schedule_id) = 38),
    -- When the picture was captured. Of a camera there is one in a millisecond at most.
    taken_us    BIGINT NOT NULL,
    size_bytes  BIGINT NOT NULL CHECK (size_bytes >= 0),
    created_us  BIGINT NOT NULL,
    UNIQUE (camera_no, taken_us)
);
CREATE INDEX snapshot_age ON snapshot (taken_us, id);
