DROP TABLE leases, changes, outbox, pod_log_chunks, action_logs, pod_permissions, pod_instances, pods;
DROP FUNCTION pods_changed();
DROP FUNCTION outbox_added();
