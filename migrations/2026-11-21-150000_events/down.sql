DROP TRIGGER pod_permission_lowered ON pod_permissions;
DROP TRIGGER pod_permission_deleted ON pod_permissions;
DROP FUNCTION pod_permission_lost();
DROP TRIGGER pods_changed_update ON pods;
CREATE TRIGGER pods_changed_update AFTER UPDATE ON pods FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION pods_changed();
ALTER TABLE changes DROP COLUMN hidden_from;
