DROP TRIGGER custom_domains_follow_update ON pods;
DROP TRIGGER custom_domains_follow_insert ON pods;
DROP FUNCTION custom_domains_follow();
DROP TABLE custom_domains;
