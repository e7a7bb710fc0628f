-- Runs: what the containers of a pod wrote, one row for each start whose container ran. The newest ones have their log
-- in pod_log_chunks, older ones in one compressed piece. pod_instances.log_resume_ts and log_resume_skip are not read
-- any more; a later migration drops them.
CREATE TABLE pod_log_runs (
    -- the instance_id of the start, which may be forgotten before its log is
    run_id         uuid PRIMARY KEY,
    pod_uid        uuid NOT NULL REFERENCES pods (uid) ON DELETE CASCADE,
    -- from 1, never used again as long as the pod exists
    run_index      integer NOT NULL CONSTRAINT pod_log_runs_index CHECK (run_index > 0),
    started_at     timestamptz NOT NULL,
    stopped_at     timestamptz,
    -- a later start of the pod has begun, so that this is no longer the log of the current or last run
    superseded     boolean NOT NULL DEFAULT false,
    -- the offset behind the last byte; bytes that were left out count as one
    log_end        bigint NOT NULL DEFAULT 0,
    -- where reading goes on: the time of the last line and how many lines of that time are stored
    resume_ts      timestamptz,
    resume_skip    integer NOT NULL DEFAULT 0,
    -- the log as gzip, once there are no chunks of it any more, with its size and the marks of its times
    archive        bytea,
    archive_bytes  bigint NOT NULL DEFAULT 0,
    archive_marks  bytea,
    archive_last   timestamptz,
    CONSTRAINT pod_log_runs_pod_index UNIQUE (pod_uid, run_index)
);
-- Compressed by us already.
ALTER TABLE pod_log_runs ALTER COLUMN archive SET STORAGE EXTERNAL;

ALTER TABLE pod_log_chunks
    -- the place of the first byte in its run; a jump means that something was left out
    ADD COLUMN log_offset  bigint NOT NULL DEFAULT 0,
    -- the time of the last line
    ADD COLUMN last_ts     timestamptz,
    -- where lines begin and when they were written: pairs of offset and microseconds since 1970, 8 bytes each
    ADD COLUMN marks       bytea NOT NULL DEFAULT '';
-- The server would spend most of a flood's CPU time on compressing what is soon dropped again.
ALTER TABLE pod_log_chunks ALTER COLUMN content SET STORAGE EXTERNAL;

-- What is stored already becomes runs.
WITH placed AS (
    SELECT id, sum(octet_length(content)) OVER (PARTITION BY instance_id ORDER BY id) - octet_length(content) AS place
    FROM pod_log_chunks
)
UPDATE pod_log_chunks AS chunk SET log_offset = placed.place FROM placed WHERE placed.id = chunk.id;
INSERT INTO pod_log_runs (run_id, pod_uid, run_index, started_at, stopped_at, log_end, resume_ts, resume_skip)
SELECT stored.instance_id, stored.pod_uid, row_number() OVER (PARTITION BY stored.pod_uid ORDER BY stored.first_id),
       coalesce(instance.created_ts, now()), CASE WHEN pod.instance_id IS DISTINCT FROM stored.instance_id THEN now() END,
       stored.bytes, instance.log_resume_ts, coalesce(instance.log_resume_skip, 0)
FROM (SELECT instance_id, pod_uid, min(id) AS first_id, sum(octet_length(content)) AS bytes
      FROM pod_log_chunks GROUP BY instance_id, pod_uid) AS stored
JOIN pods AS pod ON pod.uid = stored.pod_uid
LEFT JOIN pod_instances AS instance ON instance.instance_id = stored.instance_id;

ALTER TABLE pod_log_chunks ADD CONSTRAINT pod_log_chunks_run_fkey
    FOREIGN KEY (instance_id) REFERENCES pod_log_runs (run_id) ON DELETE CASCADE;
DROP INDEX pod_log_chunks_instance;
CREATE INDEX pod_log_chunks_run ON pod_log_chunks (instance_id, log_offset);
-- Runs that may have to be compressed or dropped.
CREATE INDEX pod_log_runs_superseded ON pod_log_runs (pod_uid, run_index) WHERE superseded;
