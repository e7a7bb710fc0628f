//! Who may do what: one pure decision for every action (Tapis Pods documentation, "Permissions").

mod grantee;

use crate::status::text_enum;
pub use grantee::{EVERYBODY, Grantee, Holder};

text_enum! {
    /// A level that a user holds on an object; each includes the ones before it.
    Level {
        /// An explicit "no access".
        None => "NONE",
        /// View the object; of a pod also its logs.
        Read => "READ",
        /// Also change it, see its permissions and, of a pod, its credentials.
        User => "USER",
        /// Everything, including start, stop, deletion and permissions.
        Admin => "ADMIN",
        /// As ADMIN; also unlocks private images and is granted by service admins only.
        ApprovedAdmin => "APPROVEDADMIN",
    }
}

text_enum! {
    /// Something that a caller asks for. Operations of the API are named by their operation id; the others are what
    /// an operation needs beyond itself.
    Action {
        /// `GET /pods`: answers what the caller may read.
        ListPods => "list_pods",
        /// `GET /pods/events`: tells what the caller may read.
        StreamPodEvents => "stream_pod_events",
        /// `POST /pods`: every authenticated user of the tenant.
        CreatePod => "create_pod",
        /// `GET /pods/{pod_id}`.
        GetPod => "get_pod",
        /// `PUT /pods/{pod_id}`.
        UpdatePod => "update_pod",
        /// `DELETE /pods/{pod_id}`.
        DeletePod => "delete_pod",
        /// `POST /pods/{pod_id}/volumes`: adds mounts.
        AttachVolumeMounts => "attach_volume_mounts",
        /// `GET /pods/{pod_id}/derived`.
        GetDerivedPod => "get_derived_pod",
        /// `GET /pods/{pod_id}/credentials`.
        GetPodCredentials => "get_pod_credentials",
        /// `GET /pods/{pod_id}/logs`.
        GetPodLogs => "get_pod_logs",
        /// `GET /pods/{pod_id}/events`.
        GetPodEvents => "get_pod_events",
        /// `GET /pods/{pod_id}/explain`.
        ExplainPod => "explain_pod",
        /// `GET /pods/{pod_id}/log-runs`.
        ListPodLogRuns => "list_pod_log_runs",
        /// `GET /pods/{pod_id}/log-runs/{run_index}`.
        GetPodLogRun => "get_pod_log_run",
        /// `GET /pods/{pod_id}/overrides`.
        GetPodOverrides => "get_pod_overrides",
        /// `GET /pods/{pod_id}/provenance`.
        GetPodProvenance => "get_pod_provenance",
        /// `POST /pods/{pod_id}/reset_field`.
        ResetPodField => "reset_pod_field",
        /// `POST /pods/{pod_id}/save_pod_as_template_tag`; also needs [`Action::AddTemplateTag`] on the template.
        SavePodAsTemplateTag => "save_pod_as_template_tag",
        /// `GET /pods/{pod_id}/start`.
        StartPod => "start_pod",
        /// `GET /pods/{pod_id}/stop`.
        StopPod => "stop_pod",
        /// `GET /pods/{pod_id}/restart`.
        RestartPod => "restart_pod",
        /// `GET /pods/jupyter/ensure`: finds or creates a pod of the caller's own.
        EnsureJupyterPod => "ensure_jupyter_pod",
        /// `GET /pods/{pod_id}/permissions`.
        GetPodPermissions => "get_pod_permissions",
        /// `POST /pods/{pod_id}/permissions`.
        SetPodPermission => "set_pod_permission",
        /// `DELETE /pods/{pod_id}/permissions/{user}`.
        DeletePodPermission => "delete_pod_permission",
        /// `PUT /pods/{pod_id}` with a `status_requested` that differs.
        ChangeStatusRequested => "change_status_requested",
        /// Replacing or removing mounts that another user mounted.
        ChangeForeignMounts => "change_foreign_mounts",
        /// Gives or takes APPROVEDADMIN of a pod.
        GrantRestrictedPodPermission => "grant_restricted_pod_permission",
        /// Gives or takes the entry of a whole tenant on a pod.
        GrantGroupPodPermission => "grant_group_pod_permission",
        /// The derived pod with the values of its secrets.
        ResolveSecrets => "resolve_secrets",
        /// `GET /pods/templates`: answers what the caller may read.
        ListTemplates => "list_templates",
        /// `POST /pods/templates`: every authenticated user.
        AddTemplate => "add_template",
        /// `GET /pods/templates/tags`: answers what the caller may read.
        ListTemplatesAndTags => "list_templates_and_tags",
        /// `GET /pods/templates/{template_id}`.
        GetTemplate => "get_template",
        /// `PUT /pods/templates/{template_id}`.
        UpdateTemplate => "update_template",
        /// `DELETE /pods/templates/{template_id}`.
        DeleteTemplate => "delete_template",
        /// `GET /pods/templates/{template_id}/tags`.
        ListTemplateTags => "list_template_tags",
        /// `POST /pods/templates/{template_id}/tags`.
        AddTemplateTag => "add_template_tag",
        /// `GET /pods/templates/{template_id}/tags/{tag_id}`.
        GetTemplateTag => "get_template_tag",
        /// `DELETE /pods/templates/{template_id}/tags/{tag_id}`.
        DeleteTemplateTag => "delete_template_tag",
        /// `GET /pods/templates/{template_id}/permissions`.
        GetTemplatePermissions => "get_template_permissions",
        /// `POST /pods/templates/{template_id}/permissions`.
        SetTemplatePermission => "set_template_permission",
        /// `DELETE /pods/templates/{template_id}/permissions/{user}`.
        DeleteTemplatePermission => "delete_template_permission",
        /// Gives or takes APPROVEDADMIN of a template.
        GrantRestrictedTemplatePermission => "grant_restricted_template_permission",
        /// Gives or takes the entry of a whole tenant or of everybody on a template.
        GrantGroupTemplatePermission => "grant_group_template_permission",
        /// Naming a template in a pod or in a tag of another template.
        UseTemplate => "use_template",
        /// Which pods and tags use a template; they may belong to others.
        SeeDependents => "see_dependents",
        /// `GET /pods/images`: answers what the tenant may use.
        GetImages => "get_images",
        /// `GET /pods/images/{image_id}`.
        GetImage => "get_image",
        /// `POST /pods/images`.
        AddImage => "add_image",
        /// `POST /pods/images/bulk`.
        AddImages => "add_images",
        /// `PUT /pods/images/{image_id}`.
        UpdateImage => "update_image",
        /// `DELETE /pods/images/{image_id}`.
        DeleteImage => "delete_image",
    }
}

text_enum! {
    /// The kind of object that an action is about.
    Resource {
        /// A pod.
        Pod => "pod",
        /// A template with its tags.
        Template => "template",
        /// An entry of the list of allowed images.
        Image => "image",
    }
}

/// What the service knows about a caller when it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Holds the service's admin role in the request tenant.
    pub admin_role: bool,
    /// Sent `X-Pods-Admin: true` and holds the role.
    pub admin_mode: bool,
}

impl Caller {
    /// A caller without the admin role.
    pub const USER: Caller = Caller { admin_role: false, admin_mode: false };
}

/// What an action demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// A valid token of the tenant.
    Authenticated,
    /// At least this level on the object, or admin mode.
    Level(Level),
    /// The service's admin role, and at least this level on the object or admin mode.
    LevelAndAdminRole(Level),
    /// The service's admin role, whatever the level on the object.
    AdminRole,
    /// Admin mode: the role and the header that asks for its powers.
    AdminMode,
}

impl Action {
    /// What the action demands of its caller.
    pub const fn requirement(self) -> Requirement {
        match self {
            Action::ListPods
            | Action::StreamPodEvents
            | Action::CreatePod
            | Action::EnsureJupyterPod
            | Action::ListTemplates
            | Action::AddTemplate
            | Action::ListTemplatesAndTags
            | Action::GetImages
            | Action::GetImage => Requirement::Authenticated,
            Action::GetPod
            | Action::GetDerivedPod
            | Action::GetPodLogs
            | Action::GetPodEvents
            | Action::ExplainPod
            | Action::ListPodLogRuns
            | Action::GetPodLogRun
            | Action::GetPodOverrides
            | Action::GetPodProvenance
            | Action::GetTemplate
            | Action::ListTemplateTags
            | Action::GetTemplateTag
            | Action::UseTemplate => Requirement::Level(Level::Read),
            Action::UpdatePod
            | Action::AttachVolumeMounts
            | Action::GetPodCredentials
            | Action::GetPodPermissions
            | Action::UpdateTemplate
            | Action::AddTemplateTag
            | Action::GetTemplatePermissions => Requirement::Level(Level::User),
            Action::ChangeStatusRequested
            | Action::ChangeForeignMounts
            | Action::DeletePod
            | Action::ResetPodField
            | Action::SavePodAsTemplateTag
            | Action::StartPod
            | Action::StopPod
            | Action::RestartPod
            | Action::SetPodPermission
            | Action::DeletePodPermission
            | Action::DeleteTemplate
            | Action::SetTemplatePermission
            | Action::DeleteTemplatePermission => Requirement::Level(Level::Admin),
            Action::GrantRestrictedPodPermission | Action::GrantRestrictedTemplatePermission => {
                Requirement::LevelAndAdminRole(Level::Admin)
            }
            Action::ResolveSecrets => Requirement::LevelAndAdminRole(Level::Read),
            Action::GrantGroupPodPermission
            | Action::GrantGroupTemplatePermission
            | Action::DeleteTemplateTag
            | Action::SeeDependents => Requirement::AdminRole,
            Action::AddImage | Action::AddImages | Action::UpdateImage | Action::DeleteImage => {
                Requirement::AdminMode
            }
        }
    }

    /// What the action is about.
    pub const fn resource(self) -> Resource {
        match self {
            Action::ListPods
            | Action::StreamPodEvents
            | Action::CreatePod
            | Action::GetPod
            | Action::UpdatePod
            | Action::DeletePod
            | Action::AttachVolumeMounts
            | Action::GetDerivedPod
            | Action::GetPodCredentials
            | Action::GetPodLogs
            | Action::GetPodEvents
            | Action::ExplainPod
            | Action::ListPodLogRuns
            | Action::GetPodLogRun
            | Action::GetPodOverrides
            | Action::GetPodProvenance
            | Action::ResetPodField
            | Action::SavePodAsTemplateTag
            | Action::StartPod
            | Action::StopPod
            | Action::RestartPod
            | Action::EnsureJupyterPod
            | Action::GetPodPermissions
            | Action::SetPodPermission
            | Action::DeletePodPermission
            | Action::ChangeStatusRequested
            | Action::ChangeForeignMounts
            | Action::GrantRestrictedPodPermission
            | Action::GrantGroupPodPermission
            | Action::ResolveSecrets => Resource::Pod,
            Action::ListTemplates
            | Action::AddTemplate
            | Action::ListTemplatesAndTags
            | Action::GetTemplate
            | Action::UpdateTemplate
            | Action::DeleteTemplate
            | Action::ListTemplateTags
            | Action::AddTemplateTag
            | Action::GetTemplateTag
            | Action::DeleteTemplateTag
            | Action::GetTemplatePermissions
            | Action::SetTemplatePermission
            | Action::DeleteTemplatePermission
            | Action::GrantRestrictedTemplatePermission
            | Action::GrantGroupTemplatePermission
            | Action::UseTemplate
            | Action::SeeDependents => Resource::Template,
            Action::GetImages
            | Action::GetImage
            | Action::AddImage
            | Action::AddImages
            | Action::UpdateImage
            | Action::DeleteImage => Resource::Image,
        }
    }

    /// Whether the caller's roles decide, so that they must be known.
    pub const fn needs_role(self) -> bool {
        match self.requirement() {
            Requirement::Authenticated | Requirement::Level(_) => false,
            Requirement::LevelAndAdminRole(_) | Requirement::AdminRole | Requirement::AdminMode => true,
        }
    }
}

/// Why a caller may not do something. The text is safe to show to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The level on the object is too low.
    #[error("{action} needs {needed} on this {}, you have {held}; ask one of its ADMINs", action.resource())]
    Level {
        /// What was asked for.
        action: Action,
        /// The level it needs.
        needed: Level,
        /// The level the caller holds.
        held: Level,
    },
    /// Only service admins may do this.
    #[error("{0} is for administrators of the service only")]
    AdminRole(Action),
    /// Only service admins who asked for their powers may do this.
    #[error("{0} needs admin mode: the administrator role and the header X-Pods-Admin: true")]
    AdminMode(Action),
}

/// Whether `caller`, holding `level` on the object, may do `action`.
///
/// # Errors
/// [`Denied`] with the reason.
pub fn decide(caller: Caller, level: Level, action: Action) -> Result<(), Denied> {
    let needed = match action.requirement() {
        Requirement::Authenticated => return Ok(()),
        Requirement::AdminMode if caller.admin_mode => return Ok(()),
        Requirement::AdminMode => return Err(Denied::AdminMode(action)),
        Requirement::AdminRole | Requirement::LevelAndAdminRole(_) if !caller.admin_role => {
            return Err(Denied::AdminRole(action));
        }
        Requirement::AdminRole => return Ok(()),
        Requirement::Level(needed) | Requirement::LevelAndAdminRole(needed) => needed,
    };
    if caller.admin_mode || level >= needed {
        return Ok(());
    }
    Err(Denied::Level { action, needed, held: level })
}

/// The level's right to keep an object administrable: ADMIN or APPROVEDADMIN.
pub fn administers(level: Level) -> bool {
    level >= Level::Admin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_permissions_is_the_checked_in_one() {
        let callers = [
            ("user", Caller::USER),
            ("admin role", Caller { admin_role: true, admin_mode: false }),
            ("admin mode", Caller { admin_role: true, admin_mode: true }),
        ];
        let mut table = String::from("object / action / caller with level");
        for (name, _) in callers {
            for level in Level::ALL {
                table += &format!(" | {name}:{level}");
            }
        }
        table.push('\n');
        for action in Action::ALL {
            table += &format!("{} {action}", action.resource());
            for (_, caller) in callers {
                for level in Level::ALL {
                    table += if decide(caller, *level, *action).is_ok() { " | yes" } else { " | -" };
                }
            }
            table.push('\n');
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn the_documented_table_is_complete() {
        let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permissions.md");
        let documented = std::fs::read_to_string(documented).unwrap();
        for action in Action::ALL {
            let needs = match action.requirement() {
                Requirement::Authenticated => "a valid token".to_owned(),
                Requirement::Level(level) => level.to_string(),
                Requirement::LevelAndAdminRole(level) => format!("{level} and the administrator role"),
                Requirement::AdminRole => "the administrator role".to_owned(),
                Requirement::AdminMode => "admin mode".to_owned(),
            };
            let line = format!("| {} | `{action}` | {needs} |\n", action.resource());
            assert!(documented.contains(&line), "docs/permissions.md lacks the line\n{line}");
        }
    }

    #[test]
    fn a_higher_level_or_role_never_allows_less() {
        for action in Action::ALL {
            for levels in Level::ALL.windows(2) {
                if decide(Caller::USER, levels[0], *action).is_ok() {
                    assert!(decide(Caller::USER, levels[1], *action).is_ok(), "{action}");
                }
            }
            for level in Level::ALL {
                let role = Caller { admin_role: true, admin_mode: false };
                let mode = Caller { admin_role: true, admin_mode: true };
                if decide(Caller::USER, *level, *action).is_ok() {
                    assert!(decide(role, *level, *action).is_ok(), "{action}");
                }
                assert!(decide(mode, *level, *action).is_ok(), "{action}");
                if !action.needs_role() {
                    assert_eq!(decide(role, *level, *action), decide(Caller::USER, *level, *action));
                }
            }
        }
    }

    #[test]
    fn refusals_say_what_is_missing_and_on_what() {
        let text = |action| decide(Caller::USER, Level::Read, action).unwrap_err().to_string();
        assert!(text(Action::UpdatePod).contains("USER on this pod"));
        assert!(text(Action::DeleteTemplate).contains("ADMIN on this template"));
        assert!(text(Action::DeleteTemplateTag).contains("administrators"));
        let text = text(Action::AddImage);
        assert!(text.contains("admin mode") && text.contains("X-Pods-Admin"), "{text}");
    }
}
