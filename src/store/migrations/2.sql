-- People who prove an account, callers without a browser, sessions on several hosts.

-- argon2id in PHC form.
ALTER TABLE users ADD COLUMN password_hash TEXT;
-- A program's account: holds tokens, never logs in.
ALTER TABLE users ADD COLUMN service BIGINT NOT NULL DEFAULT 0;

-- Who has an address is asked when somebody proves an account by it.
CREATE INDEX users_email ON users (lower(email));

-- argon2id in PHC form, of a code that an operator issued.
CREATE TABLE bind_codes (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX bind_codes_user ON bind_codes (user_id);

-- Wrong proofs per account and method, counted from `since`.
CREATE TABLE proof_failures (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    method TEXT NOT NULL,
    failures BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (user_id, method)
);

-- The verified number, kept while the browser chooses an account; emptied at the ticket's end.
ALTER TABLE tickets ADD COLUMN phone TEXT;
ALTER TABLE tickets ADD COLUMN proof_failures BIGINT NOT NULL DEFAULT 0;

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    hash BLOB NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    label TEXT,
    sites_json TEXT NOT NULL,
    connection TEXT,
    session_id TEXT,
    auth_time BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    used_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_user ON tokens (user_id);
CREATE INDEX tokens_session ON tokens (session_id);
CREATE INDEX tokens_expiry ON tokens (expires_at);

-- The session at public_url that a host's session was handed off from.
ALTER TABLE sessions ADD COLUMN parent TEXT;
CREATE INDEX sessions_parent ON sessions (parent);

-- What a session is called outside of the gateway (`sid`); null in rows of schema 1.
ALTER TABLE sessions ADD COLUMN public_id TEXT;
CREATE INDEX sessions_public ON sessions (public_id);
CREATE INDEX sessions_created ON sessions (created_at, id);

CREATE TABLE handoffs (
    code_hash BLOB PRIMARY KEY,
    host TEXT NOT NULL,
    binding_hash BLOB NOT NULL,
    content_json TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX handoffs_expiry ON handoffs (expires_at);

-- What an undo needs, as JSON.
ALTER TABLE audit ADD COLUMN details TEXT;

-- What each running node says about itself every minute; `doctor` compares them.
CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    -- The process: an upgraded one goes on under the same id.
    run TEXT NOT NULL,
    version TEXT NOT NULL,
    generation BIGINT NOT NULL,
    configuration_json TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    -- One moment by the node's clock and by the store's.
    clock BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- What WeChat's phone button failed with for the installation's fault, until a number arrives again.
CREATE TABLE phone_failures (
    connection TEXT NOT NULL,
    errno BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    since BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (connection, errno)
);
