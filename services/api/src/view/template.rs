//! Templates and their tags in answers.

use chrono::{DateTime, Utc};
use pods_core::{
    TemplateDefinition,
    mount::{self, VolumePlaceholder},
    placeholder,
};
use pods_db::{
    permissions::Grants,
    template_tags::{Definitions, Dependents, TagRow},
    templates::TemplateRow,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{PermissionsView, timestamp};
use crate::openapi::schemas;

/// A template.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Template)]
pub struct TemplateView {
    /// The id of the template, unique in the site.
    #[schema(example = "postgres")]
    pub template_id: String,
    /// What the template is for.
    pub description: String,
    /// Words to find the template by.
    pub metatags: Vec<String>,
    /// Why the template should not be used any more; empty while it should.
    pub archive_message: String,
    /// When the template was added.
    #[serde(serialize_with = "timestamp")]
    pub creation_ts: DateTime<Utc>,
    /// When its fields last changed.
    #[serde(serialize_with = "timestamp")]
    pub update_ts: DateTime<Utc>,
    /// The tenant that the template belongs to.
    pub tenant_id: String,
    /// The site of the tenant.
    pub site_id: String,
    /// `user:LEVEL` for callers who hold USER or more; null for readers.
    #[schema(required = true, example = json!(["ann:ADMIN", "**:READ"]))]
    pub permissions: Option<Vec<String>>,
    /// What uses each tag, with `include_dependencies=true` and for administrators of the service only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_dependents: Option<Vec<TagDependentsView>>,
}

impl TemplateView {
    /// The template; `grants` are its permissions if the caller may see them.
    pub fn new(row: TemplateRow, grants: Option<Grants>) -> Self {
        Self {
            template_id: row.template_id,
            description: row.description,
            metatags: row.metatags,
            archive_message: row.archive_message,
            creation_ts: row.creation_ts,
            update_ts: row.update_ts,
            tenant_id: row.tenant_id,
            site_id: row.site_id,
            permissions: grants.map(|grants| PermissionsView::from(grants).permissions),
            tag_dependents: None,
        }
    }
}

/// A template with its tags.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateWithTags)]
pub struct TemplateWithTagsView {
    /// The template.
    #[serde(flatten)]
    pub template: TemplateView,
    /// Its tags, newest first.
    pub tags: Vec<TagView>,
}

/// A tag: one immutable definition of a template.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateTag)]
pub struct TagView {
    /// The template that the tag belongs to.
    #[schema(example = "postgres")]
    pub template_id: String,
    /// What a pod takes from the tag; absent with `full=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::TemplateTagPodDefinition>)]
    pub pod_definition: Option<TemplateDefinition>,
    /// What changed.
    pub commit_message: String,
    /// The name of the tag; a newer tag of the same name takes its place for new pods.
    #[schema(example = "16")]
    pub tag: String,
    /// What the tag is for.
    pub description: String,
    /// Why the tag should not be used any more; empty while it should.
    pub archive_message: String,
    /// `tag@YYYY-MM-DD-HH:MM:SS`, which with the template names exactly this tag.
    #[schema(example = "16@2026-07-01-10:00:00")]
    pub tag_timestamp: String,
    /// The user who added the tag.
    pub added_by: String,
    /// When the tag was added.
    #[serde(serialize_with = "timestamp")]
    pub creation_ts: DateTime<Utc>,
    /// The tenant of the user who added the tag.
    pub tenant_id: String,
    /// The site of the tenant.
    pub site_id: String,
    /// What uses the tag, with `include_dependencies=true` and for administrators of the service only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependents: Option<DependentsView>,
}

/// How much of its definition an answer shows of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Everything but the definition.
    Brief,
    /// The definition without the contents of configuration files.
    Definition,
    /// All of it.
    Configs,
}

impl Detail {
    /// What `full` and `include_configs` ask for.
    pub fn of(full: bool, include_configs: bool) -> Self {
        match (full, include_configs) {
            (false, _) => Self::Brief,
            (true, false) => Self::Definition,
            (true, true) => Self::Configs,
        }
    }

    /// How much of the tags' definitions has to be read for it.
    pub fn definitions(self) -> Definitions {
        match self {
            Self::Brief => Definitions::Absent,
            Self::Definition => Definitions::Redacted,
            Self::Configs => Definitions::Whole,
        }
    }
}

impl TagView {
    /// The tag in as much detail as asked for.
    pub fn new(row: TagRow, detail: Detail) -> Self {
        let pod_definition = match detail {
            Detail::Brief => None,
            Detail::Definition => Some(row.definition.shown(false)),
            Detail::Configs => Some(row.definition.shown(true)),
        };
        Self {
            template_id: row.template_id().to_owned(),
            pod_definition,
            commit_message: row.commit_message,
            tag: row.tag,
            description: row.description,
            archive_message: row.archive_message,
            tag_timestamp: row.tag_timestamp,
            added_by: row.added_by,
            creation_ts: row.creation_ts,
            tenant_id: row.tenant_id,
            site_id: row.site_id,
            dependents: None,
        }
    }
}

/// What uses a tag, in all tenants of the site.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
#[schema(as = TagDependents)]
pub struct DependentsView {
    /// Ids of the pods whose `template` is the tag.
    pub dependant_pods: Vec<String>,
    /// How many they are.
    pub dependant_pod_count: usize,
    /// The tags that build on the tag, as `template_id:tag@timestamp`.
    pub dependant_tags: Vec<String>,
    /// How many they are.
    pub dependant_tags_count: usize,
}

impl From<Dependents> for DependentsView {
    fn from(dependents: Dependents) -> Self {
        Self {
            dependant_pod_count: dependents.pods.len(),
            dependant_pods: dependents.pods.into_iter().map(|pod| pod.pod_id).collect(),
            dependant_tags_count: dependents.tags.len(),
            dependant_tags: dependents.tags,
        }
    }
}

/// What uses one tag of a template.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateTagDependents)]
pub struct TagDependentsView {
    /// The template.
    pub template_id: String,
    /// `tag@YYYY-MM-DD-HH:MM:SS`.
    pub tag_timestamp: String,
    /// `template_id:tag@YYYY-MM-DD-HH:MM:SS`.
    pub full_tag: String,
    /// What uses it.
    #[serde(flatten)]
    pub dependents: DependentsView,
}

/// `metadata.secret_placeholders` of a new tag: what users of the template have to or may give.
#[derive(Debug, Serialize)]
pub struct SecretPlaceholder {
    /// The key of `secret_map`.
    pub env_var: String,
    /// The placeholder as written.
    pub placeholder: String,
    /// What the value is for.
    pub description: String,
    /// Whether the value may be left out.
    pub has_default: bool,
    /// What is used then.
    pub default_value: Option<String>,
}

/// The placeholders of a definition's `secret_map`, required ones first.
pub fn secret_placeholders(definition: &TemplateDefinition) -> Vec<SecretPlaceholder> {
    let found = placeholder::placeholders(&definition.secret_map);
    let all = found.required.into_iter().chain(found.optional);
    all.map(|found| SecretPlaceholder {
        placeholder: definition.secret_map.get(&found.key).cloned().unwrap_or_default(),
        env_var: found.key,
        description: found.description,
        has_default: found.default.is_some(),
        default_value: found.default,
    })
    .collect()
}

/// The placeholders of a definition's mounts.
pub fn volume_placeholders(definition: &TemplateDefinition) -> Vec<VolumePlaceholder> {
    mount::placeholders(&definition.volume_mounts)
}
