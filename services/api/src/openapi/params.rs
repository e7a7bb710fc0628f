//! Query parameters. All are optional; what is a boolean may also be written `1`, `yes`, `on`, `True`.

use utoipa::IntoParams;

/// Declares a yes-or-no query parameter with its default.
macro_rules! flag {
    ($(#[$doc:meta])+ $type:ident { $name:ident = $default:literal }) => {
        $(#[$doc])+
        #[derive(IntoParams)]
        #[into_params(parameter_in = Query)]
        #[expect(dead_code, reason = "describes a parameter that crate::query reads")]
        pub struct $type {
            $(#[$doc])+
            #[param(required = false, default = $default)]
            $name: bool,
        }
    };
}

flag! {
    /// Show the contents of configuration files (`config_content`) instead of their length.
    IncludeConfigs { include_configs = false }
}
flag! {
    /// Report placeholders that are not resolved yet in `metadata.unresolved_patterns`.
    CheckUnresolved { check_unresolved = true }
}
flag! {
    /// Merge templates into the pods and put the values of `<<tapissecret_x>>` and `<<TAPIS_x>>` into their environment.
    Derived { derived = false }
}
flag! {
    /// Merge templates into the pods; placeholders stay as they are. Counts before `derived`.
    DerivedLite { derived_lite = false }
}
flag! {
    /// Put the values of `secret_map` into the answer; administrators of the service only.
    ResolveSecrets { resolve_secrets = false }
}
flag! {
    /// With `resolve_secrets`: also values that may only be written; administrators of the service only.
    RevealWriteOnly { reveal_write_only = false }
}
flag! {
    /// Carry it out although other objects depend on the object. Accepted and without effect where nothing can.
    Force { force = false }
}
flag! {
    /// Pin the pod to the newest tag of the same name first.
    GrabLatestTemplateTag { grab_latest_template_tag = false }
}
flag! {
    /// Show the definition of each tag; otherwise everything but it.
    Full { full = true }
}
flag! {
    /// Show which pods and tags use each tag; administrators of the service only.
    IncludeDependencies { include_dependencies = false }
}
flag! {
    /// Skip images that are on the list already instead of refusing all with 409.
    SkipDuplicates { skip_duplicates = false }
}
