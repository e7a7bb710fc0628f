//! A scripted Kubernetes: an API server that real clients cannot tell from a real one, with pretended schedulers,
//! kubelets and nodes that move by a clock. Ten thousand Pods cost some hundred megabytes and no container.
//!
//! Three ways to use it:
//!
//! - The program `scripted-kube` serves plain HTTP and writes a kubeconfig. Whoever measures the product reads its CPU
//!   time apart from that of this program.
//! - [`serve::serve`] does the same inside of another program.
//! - `FakeCluster` (feature `client`) gives a test a client that needs no socket; there the test is scheduler and kubelet.
//!
//! # What is served
//!
//! The kinds of [`resource::RESOURCES`]: get; list with label and field selectors, pages (`limit`, `continue`) and
//! metadata only; watch from a version, with bookmarks, time limit, initial events and `410 Gone` for a version that is
//! compacted; create, with `409 AlreadyExists` and generated names; merge patch, JSON patch, apply and update, with the
//! version or the uid as precondition; delete with preconditions, grace period, finalizers and deletion of what is owned;
//! logs of containers (`follow`, `timestamps`, `sinceTime`, `sinceSeconds`, `tailLines`, `limitBytes`). Not served:
//! `exec`, authentication, permissions, quotas (a scenario plays them), admission, `dryRun`. A later page of a list shows
//! the present, and a strategic merge patch replaces lists.
//!
//! # What a Pod does
//!
//! A new Pod is placed on the emptiest node that has what it asks for, goes through `ContainerCreating`, a pull and a
//! start, each with its Kubernetes events, and runs. What happens then, or instead, is its [`scenario::Scenario`]: the name
//! of its image (`scripted/oom`, `scripted/exit-3`) or the annotation `scripted.kube/scenario`. A deletion takes
//! what the container takes to end, at most its grace period; `activeDeadlineSeconds` ends it.
//!
//! # Control
//!
//! `POST /_control/...` with JSON moves the cluster from outside; see [`control`] for the forms.
//!
//! | Path | Body |
//! |---|---|
//! | `GET state` | counts of objects, Pods by phase, requests, watches and log streams |
//! | `settings` | any of [`settings::Settings`] |
//! | `pods` | `{"name"` or `"labels", "limit", "scenario"}`: does it to living Pods now; `remove` takes them away |
//! | `nodes` | `{"name"` (or all)`, "ready": "True"/"False"/"Unknown", "pressure": "memory"/"disk"/"pid"/null, "removed": true, "added": true}` |
//! | `faults` | `{"method", "kind", "name", "times", "status": {"code", "reason", "message"}}` or `drop`, `answer_lost`, `delay_ms`; `{"clear": true}` |
//! | `watches` | `{"cut": true, "kind", "gone": true}`: breaks open watches; `gone` makes their next resume fail with 410 |
//! | `reachable` | `{"reachable": false}`: every connection breaks until it is true again |
//! | `logs` | `{"name", "line"}` or `raw` |
//! | `objects` | objects one a line, stored as they are |
//! | `reset` | removes everything but nodes and namespaces |

mod answer;
mod clock;
pub mod cluster;
pub mod control;
mod defaults;
mod discovery;
mod ending;
#[cfg(feature = "client")]
mod fake;
mod kubelet;
pub mod log;
mod manual;
mod node_life;
pub mod nodes;
pub mod object;
pub mod patch;
pub mod refusal;
pub mod resource;
mod route;
mod run;
pub mod scenario;
mod scheduler;
pub mod selector;
pub mod serve;
pub mod settings;
pub mod state;
mod status;
pub mod store;
mod stream;
pub mod table;

pub use cluster::{Call, Cluster};
#[cfg(feature = "client")]
pub use fake::{FakeCluster, Fault};
