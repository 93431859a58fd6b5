-- Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE tokens (
    id               TEXT PRIMARY KEY,
    principal        TEXT NOT NULL,
    issued_by        TEXT NOT NULL,
    issued           INTEGER NOT NULL,
    expires          INTEGER NOT NULL,
    revoked          INTEGER,
    revoked_by       TEXT,
    scram_stored_key BLOB NOT NULL,
    scram_server_key BLOB NOT NULL,
    caching_sha2     BLOB NOT NULL,
    native           BLOB NOT NULL
) STRICT;
CREATE INDEX tokens_principal ON tokens (principal, expires);

-- Privileges are a JSON array of texts in the privilege grammar, always quoted with "".
CREATE TABLE requests (
    id           TEXT PRIMARY KEY,
    principal    TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    database     TEXT NOT NULL,
    privileges   TEXT NOT NULL,
    duration     INTEGER NOT NULL, -- microseconds
    reason       TEXT NOT NULL,
    ticket       TEXT,
    created      INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    state        TEXT NOT NULL,    -- one word
    outcome      TEXT NOT NULL     -- the state with who, when and why, JSON
) STRICT;
CREATE INDEX requests_principal ON requests (principal, created);
CREATE INDEX requests_pending ON requests (expires) WHERE state = 'pending';

CREATE TABLE grants (
    id             TEXT PRIMARY KEY,
    principal      TEXT NOT NULL,
    database       TEXT NOT NULL,
    privileges     TEXT NOT NULL,
    not_before     INTEGER NOT NULL,
    expires        INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    ticket         TEXT,
    approvers      TEXT NOT NULL,  -- JSON array
    request        TEXT REFERENCES requests (id),
    limits         TEXT NOT NULL,  -- JSON
    row_filter     TEXT,
    route          TEXT,
    created        INTEGER NOT NULL,
    revoked_at     INTEGER,
    revoked_by     TEXT,
    revoked_reason TEXT
) STRICT;
CREATE INDEX grants_principal ON grants (principal, database, expires);
CREATE INDEX grants_expires ON grants (expires);
