DROP TABLE images, pod_credentials;
ALTER TABLE pods DROP COLUMN template, DROP COLUMN secret_map, DROP COLUMN volume_mounts, DROP COLUMN template_overrides,
    DROP COLUMN healthchecks, DROP COLUMN tenant_host;
DROP TABLE template_tags, template_permissions, templates;
