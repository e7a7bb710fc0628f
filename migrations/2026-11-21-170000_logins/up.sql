-- Logins of visitors at networking entries with tapis_auth.

-- The OAuth clients that the service registered, one for each entry and tenant whose users log in there. A row is
-- written before the platform is asked and goes after the platform removed the client, so that none is forgotten.
CREATE TABLE oauth_clients (
    -- the tenant whose Authenticator has it
    tenant_id       text NOT NULL,
    client_id       text NOT NULL,
    site_id         text NOT NULL,
    -- no reference: the client may outlive its pod until the platform answers
    pod_uid         uuid NOT NULL,
    network         text NOT NULL,
    callback_url    text NOT NULL,
    -- its key, encrypted, and when the platform told it; null until then
    key_id          text,
    sealed          bytea,
    key_ts          timestamptz,
    created_ts      timestamptz NOT NULL,
    -- when the entry was last seen to need it
    checked_ts      timestamptz NOT NULL,
    -- since when nothing needs it
    unwanted_ts     timestamptz,
    next_try_ts     timestamptz NOT NULL,
    tries           integer NOT NULL DEFAULT 0,
    -- whoever is removing it just now
    removal         uuid,
    PRIMARY KEY (tenant_id, client_id),
    CONSTRAINT oauth_clients_key CHECK ((key_id IS NULL) = (sealed IS NULL) AND (key_id IS NULL) = (key_ts IS NULL))
);
CREATE UNIQUE INDEX oauth_clients_entry ON oauth_clients (pod_uid, network, tenant_id) WHERE unwanted_ts IS NULL;
CREATE INDEX oauth_clients_pod ON oauth_clients (pod_uid);
CREATE INDEX oauth_clients_unwanted ON oauth_clients (next_try_ts) WHERE unwanted_ts IS NOT NULL;
CREATE INDEX oauth_clients_checked ON oauth_clients (checked_ts) WHERE unwanted_ts IS NULL;

-- What logins that are complete were begun with, as SHA-256: it counts once. Logins under way are not stored.
CREATE TABLE login_states_used (
    state_hash  bytea PRIMARY KEY,
    -- when it would not count any more anyway
    expires_ts  timestamptz NOT NULL
);
CREATE INDEX login_states_used_expires ON login_states_used (expires_ts);

-- A login that is complete, on its way from the API to the edge through the visitor's browser.
CREATE TABLE login_tickets (
    ticket_hash       bytea PRIMARY KEY,
    pod_uid           uuid NOT NULL REFERENCES pods (uid) ON DELETE CASCADE,
    network           text NOT NULL,
    host              text NOT NULL,
    -- which login it completes, as SHA-256
    login_hash        bytea NOT NULL,
    -- whom the platform named
    site_id           text NOT NULL,
    tenant_id         text NOT NULL,
    username          text NOT NULL,
    token_expires_ts  timestamptz NOT NULL,
    expires_ts        timestamptz NOT NULL
);
CREATE INDEX login_tickets_pod ON login_tickets (pod_uid);
CREATE INDEX login_tickets_expires ON login_tickets (expires_ts);

-- Sessions that ended before their time; a row goes when the session would have ended anyway.
CREATE TABLE login_revocations (
    sid         uuid PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    expires_ts  timestamptz NOT NULL
);
CREATE INDEX login_revocations_at ON login_revocations (at);
CREATE INDEX login_revocations_expires ON login_revocations (expires_ts);

CREATE FUNCTION login_revoked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('pods_revocations', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER login_revoked AFTER INSERT ON login_revocations FOR EACH STATEMENT EXECUTE FUNCTION login_revoked();

-- The clients of a deleted pod are to be removed from the platform.
CREATE FUNCTION pod_deleted_clients() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE oauth_clients SET unwanted_ts = now(), next_try_ts = now() WHERE pod_uid = NEW.uid AND unwanted_ts IS NULL;
    RETURN NULL;
END
$$;
CREATE TRIGGER pod_deleted_clients AFTER UPDATE OF deleted_at ON pods FOR EACH ROW
    WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION pod_deleted_clients();
