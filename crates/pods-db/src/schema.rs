//! The tables of `migrations/`, as diesel sees them.
#![expect(missing_docs, reason = "the columns are described in the migrations")]

diesel::table! {
    pods (uid) {
        uid -> Uuid,
        site_id -> Text,
        tenant_id -> Text,
        pod_id -> Text,
        k8_name -> Text,
        image -> Text,
        description -> Text,
        command -> Nullable<Jsonb>,
        arguments -> Nullable<Jsonb>,
        environment_variables -> Jsonb,
        networking -> Jsonb,
        resources -> Jsonb,
        compute_queue -> Text,
        time_to_stop_default -> Integer,
        time_to_stop_instance -> Nullable<Integer>,
        modified_fields -> Jsonb,
        status_requested -> Text,
        status -> Text,
        status_container -> Jsonb,
        status_changed_ts -> Timestamptz,
        revision -> BigInt,
        instance_id -> Nullable<Uuid>,
        losses -> Integer,
        not_before -> Nullable<Timestamptz>,
        creation_ts -> Timestamptz,
        update_ts -> Timestamptz,
        start_instance_ts -> Nullable<Timestamptz>,
        time_to_stop_ts -> Nullable<Timestamptz>,
        deleted_at -> Nullable<Timestamptz>,
        objects_gone_ts -> Nullable<Timestamptz>,
        template -> Nullable<Text>,
        secret_map -> Jsonb,
        volume_mounts -> Jsonb,
        template_overrides -> Nullable<Jsonb>,
        healthchecks -> Nullable<Jsonb>,
        tenant_host -> Text,
        created_by -> Text,
    }
}

diesel::table! {
    pod_instances (instance_id) {
        instance_id -> Uuid,
        pod_uid -> Uuid,
        definition -> Jsonb,
        created_ts -> Timestamptz,
        log_complete -> Bool,
        taken_ts -> Nullable<Timestamptz>,
        objects_ts -> Nullable<Timestamptz>,
        scheduled_ts -> Nullable<Timestamptz>,
        pulled_ts -> Nullable<Timestamptz>,
        container_ts -> Nullable<Timestamptz>,
        ready_ts -> Nullable<Timestamptz>,
        routed_ts -> Nullable<Timestamptz>,
        ended_ts -> Nullable<Timestamptz>,
        end_code -> Nullable<Text>,
        end_message -> Nullable<Text>,
    }
}

diesel::table! {
    pod_permissions (pod_uid, username) {
        pod_uid -> Uuid,
        username -> Text,
        level -> Text,
        position -> BigInt,
    }
}

diesel::table! {
    action_logs (id) {
        id -> BigInt,
        pod_uid -> Uuid,
        at -> Timestamptz,
        text -> Text,
    }
}

diesel::table! {
    pod_log_chunks (id) {
        id -> BigInt,
        pod_uid -> Uuid,
        instance_id -> Uuid,
        content -> Bytea,
        log_offset -> BigInt,
        last_ts -> Nullable<Timestamptz>,
        marks -> Bytea,
    }
}

diesel::table! {
    outbox (id) {
        id -> BigInt,
        message_id -> Uuid,
        pod_uid -> Uuid,
        reason -> Text,
        created_ts -> Timestamptz,
        published_at -> Nullable<Timestamptz>,
        traceparent -> Nullable<Text>,
    }
}

diesel::table! {
    pod_credentials (pod_uid) {
        pod_uid -> Uuid,
        key_id -> Text,
        sealed -> Bytea,
    }
}

diesel::table! {
    templates (template_uid) {
        template_uid -> Uuid,
        site_id -> Text,
        tenant_id -> Text,
        template_id -> Text,
        description -> Text,
        metatags -> Jsonb,
        archive_message -> Text,
        creation_ts -> Timestamptz,
        update_ts -> Timestamptz,
        deleted_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    template_permissions (template_uid, username) {
        template_uid -> Uuid,
        username -> Text,
        level -> Text,
        position -> BigInt,
    }
}

diesel::table! {
    template_tags (reference, site_id) {
        site_id -> Text,
        reference -> Text,
        template_uid -> Uuid,
        tenant_id -> Text,
        tag -> Text,
        tag_timestamp -> Text,
        definition -> Jsonb,
        parent -> Nullable<Text>,
        commit_message -> Text,
        description -> Text,
        archive_message -> Text,
        added_by -> Text,
        creation_ts -> Timestamptz,
        deleted_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    images (canonical, site_id) {
        site_id -> Text,
        canonical -> Text,
        repository -> Text,
        image -> Text,
        tenants -> Jsonb,
        description -> Text,
        added_by -> Text,
        creation_ts -> Timestamptz,
    }
}

diesel::table! {
    custom_domains (pod_uid, domain) {
        pod_uid -> Uuid,
        domain -> Text,
        claimed_ts -> Timestamptz,
        checked_ts -> Nullable<Timestamptz>,
        next_check_ts -> Timestamptz,
        verified_ts -> Nullable<Timestamptz>,
        failing_ts -> Nullable<Timestamptz>,
        finding -> Nullable<Text>,
        unanswered_ts -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    leases (name) {
        name -> Text,
        holder -> Text,
        epoch -> BigInt,
        expires_ts -> Timestamptz,
    }
}

diesel::joinable!(pod_permissions -> pods (pod_uid));
diesel::joinable!(custom_domains -> pods (pod_uid));
diesel::joinable!(template_permissions -> templates (template_uid));
diesel::allow_tables_to_appear_in_same_query!(pods, pod_permissions);
diesel::allow_tables_to_appear_in_same_query!(templates, template_permissions);
diesel::allow_tables_to_appear_in_same_query!(pods, leases);
diesel::allow_tables_to_appear_in_same_query!(pods, custom_domains);
