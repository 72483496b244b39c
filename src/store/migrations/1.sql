-- Integers are booleans (0, 1) and Unix seconds. JSON is text. Nothing is numbered by the database: see counters.

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('keys', 0), ('people', 0), ('revocations', 0), ('audit', 0);

CREATE TABLE keys (
    id BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    algorithm TEXT,
    material BLOB NOT NULL,
    wrapped BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    active_from BIGINT NOT NULL,
    retired_at BIGINT
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    username TEXT,
    username_key TEXT,
    name TEXT,
    picture TEXT,
    phone TEXT,
    email TEXT,
    groups_json TEXT NOT NULL,
    attributes_json TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_login_at BIGINT
);
CREATE UNIQUE INDEX users_username ON users (username_key);
CREATE UNIQUE INDEX users_phone ON users (phone);

CREATE TABLE identities (
    app_id TEXT NOT NULL,
    openid TEXT NOT NULL,
    open_platform TEXT,
    unionid TEXT,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, openid)
);
CREATE INDEX identities_union ON identities (open_platform, unionid);
CREATE INDEX identities_user ON identities (user_id);

CREATE TABLE tickets (
    id TEXT PRIMARY KEY,
    connection TEXT NOT NULL,
    state TEXT NOT NULL,
    app_id TEXT NOT NULL,
    openid TEXT NOT NULL,
    unionid TEXT,
    browser TEXT,
    shown BIGINT NOT NULL,
    handle_hash BLOB,
    entry BIGINT,
    user_id TEXT,
    choice BIGINT,
    phone_note TEXT,
    error TEXT,
    reason TEXT,
    phone_address TEXT NOT NULL,
    phone_agent TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    scanned_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    ended_at BIGINT,
    expires_at BIGINT NOT NULL,
    session_id TEXT,
    lease TEXT,
    lease_until BIGINT
);
CREATE UNIQUE INDEX tickets_handle ON tickets (handle_hash);
CREATE INDEX tickets_expiry ON tickets (expires_at);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    connection TEXT NOT NULL,
    site TEXT NOT NULL,
    host TEXT NOT NULL,
    device TEXT NOT NULL,
    address TEXT NOT NULL,
    place TEXT,
    ticket TEXT,
    created_at BIGINT NOT NULL,
    auth_time BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE revocations (
    seq BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL
);
CREATE INDEX revocations_keep ON revocations (keep_until);

CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    request_id TEXT,
    user_id TEXT,
    connection TEXT,
    ticket_hash TEXT,
    browser_address TEXT,
    phone_address TEXT,
    browser_device TEXT,
    phone_device TEXT,
    reason TEXT
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user ON audit (user_id);
