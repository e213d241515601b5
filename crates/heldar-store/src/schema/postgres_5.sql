-- Heldar store, schema 5, PostgreSQL. The SQLite text beside it describes the same tables.
--
-- Zones: where people want to be told of what moves, the memory of the engine that watches them, and what happened there;
-- and the feed: who has seen an event, what a reader can no longer get.
-- Units as in schema 1, `*_ppm` as in schema 3.
--
-- A zone event is to cost less than 200 bytes in a SQLite file, indexes included. So what repeats is named by a number, as
-- in schema 3, and nothing is stored that follows from something else: the event of the feed has the same `seq`, frame
-- and ticket are those of the batch while that is kept, the name of the picture's file follows from the public id.

-- A part of a picture as a person drew it. Polygon, labels and settings are JSON that only their reader understands.
CREATE TABLE zone (
    -- `zone_` and 32 hexadecimal digits.
    id            TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 37),
    camera_id     TEXT COLLATE "C" NOT NULL REFERENCES camera (id) ON DELETE CASCADE,
    name          TEXT COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    kind          TEXT COLLATE "C" NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
    polygon       TEXT COLLATE "C" NOT NULL,
    -- How long somebody stays until that is told; 0: it is not.
    dwell_seconds DOUBLE PRECISION NOT NULL CHECK (dwell_seconds >= 0),
    labels        TEXT COLLATE "C" NOT NULL,
    severity      TEXT COLLATE "C" NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    config        TEXT COLLATE "C" NOT NULL,
    enabled       SMALLINT NOT NULL CHECK (enabled IN (0, 1)),
    created_us    BIGINT NOT NULL,
    updated_us    BIGINT NOT NULL,
    -- Counts changes; an update names the revision that it was made from.
    revision      BIGINT NOT NULL CHECK (revision >= 1),
    UNIQUE (camera_id, name)
);
CREATE INDEX zone_age ON zone (camera_id, created_us, id);

-- What the engine of a camera remembers, as of the newest commit of what it found.
CREATE TABLE zone_state (
    camera_id TEXT COLLATE "C" PRIMARY KEY REFERENCES camera (id) ON DELETE CASCADE,
    -- `seq` of the newest batch that it has taken; 0: none.
    seq       BIGINT NOT NULL CHECK (seq >= 0),
    -- The instant up to which it has let time pass.
    ticked_us BIGINT NOT NULL,
    saved_us  BIGINT NOT NULL,
    state     BYTEA NOT NULL
) WITH (fillfactor = 50);

-- How many are in a zone now. None has ever been in one without a row.
CREATE TABLE zone_occupancy (
    zone_id    TEXT COLLATE "C" PRIMARY KEY REFERENCES zone (id) ON DELETE CASCADE,
    count      BIGINT NOT NULL CHECK (count >= 0),
    -- JSON object: how many of each label.
    labels     TEXT COLLATE "C" NOT NULL,
    -- How the count stands to the limits of the zone.
    state      TEXT COLLATE "C" NOT NULL CHECK (length(state) BETWEEN 1 AND 32),
    updated_us BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Crossings of a line since its counters last started anew.
CREATE TABLE zone_counter (
    zone_id    TEXT COLLATE "C" PRIMARY KEY REFERENCES zone (id) ON DELETE CASCADE,
    in_count   BIGINT NOT NULL CHECK (in_count >= 0),
    out_count  BIGINT NOT NULL CHECK (out_count >= 0),
    since_us   BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    -- JSON object: the two counts of each label.
    by_label   TEXT COLLATE "C" NOT NULL
) WITH (fillfactor = 50);

-- A camera of which there are zone events, by number.
CREATE TABLE zone_camera (
    camera_no INTEGER PRIMARY KEY,
    -- Null: the camera was deleted; its zone events are gone from every answer and being removed.
    camera_id TEXT COLLATE "C" UNIQUE REFERENCES camera (id) ON DELETE SET NULL
);
CREATE INDEX zone_camera_gone ON zone_camera (camera_no) WHERE camera_id IS NULL;

-- What zone events are about, by number: what happened in which zone, as it was called then, seen by which type of task.
-- The zone may be gone.
CREATE TABLE zone_line (
    line_no    INTEGER PRIMARY KEY,
    camera_no  INTEGER NOT NULL REFERENCES zone_camera (camera_no),
    zone_id    TEXT COLLATE "C" NOT NULL CHECK (length(zone_id) = 37),
    zone_name  TEXT COLLATE "C" NOT NULL CHECK (length(zone_name) BETWEEN 1 AND 256),
    event_type TEXT COLLATE "C" NOT NULL CHECK (length(event_type) BETWEEN 1 AND 64),
    -- Null: of the zone as a whole.
    task_type  TEXT COLLATE "C" CHECK (length(task_type) > 0),
    -- A zone event of at most a day before is the newest of this line; decides when the row is of no use.
    used_us    BIGINT NOT NULL
);
CREATE UNIQUE INDEX zone_line_once ON zone_line (camera_no, zone_id, event_type, coalesce(task_type, ''), zone_name);
CREATE INDEX zone_line_age ON zone_line (used_us, line_no);

-- What happened in a zone. No foreign keys, as in `outbox`. The public id is `zev_`, 16 digits of `timestamp_us` and 16 of
-- `id_bits`, which whoever found the event chose at random.
CREATE TABLE zone_event (
    -- Of the sequence that events and batches share: the number of its event in the feed, or, if it has none there, one
    -- of its own.
    seq            BIGINT PRIMARY KEY,
    -- When it happened, in the time of the pictures; `created_us`: when it was known.
    timestamp_us   BIGINT NOT NULL,
    id_bits        BIGINT NOT NULL,
    created_us     BIGINT NOT NULL,
    -- The batch that made it known: its `seq` times 1024, and the position of the detection there; 1023: of none of
    -- them. Null: time made it known. The batch may be gone.
    source_no      BIGINT,
    -- How long: of a visit, of a sum of visits, of being occupied. Null: that says nothing here.
    dwell_us       BIGINT CHECK (dwell_us >= 0),
    line_no        INTEGER NOT NULL,
    -- Follows from the line; here for its index.
    camera_no      INTEGER NOT NULL,
    confidence_ppm INTEGER CHECK (confidence_ppm BETWEEN 0 AND 1000000),
    -- The point that was followed, as shares of the picture.
    anchor_x_ppm   INTEGER CHECK (anchor_x_ppm BETWEEN 0 AND 1000000),
    anchor_y_ppm   INTEGER CHECK (anchor_y_ppm BETWEEN 0 AND 1000000),
    -- Box as in `detection`.
    x_ppm          INTEGER CHECK (x_ppm BETWEEN 0 AND 1000000),
    y_ppm          INTEGER CHECK (y_ppm BETWEEN 0 AND 1000000),
    w_ppm          INTEGER CHECK (w_ppm BETWEEN 0 AND 1000000),
    h_ppm          INTEGER CHECK (h_ppm BETWEEN 0 AND 1000000),
    -- Where it went, in hundredths of a degree from the right downwards, and how fast, in millionths of the picture's
    -- width in a second.
    direction_cdeg INTEGER CHECK (direction_cdeg BETWEEN 0 AND 35999),
    speed_ppm      INTEGER CHECK (speed_ppm >= 0),
    -- 1: its picture is kept.
    evidence       SMALLINT NOT NULL CHECK (evidence IN (0, 1)),
    track_id       TEXT COLLATE "C" CHECK (length(track_id) <= 256),
    label          TEXT COLLATE "C" CHECK (length(label) <= 256),
    -- Why, where the track alone is not the reason.
    reason         TEXT COLLATE "C" CHECK (length(reason) BETWEEN 1 AND 64)
);
CREATE INDEX zone_event_camera ON zone_event (camera_no, timestamp_us);
-- By zone, by type, by type of task: each is some lines.
CREATE INDEX zone_event_line ON zone_event (line_no, timestamp_us);
CREATE INDEX zone_event_track ON zone_event (camera_no, track_id, timestamp_us) WHERE track_id IS NOT NULL;
CREATE INDEX zone_event_time ON zone_event (timestamp_us);

-- The lease under which results came: tracks of one lease are not those of another.
-- `lse_` and 32 hexadecimal digits; null: the worker held no lease on the task.
ALTER TABLE producer ADD COLUMN lease_id TEXT COLLATE "C" CHECK (length(lease_id) = 36);
DROP INDEX producer_once;
CREATE UNIQUE INDEX producer_once
    ON producer (coalesce(kernel, ''), coalesce(credential, ''), coalesce(worker_id, ''), coalesce(lease_id, ''));

-- The one mark of an event as seen: name of the principal, and when. Both null: nobody has marked it.
ALTER TABLE event ADD COLUMN seen_by TEXT COLLATE "C" CHECK (length(seen_by) BETWEEN 1 AND 256);
ALTER TABLE event ADD COLUMN seen_us BIGINT CHECK ((seen_us IS NULL) = (seen_by IS NULL));

-- The highest `seq` of an event, and of a batch, that age has removed: whoever goes on from below has missed some.
CREATE TABLE feed_floor (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    event_seq BIGINT NOT NULL CHECK (event_seq >= 0),
    batch_seq BIGINT NOT NULL CHECK (batch_seq >= 0)
);
-- Of what went before this step only the oldest row that is left can tell.
INSERT INTO feed_floor (id, event_seq, batch_seq) VALUES (1,
    (SELECT coalesce(MIN(seq), 1) - 1 FROM event), (SELECT coalesce(MIN(seq), 1) - 1 FROM outbox));
