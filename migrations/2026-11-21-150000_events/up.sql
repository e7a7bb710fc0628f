-- What the stream of events says beyond "this pod changed": who lost sight of it.

-- The user who may not see the pod any more; null when the pod itself changed.
ALTER TABLE changes ADD COLUMN hidden_from text;

-- A tombstone has nothing more to tell, so its deletion is the last change of a pod.
DROP TRIGGER pods_changed_update ON pods;
CREATE TRIGGER pods_changed_update AFTER UPDATE ON pods FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.* AND OLD.deleted_at IS NULL) EXECUTE FUNCTION pods_changed();

-- Only whoever held a permission is told. The rows that go away with a purged tombstone tell nobody.
CREATE FUNCTION pod_permission_lost() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (pod_uid, hidden_from) SELECT uid, OLD.username FROM pods WHERE uid = OLD.pod_uid;
    IF FOUND THEN
        PERFORM pg_notify('pods_changes', '');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER pod_permission_deleted AFTER DELETE ON pod_permissions FOR EACH ROW
    WHEN (OLD.level <> 'NONE') EXECUTE FUNCTION pod_permission_lost();
CREATE TRIGGER pod_permission_lowered AFTER UPDATE ON pod_permissions FOR EACH ROW
    WHEN (OLD.level <> 'NONE' AND NEW.level = 'NONE') EXECUTE FUNCTION pod_permission_lost();
