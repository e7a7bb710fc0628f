-- Pods, their starts, permissions, logs; the outbox of wake-ups; the change feed; leases.
-- Everything below a pod hangs on its uid: the same pod_id can be used again after a deletion.

CREATE TABLE pods (
    uid                    uuid PRIMARY KEY,
    site_id                text NOT NULL,
    tenant_id              text NOT NULL,
    pod_id                 text NOT NULL,
    k8_name                text NOT NULL,
    -- what the user defines
    image                  text NOT NULL,
    description            text NOT NULL,
    command                jsonb,
    arguments              jsonb,
    environment_variables  jsonb NOT NULL,
    networking             jsonb NOT NULL,
    resources              jsonb NOT NULL,
    compute_queue          text NOT NULL,
    time_to_stop_default   integer NOT NULL CONSTRAINT pods_time_to_stop_default CHECK (time_to_stop_default = -1 OR time_to_stop_default >= 300),
    time_to_stop_instance  integer CONSTRAINT pods_time_to_stop_instance CHECK (time_to_stop_instance = -1 OR time_to_stop_instance >= 300),
    modified_fields        jsonb NOT NULL,
    -- what the service knows
    status_requested       text NOT NULL CONSTRAINT pods_status_requested CHECK (status_requested IN ('ON', 'OFF', 'RESTART')),
    status                 text NOT NULL CONSTRAINT pods_status CHECK (status IN
                               ('REQUESTED', 'SPAWNING', 'AVAILABLE', 'STOPPED', 'RESTARTING', 'SHUTTING_DOWN', 'COMPLETE', 'ERROR')),
    status_container       jsonb NOT NULL DEFAULT '{}',
    status_changed_ts      timestamptz NOT NULL,
    revision               bigint NOT NULL DEFAULT 1,
    instance_id            uuid,
    losses                 integer NOT NULL DEFAULT 0,
    not_before             timestamptz,
    creation_ts            timestamptz NOT NULL,
    update_ts              timestamptz NOT NULL,
    start_instance_ts      timestamptz,
    time_to_stop_ts        timestamptz,
    -- a tombstone hides the pod at once; objects_gone_ts says that Kubernetes holds nothing of it any more
    deleted_at             timestamptz,
    objects_gone_ts        timestamptz,
    CONSTRAINT pods_stopped_has_no_instance CHECK (status <> 'STOPPED' OR instance_id IS NULL),
    CONSTRAINT pods_deleted_is_off CHECK (deleted_at IS NULL OR status_requested = 'OFF')
);

CREATE UNIQUE INDEX pods_tenant_pod_id_key ON pods (tenant_id, pod_id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX pods_k8_name_key ON pods (k8_name) WHERE deleted_at IS NULL;
CREATE INDEX pods_unsettled ON pods (status_changed_ts)
    WHERE objects_gone_ts IS NULL AND status IN ('REQUESTED', 'SPAWNING', 'SHUTTING_DOWN', 'RESTARTING');
CREATE INDEX pods_expiry ON pods (time_to_stop_ts) WHERE time_to_stop_ts IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX pods_tombstones ON pods (tenant_id, pod_id) WHERE deleted_at IS NOT NULL AND objects_gone_ts IS NULL;

-- One start of a pod, frozen: what the spawner builds from.
CREATE TABLE pod_instances (
    instance_id     uuid PRIMARY KEY,
    pod_uid         uuid NOT NULL REFERENCES pods (uid) ON DELETE CASCADE,
    definition      jsonb NOT NULL,
    created_ts      timestamptz NOT NULL,
    -- where its container's log stands (health)
    log_resume_ts   timestamptz,
    log_resume_skip integer NOT NULL DEFAULT 0,
    log_complete    boolean NOT NULL DEFAULT false
);
CREATE INDEX pod_instances_pod_uid ON pod_instances (pod_uid, created_ts);

CREATE TABLE pod_permissions (
    pod_uid   uuid NOT NULL REFERENCES pods (uid) ON DELETE CASCADE,
    username  text NOT NULL,
    level     text NOT NULL CONSTRAINT pod_permissions_level CHECK (level IN ('NONE', 'READ', 'USER', 'ADMIN', 'APPROVEDADMIN')),
    position  bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (pod_uid, username)
);
CREATE INDEX pod_permissions_username ON pod_permissions (username, pod_uid);

CREATE TABLE action_logs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pod_uid  uuid NOT NULL REFERENCES pods (uid) ON DELETE CASCADE,
    at       timestamptz NOT NULL,
    text     text NOT NULL
);
CREATE INDEX action_logs_pod_uid ON action_logs (pod_uid, id);

-- The log of the current or last instance, in pieces; bytes as the container wrote them.
CREATE TABLE pod_log_chunks (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pod_uid      uuid NOT NULL REFERENCES pods (uid) ON DELETE CASCADE,
    instance_id  uuid NOT NULL,
    content      bytea NOT NULL
);
CREATE INDEX pod_log_chunks_instance ON pod_log_chunks (instance_id, id);
CREATE INDEX pod_log_chunks_pod ON pod_log_chunks (pod_uid, id);

-- Wake-ups for the spawner, written with the row that they are about. A re-send is a new row.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    uuid NOT NULL DEFAULT gen_random_uuid(),
    pod_uid       uuid NOT NULL,
    reason        text NOT NULL,
    created_ts    timestamptz NOT NULL DEFAULT now(),
    published_at  timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

-- The change feed: which pod changed. So that late commits are not skipped, readers that need its order stay below
-- pg_snapshot_xmin, and those that do not remember what their last snapshot did not see.
CREATE TABLE changes (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at       timestamptz NOT NULL DEFAULT now(),
    pod_uid  uuid NOT NULL
);
CREATE INDEX changes_cursor ON changes (xid, id);
CREATE INDEX changes_at ON changes (at);

-- Shares of work among replicas of a process; a higher epoch fences a holder that was away.
CREATE TABLE leases (
    name        text PRIMARY KEY,
    holder      text NOT NULL,
    epoch       bigint NOT NULL,
    expires_ts  timestamptz NOT NULL
);

CREATE FUNCTION pods_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (pod_uid) VALUES (NEW.uid);
    PERFORM pg_notify('pods_changes', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER pods_changed_insert AFTER INSERT ON pods FOR EACH ROW EXECUTE FUNCTION pods_changed();
CREATE TRIGGER pods_changed_update AFTER UPDATE ON pods FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION pods_changed();

CREATE FUNCTION outbox_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('pods_outbox', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_added AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_added();
