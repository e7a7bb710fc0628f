DROP TRIGGER pod_deleted_clients ON pods;
DROP FUNCTION pod_deleted_clients();
DROP TABLE login_revocations;
DROP FUNCTION login_revoked();
DROP TABLE login_tickets;
DROP TABLE login_states_used;
DROP TABLE oauth_clients;
