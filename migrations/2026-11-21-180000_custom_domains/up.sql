-- Domains that users want for their pods, and what DNS says about them.

-- One row for each domain that a live pod names. Whether the proxy leads to it stands in pods.networking
-- (custom_domain_verified) and is written together with verified_ts.
CREATE TABLE custom_domains (
    pod_uid        uuid NOT NULL REFERENCES pods (uid) ON DELETE CASCADE,
    domain         text NOT NULL,
    claimed_ts     timestamptz NOT NULL DEFAULT now(),
    checked_ts     timestamptz,
    next_check_ts  timestamptz NOT NULL DEFAULT now(),
    -- since when it is proven to be the pod's
    verified_ts    timestamptz,
    -- since when the proof of a verified one is missing
    failing_ts     timestamptz,
    -- what DNS said the last time it said something
    finding        text CONSTRAINT custom_domains_finding CHECK (finding IN
                       ('proven', 'missing', 'other', 'taken', 'reserved')),
    -- since when it says nothing
    unanswered_ts  timestamptz,
    CONSTRAINT custom_domains_failing CHECK (failing_ts IS NULL OR verified_ts IS NOT NULL),
    PRIMARY KEY (pod_uid, domain)
);
-- A domain leads to one pod.
CREATE UNIQUE INDEX custom_domains_verified ON custom_domains (domain) WHERE verified_ts IS NOT NULL;
CREATE INDEX custom_domains_domain ON custom_domains (domain);
CREATE INDEX custom_domains_due ON custom_domains (next_check_ts);

-- The rows follow what the pods name. Only HTTP entries can have a domain.
CREATE FUNCTION custom_domains_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM custom_domains WHERE pod_uid = NEW.uid AND (NEW.deleted_at IS NOT NULL OR domain NOT IN
        (SELECT entry ->> 'custom_domain' FROM jsonb_each(NEW.networking) AS entries (name, entry)
         WHERE entry ->> 'custom_domain' IS NOT NULL AND entry ->> 'protocol' = 'http'));
    IF NEW.deleted_at IS NULL THEN
        INSERT INTO custom_domains (pod_uid, domain)
            SELECT DISTINCT NEW.uid, entry ->> 'custom_domain' FROM jsonb_each(NEW.networking) AS entries (name, entry)
            WHERE entry ->> 'custom_domain' <> '' AND entry ->> 'protocol' = 'http'
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER custom_domains_follow_insert AFTER INSERT ON pods FOR EACH ROW
    WHEN (jsonb_path_exists(NEW.networking, '$.*.custom_domain ? (@ != "")'))
    EXECUTE FUNCTION custom_domains_follow();
CREATE TRIGGER custom_domains_follow_update AFTER UPDATE ON pods FOR EACH ROW
    WHEN ((OLD.networking IS DISTINCT FROM NEW.networking OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
        AND (jsonb_path_exists(OLD.networking, '$.*.custom_domain ? (@ != "")')
            OR jsonb_path_exists(NEW.networking, '$.*.custom_domain ? (@ != "")')))
    EXECUTE FUNCTION custom_domains_follow();

-- What is stored already.
UPDATE pods SET networking = (
        SELECT jsonb_object_agg(name, entry || '{"custom_domain_verified": false}')
        FROM jsonb_each(networking) AS entries (name, entry))
    WHERE jsonb_path_exists(networking, '$.*.custom_domain_verified ? (@ == true)');
INSERT INTO custom_domains (pod_uid, domain)
    SELECT DISTINCT pods.uid, entry ->> 'custom_domain' FROM pods, jsonb_each(networking) AS entries (name, entry)
    WHERE deleted_at IS NULL AND entry ->> 'custom_domain' <> '' AND entry ->> 'protocol' = 'http'
    ON CONFLICT DO NOTHING;
