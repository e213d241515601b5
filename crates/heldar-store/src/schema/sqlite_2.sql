-- Heldar store, schema 2, SQLite. The PostgreSQL text beside it describes the same tables.
--
-- People, keys and how they sign in. Units as in schema 1. Roles, capabilities, scopes and networks are texts of the
-- kernel, which reads them leniently: what it cannot read grants nothing. The store knows one rule about them, that of
-- the last administrator.

-- A person.
CREATE TABLE account (
    -- `usr_` and 32 hexadecimal digits.
    id                   TEXT PRIMARY KEY CHECK (length(id) = 36),
    username             TEXT NOT NULL CHECK (length(username) > 0),
    -- The username without regard to case, as the kernel folds it.
    username_key         TEXT NOT NULL UNIQUE CHECK (length(username_key) > 0),
    display_name         TEXT,
    -- PHC string.
    password_hash        TEXT NOT NULL,
    role                 TEXT NOT NULL,
    active               INTEGER NOT NULL CHECK (active IN (0, 1)),
    -- 1: nothing but a new password is accepted until there is one.
    must_change_password INTEGER NOT NULL CHECK (must_change_password IN (0, 1)),
    scope_kind           TEXT NOT NULL,
    -- JSON arrays: camera ids, site ids, networks in CIDR notation.
    scope_cameras        TEXT NOT NULL,
    scope_sites          TEXT NOT NULL,
    allowed_networks     TEXT NOT NULL,
    last_login_us        INTEGER,
    created_us           INTEGER NOT NULL,
    updated_us           INTEGER NOT NULL,
    -- Counts changes; an update names the revision that it was made from.
    revision             INTEGER NOT NULL CHECK (revision >= 1)
) STRICT, WITHOUT ROWID;
-- The administrators, one of whom must stay.
CREATE INDEX account_administrator ON account (id) WHERE role = 'admin' AND active = 1 AND scope_kind = 'all';

-- A credential of a machine.
CREATE TABLE api_key (
    -- `key_` and 32 hexadecimal digits.
    id                 TEXT PRIMARY KEY CHECK (length(id) = 36),
    name               TEXT NOT NULL CHECK (length(name) > 0),
    -- SHA-256 of the whole key in lowercase hexadecimal digits.
    key_hash           TEXT NOT NULL UNIQUE CHECK (length(key_hash) = 64),
    -- Its first characters, to tell keys apart by.
    key_prefix         TEXT NOT NULL,
    -- The secret before the last rotation, and how long it still works; both null: there is none.
    old_key_hash       TEXT UNIQUE CHECK (length(old_key_hash) = 64),
    old_valid_until_us INTEGER,
    role               TEXT NOT NULL,
    active             INTEGER NOT NULL CHECK (active IN (0, 1)),
    -- JSON array; null: those of the role.
    capabilities       TEXT,
    scope_kind         TEXT NOT NULL,
    -- JSON arrays: camera ids, site ids, networks in CIDR notation.
    scope_cameras      TEXT NOT NULL,
    scope_sites        TEXT NOT NULL,
    allowed_networks   TEXT NOT NULL,
    description        TEXT,
    -- Null: never.
    expires_us         INTEGER,
    -- Set when it was withdrawn for good.
    revoked_us         INTEGER,
    last_used_us       INTEGER,
    last_used_ip       TEXT,
    -- Principal that made it; it may be gone since.
    created_by         TEXT,
    created_us         INTEGER NOT NULL,
    updated_us         INTEGER NOT NULL,
    -- Counts changes, uses not among them; an update names the revision that it was made from.
    revision           INTEGER NOT NULL CHECK (revision >= 1),
    CHECK ((old_key_hash IS NULL) = (old_valid_until_us IS NULL))
) STRICT, WITHOUT ROWID;

-- A person who is signed in.
CREATE TABLE session (
    -- `ses_` and 32 hexadecimal digits.
    id           TEXT PRIMARY KEY CHECK (length(id) = 36),
    -- SHA-256 of the whole token in lowercase hexadecimal digits.
    token_hash   TEXT NOT NULL UNIQUE CHECK (length(token_hash) = 64),
    account_id   TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    created_us   INTEGER NOT NULL,
    last_used_us INTEGER NOT NULL,
    -- First instant at which it is none any more.
    expires_us   INTEGER NOT NULL,
    -- Address and program of the client at sign-in.
    ip           TEXT,
    user_agent   TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX session_account ON session (account_id, id);
CREATE INDEX session_expiry ON session (expires_us, id);

-- Consecutive failed sign-ins to an account from one client.
CREATE TABLE sign_in_failure (
    account_id      TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- A source or a device, as the kernel names it.
    client          TEXT NOT NULL CHECK (length(client) BETWEEN 1 AND 128),
    failures        INTEGER NOT NULL CHECK (failures >= 0),
    -- First instant at which the client may try again; null: it was never kept from it.
    locked_until_us INTEGER,
    -- The last failure that was counted.
    updated_us      INTEGER NOT NULL,
    PRIMARY KEY (account_id, client)
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_failure_age ON sign_in_failure (updated_us, account_id, client);

-- Sources and devices that have signed in to an account; the newest few of each.
CREATE TABLE known_client (
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- As in `sign_in_failure`.
    client     TEXT NOT NULL CHECK (length(client) BETWEEN 1 AND 128),
    -- Its last sign-in.
    last_us    INTEGER NOT NULL,
    -- First instant at which it is known no more; null: never.
    expires_us INTEGER,
    PRIMARY KEY (account_id, client)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_client_expiry ON known_client (expires_us, account_id, client) WHERE expires_us IS NOT NULL;

-- Layouts, language, theme and the like of one principal.
CREATE TABLE preference (
    -- Id of an account, with which it goes; `system` while access control is off.
    owner      TEXT PRIMARY KEY CHECK (length(owner) BETWEEN 1 AND 128),
    -- JSON object.
    document   TEXT NOT NULL,
    updated_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
