-- Heldar store, schema 2, PostgreSQL. The SQLite text beside it describes the same tables.
--
-- People, keys and how they sign in. Units as in schema 1. Roles, capabilities, scopes and networks are texts of the
-- kernel, which reads them leniently: what it cannot read grants nothing. The store knows one rule about them, that of
-- the last administrator.

-- A person.
CREATE TABLE account (
    -- `usr_` and 32 hexadecimal digits.
    id                   TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 36),
    username             TEXT COLLATE "C" NOT NULL CHECK (length(username) > 0),
    -- The username without regard to case, as the kernel folds it.
    username_key         TEXT COLLATE "C" NOT NULL UNIQUE CHECK (length(username_key) > 0),
    display_name         TEXT COLLATE "C",
    -- PHC string.
    password_hash        TEXT COLLATE "C" NOT NULL,
    role                 TEXT COLLATE "C" NOT NULL,
    active               SMALLINT NOT NULL CHECK (active IN (0, 1)),
    -- 1: nothing but a new password is accepted until there is one.
    must_change_password SMALLINT NOT NULL CHECK (must_change_password IN (0, 1)),
    scope_kind           TEXT COLLATE "C" NOT NULL,
    -- JSON arrays: camera ids, site ids, networks in CIDR notation.
    scope_cameras        TEXT COLLATE "C" NOT NULL,
    scope_sites          TEXT COLLATE "C" NOT NULL,
    allowed_networks     TEXT COLLATE "C" NOT NULL,
    last_login_us        BIGINT,
    created_us           BIGINT NOT NULL,
    updated_us           BIGINT NOT NULL,
    -- Counts changes; an update names the revision that it was made from.
    revision             BIGINT NOT NULL CHECK (revision >= 1)
);
-- The administrators, one of whom must stay.
CREATE INDEX account_administrator ON account (id) WHERE role = 'admin' AND active = 1 AND scope_kind = 'all';

-- A credential of a machine.
CREATE TABLE api_key (
    -- `key_` and 32 hexadecimal digits.
    id                 TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 36),
    name               TEXT COLLATE "C" NOT NULL CHECK (length(name) > 0),
    -- SHA-256 of the whole key in lowercase hexadecimal digits.
    key_hash           TEXT COLLATE "C" NOT NULL UNIQUE CHECK (length(key_hash) = 64),
    -- Its first characters, to tell keys apart by.
    key_prefix         TEXT COLLATE "C" NOT NULL,
    -- The secret before the last rotation, and how long it still works; both null: there is none.
    old_key_hash       TEXT COLLATE "C" UNIQUE CHECK (length(old_key_hash) = 64),
    old_valid_until_us BIGINT,
    role               TEXT COLLATE "C" NOT NULL,
    active             SMALLINT NOT NULL CHECK (active IN (0, 1)),
    -- JSON array; null: those of the role.
    capabilities       TEXT COLLATE "C",
    scope_kind         TEXT COLLATE "C" NOT NULL,
    -- JSON arrays: camera ids, site ids, networks in CIDR notation.
    scope_cameras      TEXT COLLATE "C" NOT NULL,
    scope_sites        TEXT COLLATE "C" NOT NULL,
    allowed_networks   TEXT COLLATE "C" NOT NULL,
    description        TEXT COLLATE "C",
    -- Null: never.
    expires_us         BIGINT,
    -- Set when it was withdrawn for good.
    revoked_us         BIGINT,
    last_used_us       BIGINT,
    last_used_ip       TEXT COLLATE "C",
    -- Principal that made it; it may be gone since.
    created_by         TEXT COLLATE "C",
    created_us         BIGINT NOT NULL,
    updated_us         BIGINT NOT NULL,
    -- Counts changes, uses not among them; an update names the revision that it was made from.
    revision           BIGINT NOT NULL CHECK (revision >= 1),
    CHECK ((old_key_hash IS NULL) = (old_valid_until_us IS NULL))
);

-- A person who is signed in.
CREATE TABLE session (
    -- `ses_` and 32 hexadecimal digits.
    id           TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 36),
    -- SHA-256 of the whole token in lowercase hexadecimal digits.
    token_hash   TEXT COLLATE "C" NOT NULL UNIQUE CHECK (length(token_hash) = 64),
    account_id   TEXT COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    created_us   BIGINT NOT NULL,
    last_used_us BIGINT NOT NULL,
    -- First instant at which it is none any more.
    expires_us   BIGINT NOT NULL,
    -- Address and program of the client at sign-in.
    ip           TEXT COLLATE "C",
    user_agent   TEXT COLLATE "C"
);
CREATE INDEX session_account ON session (account_id, id);
CREATE INDEX session_expiry ON session (expires_us, id);

-- Consecutive failed sign-ins to an account from one client.
CREATE TABLE sign_in_failure (
    account_id      TEXT COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- A source or a device, as the kernel names it.
    client          TEXT COLLATE "C" NOT NULL CHECK (length(client) BETWEEN 1 AND 128),
    failures        BIGINT NOT NULL CHECK (failures >= 0),
    -- First instant at which the client may try again; null: it was never kept from it.
    locked_until_us BIGINT,
    -- The last failure that was counted.
    updated_us      BIGINT NOT NULL,
    PRIMARY KEY (account_id, client)
);
CREATE INDEX sign_in_failure_age ON sign_in_failure (updated_us, account_id, client);

-- Sources and devices that have signed in to an account; the newest few of each.
CREATE TABLE known_client (
    account_id TEXT COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- As in `sign_in_failure`.
    client     TEXT COLLATE "C" NOT NULL CHECK (length(client) BETWEEN 1 AND 128),
    -- Its last sign-in.
    last_us    BIGINT NOT NULL,
    -- First instant at which it is known no more; null: never.
    expires_us BIGINT,
    PRIMARY KEY (account_id, client)
);
CREATE INDEX known_client_expiry ON known_client (expires_us, account_id, client) WHERE expires_us IS NOT NULL;

-- Layouts, language, theme and the like of one principal.
CREATE TABLE preference (
    -- Id of an account, with which it goes; `system` while access control is off.
    owner      TEXT COLLATE "C" PRIMARY KEY CHECK (length(owner) BETWEEN 1 AND 128),
    -- JSON object.
    document   TEXT COLLATE "C" NOT NULL,
    updated_us BIGINT NOT NULL
);
