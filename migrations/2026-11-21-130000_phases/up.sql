-- The ledger of a start: when it reached each phase; created_ts is when it was accepted. And how it ended, which the
-- pod's row forgets when the next start begins or the pod is stopped.
ALTER TABLE pod_instances
    ADD COLUMN taken_ts           timestamptz,
    ADD COLUMN objects_ts         timestamptz,
    ADD COLUMN scheduled_ts       timestamptz,
    ADD COLUMN pulled_ts          timestamptz,
    ADD COLUMN container_ts       timestamptz,
    ADD COLUMN ready_ts           timestamptz,
    ADD COLUMN routed_ts          timestamptz,
    ADD COLUMN ended_ts           timestamptz,
    ADD COLUMN end_code           text,
    ADD COLUMN end_message        text;
