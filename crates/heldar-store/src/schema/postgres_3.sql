-- Heldar store, schema 3, PostgreSQL. The SQLite text beside it describes the same tables.
--
-- Perception: AI tasks and who works on them, batches of detections, how far their consumers have come, motion. Units
-- as in schema 1; `*_ppm` are millionths, exact for six decimals.
--
-- A batch of one detection is to cost less than 500 bytes, indexes included, and each detection of a large one less
-- than 200. So what repeats is stored once and named by a number: cameras, what a batch is about, who made it. Nothing
-- is stored that follows from something else: public ids follow from numbers, the site from the camera, the attributes
-- of origin from the producer.

-- What is to be analysed of a camera.
CREATE TABLE ai_task (
    -- `ai_` and 32 hexadecimal digits.
    id             TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 35),
    camera_id      TEXT COLLATE "C" NOT NULL REFERENCES camera (id) ON DELETE CASCADE,
    task_type      TEXT COLLATE "C" NOT NULL CHECK (length(task_type) > 0),
    enabled        SMALLINT NOT NULL CHECK (enabled IN (0, 1)),
    -- Which stream the pictures are of.
    stream_profile TEXT COLLATE "C" NOT NULL CHECK (stream_profile IN ('sub', 'main')),
    -- Pictures per second and their width in pixels, as asked for.
    fps            DOUBLE PRECISION NOT NULL CHECK (fps BETWEEN 0.02 AND 30),
    width          BIGINT NOT NULL CHECK (width BETWEEN 160 AND 3840),
    -- Any JSON; for the worker.
    config         TEXT COLLATE "C" NOT NULL,
    -- 1: pictures are decoded also when nobody asks for them.
    warm           SMALLINT NOT NULL CHECK (warm IN (0, 1)),
    -- Who asked for it: a person, or the server itself for a new camera.
    origin         TEXT COLLATE "C" NOT NULL CHECK (origin IN ('person', 'server')),
    created_us     BIGINT NOT NULL,
    updated_us     BIGINT NOT NULL,
    -- Counts changes; an update names the revision that it was made from.
    revision       BIGINT NOT NULL CHECK (revision >= 1),
    UNIQUE (camera_id, task_type, stream_profile)
);

-- A program that works on tasks, as it last told. The kernel holds the truth in memory; this is for the next start.
CREATE TABLE ai_worker (
    -- Id of the API key, or `system`.
    credential    TEXT COLLATE "C" NOT NULL CHECK (length(credential) BETWEEN 1 AND 128),
    worker_id     TEXT COLLATE "C" NOT NULL CHECK (length(worker_id) BETWEEN 1 AND 256),
    last_seen_us  BIGINT NOT NULL,
    -- First instant at which it counts as gone.
    live_until_us BIGINT NOT NULL,
    transport     TEXT COLLATE "C" NOT NULL CHECK (transport IN ('discovery', 'lease', 'stream')),
    -- JSON array of the types that it takes; null: any.
    task_types    TEXT COLLATE "C",
    -- Strength relative to other workers.
    capacity      DOUBLE PRECISION NOT NULL CHECK (capacity BETWEEN 0.01 AND 100),
    -- Tasks that it takes at most.
    max_tasks     BIGINT NOT NULL CHECK (max_tasks BETWEEN 1 AND 512),
    -- `lse_` and 32 hexadecimal digits; null: it has never leased.
    lease_id      TEXT COLLATE "C" CHECK (length(lease_id) = 36),
    PRIMARY KEY (credential, worker_id)
);

-- Who holds a task. No foreign key to the worker: the two are written as the kernel decides.
CREATE TABLE ai_task_lease (
    task_id     TEXT COLLATE "C" PRIMARY KEY REFERENCES ai_task (id) ON DELETE CASCADE,
    lease_id    TEXT COLLATE "C" NOT NULL CHECK (length(lease_id) = 36),
    credential  TEXT COLLATE "C" NOT NULL CHECK (length(credential) BETWEEN 1 AND 128),
    worker_id   TEXT COLLATE "C" NOT NULL CHECK (length(worker_id) BETWEEN 1 AND 256),
    acquired_us BIGINT NOT NULL,
    renewed_us  BIGINT NOT NULL,
    -- First instant at which it holds no more.
    expires_us  BIGINT NOT NULL
);

-- A camera of which there are batches or motion, by number.
CREATE TABLE watched_camera (
    camera_no INTEGER PRIMARY KEY,
    -- Null: the camera was deleted; what is left of it here is gone from every answer and being removed.
    camera_id TEXT COLLATE "C" UNIQUE REFERENCES camera (id) ON DELETE SET NULL
);
CREATE INDEX watched_camera_gone ON watched_camera (camera_no) WHERE camera_id IS NULL;

-- What batches are about, by number: a type of a camera, and the task if one was named. The task may be gone.
CREATE TABLE task_line (
    line_no   INTEGER PRIMARY KEY,
    camera_no INTEGER NOT NULL REFERENCES watched_camera (camera_no),
    task_type TEXT COLLATE "C" NOT NULL CHECK (length(task_type) > 0),
    -- `ai_` and 32 hexadecimal digits; null: none was named.
    task_id   TEXT COLLATE "C" CHECK (length(task_id) = 35),
    -- A batch of at most a day before is the newest of this line; decides when the row is of no use.
    used_us   BIGINT NOT NULL
);
CREATE UNIQUE INDEX task_line_once ON task_line (camera_no, task_type, coalesce(task_id, ''));
CREATE INDEX task_line_age ON task_line (used_us, line_no);

-- Who made batches, by number: a worker under a credential, or a part of the server.
CREATE TABLE producer (
    producer_no INTEGER PRIMARY KEY,
    -- Name of the part of the server; null for a worker.
    kernel      TEXT COLLATE "C" CHECK (length(kernel) BETWEEN 1 AND 64),
    -- Id of the API key, or `system`; null for a part of the server.
    credential  TEXT COLLATE "C" CHECK (length(credential) BETWEEN 1 AND 128),
    -- Null: the worker did not say.
    worker_id   TEXT COLLATE "C" CHECK (length(worker_id) BETWEEN 1 AND 256),
    -- As in `task_line`.
    used_us     BIGINT NOT NULL,
    CHECK ((kernel IS NULL) <> (credential IS NULL)),
    CHECK (kernel IS NULL OR worker_id IS NULL)
);
CREATE UNIQUE INDEX producer_once ON producer (coalesce(kernel, ''), coalesce(credential, ''), coalesce(worker_id, ''));
CREATE INDEX producer_age ON producer (used_us, producer_no);

-- Batches in commit order: what was committed with its detections, for whoever consumes it. No foreign keys: a check
-- for each batch costs more than the row, and only the one writer puts rows here. The batch's public id is `bat_` and
-- 16 digits of `seq` and 16 zeros.
CREATE TABLE outbox (
    -- Of the sequence that events share.
    seq             BIGINT PRIMARY KEY,
    line_no         INTEGER NOT NULL,
    producer_no     INTEGER NOT NULL,
    -- The frame id with its namespace, `t:` standing for `w:`, the task's id and a colon, `=` before anything else that
    -- begins with one of these two. Null: the frame had no id, so that the batch is never a duplicate.
    frame_key       TEXT COLLATE "C" CHECK (length(frame_key) > 0),
    -- One frame's results over several batches.
    part            SMALLINT NOT NULL CHECK (part BETWEEN 0 AND 63),
    -- 1: camera, type, frame and time come from a lease and a frame ticket.
    ticketed        SMALLINT NOT NULL CHECK (ticketed IN (0, 1)),
    -- 1: older than what the line had already; the zone engine skips it.
    late            SMALLINT NOT NULL CHECK (late IN (0, 1)),
    -- When the frame was captured; when the batch was committed.
    captured_us     BIGINT NOT NULL,
    created_us      BIGINT NOT NULL,
    detection_count SMALLINT NOT NULL CHECK (detection_count BETWEEN 0 AND 1000),
    -- `event.seq` of the event that came with this frame; the event may be gone.
    event_seq       BIGINT
);
-- A frame takes effect once. Rows without a frame id differ from all others.
CREATE UNIQUE INDEX outbox_frame ON outbox (line_no, frame_key, part);

-- What was seen in a frame. Clustered by batch: `detection_no` is `seq` times 1024 and the position in the batch, which
-- is below 1000. The public id is `det_`, 16 digits of `seq` and 16 of the position. No foreign key, as in `outbox`.
CREATE TABLE detection (
    detection_no   BIGINT PRIMARY KEY,
    camera_no      INTEGER NOT NULL,
    timestamp_us   BIGINT NOT NULL,
    confidence_ppm INTEGER CHECK (confidence_ppm BETWEEN 0 AND 1000000),
    -- Box in the picture: top left corner and size, each a share of the picture's. All null: it has none.
    x_ppm          INTEGER CHECK (x_ppm BETWEEN 0 AND 1000000),
    y_ppm          INTEGER CHECK (y_ppm BETWEEN 0 AND 1000000),
    w_ppm          INTEGER CHECK (w_ppm BETWEEN 0 AND 1000000),
    h_ppm          INTEGER CHECK (h_ppm BETWEEN 0 AND 1000000),
    label          TEXT COLLATE "C" CHECK (length(label) <= 256),
    track_id       TEXT COLLATE "C" CHECK (length(track_id) <= 256),
    -- JSON object of what the client sent beside; null: nothing. Where it comes from follows from the batch.
    attributes     TEXT COLLATE "C"
);
CREATE INDEX detection_camera ON detection (camera_no, timestamp_us);
CREATE INDEX detection_track ON detection (camera_no, track_id, timestamp_us) WHERE track_id IS NOT NULL;
CREATE INDEX detection_label ON detection (label, timestamp_us) WHERE label IS NOT NULL;

-- How many rows there are, moved in the commit that changes them. One row.
CREATE TABLE perception_total (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    batches    BIGINT NOT NULL CHECK (batches >= 0),
    detections BIGINT NOT NULL CHECK (detections >= 0)
) WITH (fillfactor = 50);
INSERT INTO perception_total (id, batches, detections) VALUES (1, 0, 0);

-- How far a consumer of batches has come.
CREATE TABLE consumer_cursor (
    consumer       TEXT COLLATE "C" PRIMARY KEY CHECK (length(consumer) BETWEEN 1 AND 128),
    -- `app`: part of the server, batches that it has not taken are kept. `reader`: a client that tells how far it is.
    kind           TEXT COLLATE "C" NOT NULL CHECK (kind IN ('app', 'reader')),
    -- Every batch up to here is finished; those above that are finished as well are in `consumer_finished`.
    low_seq        BIGINT NOT NULL CHECK (low_seq >= 0),
    -- Rows of `consumer_finished` and of `dead_letter`, moved in the commit that changes them.
    finished_above BIGINT NOT NULL CHECK (finished_above >= 0),
    parked         BIGINT NOT NULL CHECK (parked >= 0),
    updated_us     BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Batches above the low-water mark of a consumer that are finished: few, while one camera is retried.
CREATE TABLE consumer_finished (
    consumer TEXT COLLATE "C" NOT NULL REFERENCES consumer_cursor (consumer) ON DELETE CASCADE,
    seq      BIGINT NOT NULL,
    PRIMARY KEY (consumer, seq)
);

-- A batch that a consumer could not take. Its public id is `dlq_`, 16 digits of `seq` and 16 of the consumer's name.
CREATE TABLE dead_letter (
    consumer        TEXT COLLATE "C" NOT NULL REFERENCES consumer_cursor (consumer) ON DELETE CASCADE,
    -- The batch; its rows may be gone.
    seq             BIGINT NOT NULL,
    camera_no       INTEGER NOT NULL REFERENCES watched_camera (camera_no),
    task_type       TEXT COLLATE "C" NOT NULL,
    attempts        BIGINT NOT NULL CHECK (attempts >= 0),
    first_failed_us BIGINT NOT NULL,
    last_failed_us  BIGINT NOT NULL,
    error           TEXT COLLATE "C" NOT NULL CHECK (length(error) <= 800),
    -- 1: it is to be given to the consumer again.
    replay          SMALLINT NOT NULL CHECK (replay IN (0, 1)),
    PRIMARY KEY (consumer, seq)
);
CREATE INDEX dead_letter_camera ON dead_letter (camera_no, consumer, seq);
CREATE INDEX dead_letter_age ON dead_letter (last_failed_us, consumer, seq);
CREATE INDEX dead_letter_replay ON dead_letter (consumer, seq) WHERE replay = 1;

-- Stretches of time with motion; those of one camera neither overlap nor touch. For retention and timeline, which
-- would otherwise go through detections. Kept as long as footage may be, which is longer than detections are.
CREATE TABLE motion_span (
    camera_no INTEGER NOT NULL REFERENCES watched_camera (camera_no),
    start_us  BIGINT NOT NULL,
    end_us    BIGINT NOT NULL CHECK (end_us > start_us),
    PRIMARY KEY (camera_no, start_us)
);
CREATE INDEX motion_span_age ON motion_span (end_us, camera_no, start_us);
