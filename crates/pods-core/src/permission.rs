//! Who may do what: one pure decision for every action (Tapis Pods documentation, "Permissions").

use crate::status::text_enum;

text_enum! {
    /// A level that a user holds on an object; each includes the ones before it.
    Level {
        /// An explicit "no access".
        None => "NONE",
        /// View the pod and its logs.
        Read => "READ",
        /// Also change the pod, see its permissions and credentials.
        User => "USER",
        /// Everything, including start, stop, deletion and permissions.
        Admin => "ADMIN",
        /// As ADMIN; also unlocks private images and is granted by service admins only.
        ApprovedAdmin => "APPROVEDADMIN",
    }
}

text_enum! {
    /// Something that a caller asks for.
    Action {
        /// `GET /pods`: answers what the caller may read.
        ListPods => "list_pods",
        /// `POST /pods`: every authenticated user of the tenant.
        CreatePod => "create_pod",
        /// `GET /pods/{pod_id}`.
        GetPod => "get_pod",
        /// `PUT /pods/{pod_id}`.
        UpdatePod => "update_pod",
        /// `PUT /pods/{pod_id}` with a `status_requested` that differs.
        ChangeStatusRequested => "change_status_requested",
        /// `DELETE /pods/{pod_id}`.
        DeletePod => "delete_pod",
        /// `GET /pods/{pod_id}/start`.
        StartPod => "start_pod",
        /// `GET /pods/{pod_id}/stop`.
        StopPod => "stop_pod",
        /// `GET /pods/{pod_id}/restart`.
        RestartPod => "restart_pod",
        /// `GET /pods/{pod_id}/logs`.
        GetPodLogs => "get_pod_logs",
        /// `GET /pods/{pod_id}/permissions`.
        GetPodPermissions => "get_pod_permissions",
        /// `POST /pods/{pod_id}/permissions`.
        SetPodPermission => "set_pod_permission",
        /// `POST /pods/{pod_id}/permissions` with the level APPROVEDADMIN, or for a `tenant.x` key.
        GrantRestrictedPermission => "grant_restricted_permission",
        /// `DELETE /pods/{pod_id}/permissions/{user}`.
        DeletePodPermission => "delete_pod_permission",
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
    /// At least this level on the object.
    Level(Level),
    /// At least this level on the object and the service's admin role.
    LevelAndAdminRole(Level),
}

impl Action {
    /// What the action demands of its caller.
    pub const fn requirement(self) -> Requirement {
        match self {
            Action::ListPods | Action::CreatePod => Requirement::Authenticated,
            Action::GetPod | Action::GetPodLogs => Requirement::Level(Level::Read),
            Action::UpdatePod | Action::GetPodPermissions => Requirement::Level(Level::User),
            Action::ChangeStatusRequested
            | Action::DeletePod
            | Action::StartPod
            | Action::StopPod
            | Action::RestartPod
            | Action::SetPodPermission
            | Action::DeletePodPermission => Requirement::Level(Level::Admin),
            Action::GrantRestrictedPermission => Requirement::LevelAndAdminRole(Level::Admin),
        }
    }
}

/// Why a caller may not do something. The text is safe to show to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The level on the object is too low.
    #[error("{action} needs {needed} on this pod, you have {held}; ask one of its ADMINs")]
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
}

/// Whether `caller`, holding `level` on the object, may do `action`.
///
/// # Errors
/// [`Denied`] with the reason.
pub fn decide(caller: Caller, level: Level, action: Action) -> Result<(), Denied> {
    let (needed, role_needed) = match action.requirement() {
        Requirement::Authenticated => return Ok(()),
        Requirement::Level(needed) => (needed, false),
        Requirement::LevelAndAdminRole(needed) => (needed, true),
    };
    if role_needed && !caller.admin_role {
        return Err(Denied::AdminRole(action));
    }
    if caller.admin_mode || level >= needed {
        return Ok(());
    }
    Err(Denied::Level { action, needed, held: level })
}

/// Whether a text may be the user of a permission: `[a-zA-Z_][a-zA-Z0-9_.@-]*`, at most 128 characters.
pub fn valid_grantee(user: &str) -> bool {
    let mut characters = user.chars();
    user.len() <= 128
        && characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-'))
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
        let mut table = String::from("action / caller with level");
        for (name, _) in callers {
            for level in Level::ALL {
                table += &format!(" | {name}:{level}");
            }
        }
        table.push('\n');
        for action in Action::ALL {
            table += action.as_str();
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
    fn grantees_follow_the_grammar() {
        for good in ["alice", "_svc", "a.b-c@x.org", "tenant.dev-two"] {
            assert!(valid_grantee(good), "{good}");
        }
        for bad in ["", "1alice", "al ice", "**", "*", "al/ice", "älice"] {
            assert!(!valid_grantee(bad), "{bad}");
        }
    }
}
