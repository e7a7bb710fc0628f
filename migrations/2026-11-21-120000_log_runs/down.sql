ALTER TABLE pod_log_chunks DROP CONSTRAINT pod_log_chunks_run_fkey;
DROP INDEX pod_log_chunks_run;
CREATE INDEX pod_log_chunks_instance ON pod_log_chunks (instance_id, id);
-- Only the log of the current or last run is known to what ran before.
DELETE FROM pod_log_chunks USING pod_log_runs WHERE run_id = instance_id AND superseded;
ALTER TABLE pod_log_chunks DROP COLUMN log_offset, DROP COLUMN last_ts, DROP COLUMN marks;
ALTER TABLE pod_log_chunks ALTER COLUMN content SET STORAGE EXTENDED;
UPDATE pod_instances SET log_resume_ts = run.resume_ts, log_resume_skip = run.resume_skip
FROM pod_log_runs AS run WHERE run.run_id = pod_instances.instance_id;
DROP TABLE pod_log_runs;
