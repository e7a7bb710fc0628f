//! Query parameters. All are optional; what is a boolean may also be written `1`, `yes`, `on`, `True`.

use utoipa::IntoParams;

/// What `GET /pods/events` begins with and is restricted to.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters that crate::query reads")]
pub struct EventStream {
    /// Go on after this id of an event, or with the `X-Pods-Cursor` of a list. The header `Last-Event-ID` counts before it.
    #[param(required = false, example = "734-0")]
    cursor: String,
    /// Begin with all pods as they are, unless a cursor is given that is still known.
    #[param(required = false, default = false)]
    snapshot: bool,
    /// Only these pods; may be repeated, at most 100 times.
    #[param(required = false, explode = true, style = Form)]
    pod_id: Vec<String>,
}

/// Where a stream goes on, as browsers say it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header that crate::sse reads")]
pub struct LastEventId {
    /// The id of the last event that was received; it counts before `cursor`.
    #[param(rename = "Last-Event-ID", required = false)]
    last_event_id: String,
}

/// How many events are shown.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a parameter that crate::query reads")]
pub struct EventLimit {
    /// How many of the newest events are shown.
    #[param(required = false, default = 50, minimum = 1, maximum = 500)]
    limit: i32,
}

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
flag! {
    /// Answer with server-sent events that go on as long as you listen.
    Follow { follow = false }
}
flag! {
    /// Answer with the log alone, as a text file.
    Download { download = false }
}

/// Which part of a log.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a parameter that the routes of logs read")]
pub struct LogPart {
    /// Only lines of this time and later: RFC 3339, or a number of seconds before now. Lines are found to about a tenth
    /// of a second; a few earlier ones may come with them.
    #[param(required = false, example = "2026-11-21T04:00:00Z")]
    since: String,
}

/// Declares how many lines of a log are wanted.
macro_rules! tail {
    ($(#[$doc:meta])+ $type:ident) => {
        $(#[$doc])+
        #[derive(IntoParams)]
        #[into_params(parameter_in = Query)]
        #[expect(dead_code, reason = "describes a parameter that the routes of logs read")]
        pub struct $type {
            $(#[$doc])+
            #[param(required = false, minimum = 0, maximum = 20_000_000, example = 100)]
            tail: u64,
        }
    };
}

tail! {
    /// Only so many lines from the end. With `follow=true` and 0: only what comes from now on.
    LogTail
}
tail! {
    /// Only so many lines from the end.
    LogRunTail
}

/// Where a log stream goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a parameter that the routes of logs read")]
pub struct LogCursor {
    /// With `follow=true`: the id of the last event that was received. The header `Last-Event-ID` counts before it.
    #[param(required = false)]
    cursor: String,
}

/// What a pod sends a visitor with.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters that crate::query reads")]
pub struct PodAuth {
    /// What the pod's host wants back.
    #[param(required = false, max_length = 2400, pattern = "^[A-Za-z0-9_-]+$")]
    login: String,
    /// The tenant that the visitor is a user of, for pods that are open to several; the pod's own when left out by a program.
    #[param(required = false)]
    tenant: String,
    /// The host of the entry that the visitor came from; the entry's own when left out.
    #[param(required = false)]
    host: String,
}

/// What the login page sends a visitor back with.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters that crate::query reads")]
pub struct PodAuthCallback {
    /// The code that the platform exchanges for the visitor's name.
    #[param(required = false)]
    code: String,
    /// What the login was begun with.
    #[param(required = false)]
    state: String,
}
