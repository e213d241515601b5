-- Heldar store, schema 6, PostgreSQL. The SQLite text beside it describes the same tables.
--
-- Webhooks: who wants to be told of events, how far each of them is, what became of each event that was sent.
-- Units as in schema 1.

-- Somebody who is told of events over HTTP. What can be set, and behind it how the subscription stands.
CREATE TABLE webhook (
    -- `whs_` and 32 hexadecimal digits.
    id              TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 36),
    name            TEXT COLLATE "C" NOT NULL CHECK (length(name) > 0),
    -- Where to, sealed: addresses of services hold tokens.
    url             TEXT COLLATE "C" NOT NULL CHECK (length(url) > 0),
    -- What requests are signed or authorised with, sealed.
    secret          TEXT COLLATE "C" CHECK (length(secret) > 0),
    -- JSON list of types, of which one may end in `*`.
    event_types     TEXT COLLATE "C" NOT NULL,
    min_severity    TEXT COLLATE "C" NOT NULL CHECK (min_severity IN ('info', 'warning', 'critical')),
    -- JSON list of cameras; empty: all, and what is about none.
    camera_ids      TEXT COLLATE "C" NOT NULL,
    -- In which form requests are made.
    format          TEXT COLLATE "C" NOT NULL CHECK (format IN ('heldar', 'ntfy', 'telegram', 'slack', 'pushover')),
    -- Whom the service is to tell, where its form names somebody.
    recipient       TEXT COLLATE "C" CHECK (length(recipient) > 0),
    enabled         SMALLINT NOT NULL CHECK (enabled IN (0, 1)),
    created_us      BIGINT NOT NULL,
    updated_us      BIGINT NOT NULL,
    -- Counts changes of the columns above; an update names the revision that it was made from.
    revision        BIGINT NOT NULL CHECK (revision >= 1),
    -- Every event up to this number was delivered, given up, or not for it.
    cursor_seq      BIGINT NOT NULL CHECK (cursor_seq >= 0),
    -- When the newest of them was known; null: there was none yet.
    cursor_us       BIGINT,
    -- Since when nothing was delivered; null: the last attempt succeeded.
    failing_us      BIGINT,
    -- The next attempt is not made before; null: it may be made now.
    next_attempt_us BIGINT,
    -- Why the server has disabled it; null: it has not.
    disabled_reason TEXT COLLATE "C" CHECK (length(disabled_reason) > 0),
    -- When it was last told that its URL or secret cannot be opened.
    warned_us       BIGINT
);

-- What became of an event for a subscription, and of a test. One row for all attempts.
CREATE TABLE webhook_delivery (
    -- `whd_` and 32 hexadecimal digits, which follow from the subscription and the event.
    id              TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 36),
    webhook_id      TEXT COLLATE "C" NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    -- No foreign key: the event may be gone. Null: a test, or a note about events that are gone.
    event_id        TEXT COLLATE "C" CHECK (length(event_id) = 36),
    event_type      TEXT COLLATE "C",
    event_seq       BIGINT,
    status          TEXT COLLATE "C" NOT NULL CHECK (status IN ('delivered', 'failed')),
    -- Attempts in all, replays among them; and those that the receiver refused.
    attempts        BIGINT NOT NULL CHECK (attempts >= 0),
    refusals        BIGINT NOT NULL CHECK (refusals BETWEEN 0 AND attempts),
    -- HTTP status of the last answer.
    response_code   BIGINT CHECK (response_code BETWEEN 100 AND 999),
    error           TEXT COLLATE "C",
    created_us      BIGINT NOT NULL,
    delivered_us    BIGINT CHECK ((delivered_us IS NOT NULL) = (status = 'delivered')),
    -- When it is tried again; null: it is not.
    next_attempt_us BIGINT,
    -- 1: given up.
    parked          SMALLINT NOT NULL CHECK (parked IN (0, 1)),
    UNIQUE (webhook_id, event_id)
);
CREATE INDEX webhook_delivery_newest ON webhook_delivery (webhook_id, created_us, id);
CREATE INDEX webhook_delivery_status ON webhook_delivery (webhook_id, status, created_us, id);
CREATE INDEX webhook_delivery_age ON webhook_delivery (created_us, id);
CREATE INDEX webhook_delivery_failed ON webhook_delivery (webhook_id, event_seq)
    WHERE status = 'failed' AND event_seq IS NOT NULL;

-- Events that are to be sent once more.
CREATE TABLE webhook_replay (
    webhook_id TEXT COLLATE "C" NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    event_seq  BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, event_seq)
);

-- A window of a week in which a camera is recorded, in civil time of the camera's site.
CREATE TABLE record_schedule (
    -- `recsch_` and 32 hexadecimal digits.
    id           TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 39),
    camera_id    TEXT COLLATE "C" NOT NULL REFERENCES camera (id) ON DELETE CASCADE,
    -- Days on which it begins, a digit each as they were sent: 0 is Monday.
    days         TEXT COLLATE "C" NOT NULL CHECK (length(days) BETWEEN 1 AND 64),
    -- Minutes since midnight; an end that is not later is on the day after.
    start_minute BIGINT NOT NULL CHECK (start_minute BETWEEN 0 AND 1439),
    end_minute   BIGINT NOT NULL CHECK (end_minute BETWEEN 0 AND 1439),
    enabled      SMALLINT NOT NULL CHECK (enabled IN (0, 1)),
    created_us   BIGINT NOT NULL,
    updated_us   BIGINT NOT NULL,
    -- Counts changes; an update names the revision that it was made from.
    revision     BIGINT NOT NULL CHECK (revision >= 1),
    CHECK (start_minute <> end_minute)
);
CREATE INDEX record_schedule_camera ON record_schedule (camera_id, created_us, id);

-- The newest recording of a camera that something started. It stays when it is over, so that a start knows what was wanted
-- while nothing ran.
CREATE TABLE record_window (
    camera_id   TEXT COLLATE "C" PRIMARY KEY REFERENCES camera (id) ON DELETE CASCADE,
    -- When it happened.
    opened_us   BIGINT NOT NULL,
    -- What was captured from here on is part of it, as far as there is any: the pre-roll.
    from_us     BIGINT NOT NULL CHECK (from_us <= opened_us),
    -- First instant of what there was when it happened.
    recorded_us BIGINT NOT NULL CHECK (recorded_us <= opened_us),
    -- Pictures from here on are not part of it.
    end_us      BIGINT NOT NULL CHECK (end_us >= opened_us),
    -- What started it.
    source      TEXT COLLATE "C" NOT NULL CHECK (length(source) BETWEEN 1 AND 64)
);
