-- Times are microseconds since 1970-01-01T00:00:00Z. Texts are in the order of their bytes, as in SQLite.
CREATE TABLE meta (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

-- One row. Whoever changes anything locks it first, so changes come one after the other.
CREATE TABLE state (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    revision bigint NOT NULL
);
INSERT INTO state (revision) VALUES (1);

-- What each revision changed: "grant" or "token" and which, or "tokens" when some were deleted.
CREATE TABLE changes (
    revision bigint NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    PRIMARY KEY (revision, kind, id)
);

CREATE TABLE tokens (
    id               text COLLATE "C" PRIMARY KEY,
    principal        text COLLATE "C" NOT NULL,
    issued_by        text COLLATE "C" NOT NULL,
    issued           bigint NOT NULL,
    expires          bigint NOT NULL,
    revoked          bigint,
    revoked_by       text COLLATE "C",
    scram_stored_key bytea NOT NULL,
    scram_server_key bytea NOT NULL,
    caching_sha2     bytea NOT NULL,
    native           bytea NOT NULL
);
CREATE INDEX tokens_principal ON tokens (principal, expires);

-- Privileges are a JSON array of texts in the privilege grammar, always quoted with "".
CREATE TABLE requests (
    id           text COLLATE "C" PRIMARY KEY,
    principal    text COLLATE "C" NOT NULL,
    requested_by text COLLATE "C" NOT NULL,
    database     text COLLATE "C" NOT NULL,
    privileges   text COLLATE "C" NOT NULL,
    duration     bigint NOT NULL, -- microseconds
    reason       text COLLATE "C" NOT NULL,
    ticket       text COLLATE "C",
    created      bigint NOT NULL,
    expires      bigint NOT NULL,
    state        text COLLATE "C" NOT NULL, -- one word
    outcome      text COLLATE "C" NOT NULL  -- the state with who, when and why, JSON
);
CREATE INDEX requests_principal ON requests (principal, created);
CREATE INDEX requests_pending ON requests (expires) WHERE state = 'pending';

CREATE TABLE grants (
    id             text COLLATE "C" PRIMARY KEY,
    principal      text COLLATE "C" NOT NULL,
    database       text COLLATE "C" NOT NULL,
    privileges     text COLLATE "C" NOT NULL,
    not_before     bigint NOT NULL,
    expires        bigint NOT NULL,
    reason         text COLLATE "C" NOT NULL,
    ticket         text COLLATE "C",
    approvers      text COLLATE "C" NOT NULL, -- JSON array
    request        text COLLATE "C" REFERENCES requests (id),
    limits         text COLLATE "C" NOT NULL, -- JSON
    row_filter     text COLLATE "C",
    route          text COLLATE "C",
    created        bigint NOT NULL,
    revoked_at     bigint,
    revoked_by     text COLLATE "C",
    revoked_reason text COLLATE "C"
);
CREATE INDEX grants_principal ON grants (principal, database, expires);
CREATE INDEX grants_expires ON grants (expires);
