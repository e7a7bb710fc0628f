//! What the pages say.

use super::Page;

/// The words of a page.
pub(super) struct Content {
    /// A stable word: `metadata.state` of the JSON form.
    pub state: &'static str,
    pub title: &'static str,
    pub text: &'static str,
    /// Seconds until the page looks again.
    pub refresh: Option<u32>,
}

impl Page {
    pub(super) fn content(self) -> Content {
        match self {
            Self::Starting => STARTING,
            Self::Opening => OPENING,
            Self::Stopping => STOPPING,
            Self::Stopped => STOPPED,
            Self::Finished => FINISHED,
            Self::Failed => FAILED,
            Self::Deleting => DELETING,
            Self::NotWeb => NOT_WEB,
            Self::Unroutable => UNROUTABLE,
            Self::Unknown => UNKNOWN,
            Self::Unavailable => UNAVAILABLE,
            Self::LoginUnavailable => LOGIN_UNAVAILABLE,
            Self::LoginBroken => LOGIN_BROKEN,
            Self::NotAllowed => NOT_ALLOWED,
        }
    }
}

const STARTING: Content = Content {
    state: "starting",
    title: "This pod is starting",
    text: "It is not ready for visitors yet. This page looks again every few seconds.",
    refresh: Some(5),
};

const OPENING: Content = Content {
    state: "starting",
    title: "This pod is starting",
    text: "It is running and opens in a moment. This page takes you there.",
    refresh: Some(1),
};

const STOPPING: Content = Content {
    state: "stopping",
    title: "This pod is stopping",
    text: "It is being shut down and takes no more visitors.",
    refresh: Some(10),
};

const STOPPED: Content = Content {
    state: "stopped",
    title: "This pod is stopped",
    text: "It is not running at the moment. The people who run it can start it again.",
    refresh: None,
};

const FINISHED: Content = Content {
    state: "finished",
    title: "This pod has finished",
    text: "It did its work and no longer runs. The people who run it can start it again.",
    refresh: None,
};

const FAILED: Content = Content {
    state: "error",
    title: "This pod is not running",
    text: "It could not be started or it ended with an error. The people who run it find the reason in its \
                 status and its logs.",
    refresh: None,
};

const DELETING: Content = Content {
    state: "deleting",
    title: "This pod is being deleted",
    text: "It takes no more visitors, and its address will soon be free.",
    refresh: Some(10),
};

const NOT_WEB: Content = Content {
    state: "not_http",
    title: "This is not a web page",
    text: "A pod is here, but it does not speak HTTP. Connect with the program that it is meant for.",
    refresh: None,
};

const UNROUTABLE: Content = Content {
    state: "unroutable",
    title: "This pod cannot be reached",
    text: "It runs, but its networking settings cannot be used. The people who run it can correct them.",
    refresh: None,
};

const UNKNOWN: Content = Content {
    state: "unknown",
    title: "There is no pod here",
    text: "No pod has this address. It may be mistyped, or the pod was deleted.",
    refresh: None,
};

const UNAVAILABLE: Content = Content {
    state: "unavailable",
    title: "Please wait a moment",
    text: "We cannot look up this address right now. This page looks again every few seconds.",
    refresh: Some(5),
};

const LOGIN_UNAVAILABLE: Content = Content {
    state: "login_unavailable",
    title: "Nobody can log in right now",
    text: "This pod is for visitors who log in, and the login does not work at the moment. This page looks \
                 again every few seconds; whoever is logged in already can go on.",
    refresh: Some(10),
};

const LOGIN_BROKEN: Content = Content {
    state: "login_broken",
    title: "This login cannot be completed",
    text: "It took too long, began in another browser, or was completed already. Open the pod again to log in \
                 anew.",
    refresh: None,
};

const NOT_ALLOWED: Content = Content {
    state: "not_allowed",
    title: "This pod is not open to you",
    text: "You are logged in, but you are not among those whom the people who run this pod let in. They can \
                 add you.",
    refresh: None,
};
