-- Templates and their tags, the image allowlist, credentials of pods, and the fields of a pod that come with them.
-- Keys begin with the column that tells rows apart: with the site first, Postgres reads all of the site's rows as long
-- as it has no statistics.

-- Site-wide: every tenant of a site may be given access. A deletion hides; what nobody refers to is purged later.
CREATE TABLE templates (
    template_uid     uuid PRIMARY KEY,
    site_id          text NOT NULL,
    -- the tenant whose users own it: plain user names in template_permissions are names of this tenant
    tenant_id        text NOT NULL,
    template_id      text NOT NULL CONSTRAINT templates_template_id CHECK (template_id ~ '^[a-z][a-z0-9]{2,63}$'),
    description      text NOT NULL,
    metatags         jsonb NOT NULL,
    archive_message  text NOT NULL,
    creation_ts      timestamptz NOT NULL,
    update_ts        timestamptz NOT NULL,
    deleted_at       timestamptz
);
CREATE UNIQUE INDEX templates_template_id_key ON templates (site_id, template_id) WHERE deleted_at IS NULL;

CREATE TABLE template_permissions (
    template_uid  uuid NOT NULL REFERENCES templates (template_uid) ON DELETE CASCADE,
    -- a user of the owning tenant, `tenant.<tenant id>` or `**`
    username      text NOT NULL,
    level         text NOT NULL CONSTRAINT template_permissions_level CHECK (level IN ('NONE', 'READ', 'USER', 'ADMIN', 'APPROVEDADMIN')),
    position      bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (template_uid, username)
);
CREATE INDEX template_permissions_username ON template_permissions (username, template_uid);

-- Immutable. `reference` is `template_id:tag@YYYY-MM-DD-HH:MM:SS`; it stays taken when the tag is hidden, so that it
-- never comes to mean something else for the pods that use it.
CREATE TABLE template_tags (
    site_id          text NOT NULL,
    reference        text NOT NULL,
    template_uid     uuid NOT NULL REFERENCES templates (template_uid),
    -- the tenant of the user who added it
    tenant_id        text NOT NULL,
    tag              text NOT NULL CONSTRAINT template_tags_tag CHECK (tag ~ '^[a-zA-Z0-9.-]{1,80}$'),
    tag_timestamp    text NOT NULL,
    definition       jsonb NOT NULL,
    -- the tag that this one builds on
    parent           text GENERATED ALWAYS AS (definition ->> 'template') STORED,
    commit_message   text NOT NULL,
    description      text NOT NULL,
    archive_message  text NOT NULL,
    added_by         text NOT NULL,
    creation_ts      timestamptz NOT NULL,
    deleted_at       timestamptz,
    PRIMARY KEY (reference, site_id),
    CONSTRAINT template_tags_parent_fkey FOREIGN KEY (site_id, parent) REFERENCES template_tags (site_id, reference),
    CONSTRAINT template_tags_not_its_own_parent CHECK (parent <> reference),
    CONSTRAINT template_tags_reference CHECK (starts_with(tag_timestamp, tag || '@')
        AND right(reference, length(tag_timestamp) + 1) = ':' || tag_timestamp)
);
CREATE INDEX template_tags_template ON template_tags (template_uid, creation_ts DESC);
CREATE INDEX template_tags_parent ON template_tags (parent, site_id) WHERE parent IS NOT NULL;

ALTER TABLE pods
    -- the pinned reference of the template, null without one
    ADD COLUMN template            text,
    ADD COLUMN secret_map          jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN volume_mounts       jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN template_overrides  jsonb,
    ADD COLUMN healthchecks        jsonb,
    -- host of the tenant's base URL when the user last wrote the pod: its networking entries are named with it
    ADD COLUMN tenant_host         text NOT NULL DEFAULT '',
    ADD CONSTRAINT pods_template_fkey FOREIGN KEY (site_id, template) REFERENCES template_tags (site_id, reference);
CREATE INDEX pods_template ON pods (template, site_id) WHERE template IS NOT NULL;

UPDATE pods SET tenant_host = coalesce(
    (SELECT split_part(entry.value ->> 'url', '.pods.', 2) FROM jsonb_each(networking) AS entry LIMIT 1), '');

-- Passwords that the service made for a pod, encrypted; `key_id` names the key.
CREATE TABLE pod_credentials (
    pod_uid  uuid PRIMARY KEY REFERENCES pods (uid) ON DELETE CASCADE,
    key_id   text NOT NULL,
    sealed   bytea NOT NULL
);

-- Images that may be run, besides those of the configuration. `canonical` is registry/repository[:tag][@digest] with
-- nothing left out, `repository` the part before tag and digest.
CREATE TABLE images (
    site_id      text NOT NULL,
    canonical    text NOT NULL,
    repository   text NOT NULL,
    image        text NOT NULL,
    tenants      jsonb NOT NULL,
    description  text NOT NULL,
    added_by     text NOT NULL,
    creation_ts  timestamptz NOT NULL,
    PRIMARY KEY (canonical, site_id),
    CONSTRAINT images_canonical CHECK (starts_with(canonical, repository))
);
CREATE INDEX images_repository ON images (repository, site_id);
