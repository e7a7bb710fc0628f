//! One write for everything that changes a stored pod: definition, random values, status and action log change together
//! or not at all.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection;
use pods_core::{PodDefinition, action_log, transition::Event};
use pods_db::{
    Connection, DbError, action_logs, outbox,
    pods::{NewDefinition, PodRow, RunLimits, UpdateError},
    transitions::{Applied, Change, apply},
};

use super::{
    check::{Plan, Proposal, plan},
    credentials, home,
};
use crate::{caller::Caller, error::ApiError, state::AppState};

/// A definition and the ledger that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::routes) struct NewState {
    /// The definition to store.
    pub(in crate::routes) definition: PodDefinition,
    /// The fields that the user set.
    pub(in crate::routes) modified_fields: BTreeSet<String>,
}

impl NewState {
    /// What is stored at present.
    pub(in crate::routes) fn of(pod: &PodRow) -> Self {
        Self { definition: pod.definition.clone(), modified_fields: pod.modified_fields.clone() }
    }

    /// Merges the state with its templates and checks the result.
    pub(super) async fn plan(
        &self,
        app: &AppState,
        conn: &mut Connection,
        caller: &Caller,
        pod: &PodRow,
        image_touched: bool,
    ) -> Result<Plan, ApiError> {
        let proposal = Proposal {
            home: home(caller, &pod.pod_id),
            definition: &self.definition,
            ledger: &self.modified_fields,
            image_touched,
            old_template: &pod.definition.template,
        };
        plan(app, conn, proposal).await
    }
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::routes) struct Write<'a> {
    /// The new definition and ledger.
    pub(in crate::routes) state: Option<&'a NewState>,
    /// The checked merge of the new definition and what the action log says before the list of changes; without it the
    /// definition is the old one.
    pub(in crate::routes) plan: Option<(&'a Plan, &'a str)>,
    /// The wanted transition and its line of the action log.
    pub(in crate::routes) event: Option<(Event, &'a str)>,
}

/// What became of a write.
#[derive(Debug)]
pub(in crate::routes) enum Written {
    /// Done; the row as it is now.
    Done(Box<PodRow>),
    /// Somebody else wrote first: read the row again and decide anew.
    Moved,
}

/// Writes to `pod` if it is still the row that was read. The transition comes after the other fields.
pub(in crate::routes) async fn write(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    pod: &PodRow,
    write: Write<'_>,
) -> Result<Written, ApiError> {
    let now = Utc::now();
    let done = conn
        .transaction(async |conn| {
            let mut row = pod.clone();
            if let Some(state) = write.state {
                row = store(conn, caller, &row, state, write.plan.map(|(plan, _)| plan), now).await?;
                if let Some((plan, what)) = write.plan {
                    if !credentials::add_random(app, conn, &row, &plan.derived.secret_map).await? {
                        return Err(RolledBack::Moved);
                    }
                    let text = format!("{what}: {}", changes(pod, state));
                    action_logs::add(conn, pod.uid, now, &text).await?;
                    // Who may reach the container past the proxy follows the entries at once, as the proxy does.
                    if row.status.wants_objects() && plan.before(pod).networking != plan.derived.networking {
                        outbox::add(conn, pod.uid, "networking").await?;
                    }
                }
            }
            if let Some((event, text)) = write.event {
                match apply(conn, &row, Change::new(event, now).log(text)).await? {
                    Applied::Done(after) => row = *after,
                    Applied::Illegal(illegal) => return Err(ApiError::wrong_state(illegal).into()),
                    Applied::Underivable(error) => return Err(ApiError::from(error).into()),
                    Applied::Moved => return Err(RolledBack::Moved),
                }
            }
            Ok(row)
        })
        .await;
    match done {
        Ok(row) => Ok(Written::Done(Box::new(row))),
        Err(RolledBack::Moved) => Ok(Written::Moved),
        Err(RolledBack::Api(error)) => Err(error),
    }
}

async fn store(
    conn: &mut Connection,
    caller: &Caller,
    row: &PodRow,
    state: &NewState,
    plan: Option<&Plan>,
    now: DateTime<Utc>,
) -> Result<PodRow, RolledBack> {
    let same = RunLimits::of(&row.definition);
    let new = NewDefinition {
        definition: state.definition.clone(),
        modified_fields: state.modified_fields.clone(),
        tenant_host: &caller.tenant_host,
        old_limits: plan.map_or(same, |plan| RunLimits::of(&plan.before(row))),
        new_limits: plan.map_or(same, |plan| RunLimits::of(&plan.derived)),
        now,
    };
    PodRow::update_definition(conn, row, new).await?.ok_or(RolledBack::Moved)
}

/// The changed leaves; a field that was set to the value it had is named, because it wins over the template's now.
fn changes(pod: &PodRow, state: &NewState) -> String {
    let changes = action_log::changes(&pod.definition, &state.definition);
    if !changes.is_empty() {
        return changes;
    }
    let names: Vec<&str> =
        pod.modified_fields.symmetric_difference(&state.modified_fields).map(String::as_str).collect();
    format!("who decides about {}", names.join(", "))
}

/// Takes the transaction back.
enum RolledBack {
    Moved,
    Api(ApiError),
}

impl From<ApiError> for RolledBack {
    fn from(error: ApiError) -> Self {
        RolledBack::Api(error)
    }
}

impl From<DbError> for RolledBack {
    fn from(error: DbError) -> Self {
        RolledBack::Api(error.into())
    }
}

impl From<UpdateError> for RolledBack {
    fn from(error: UpdateError) -> Self {
        RolledBack::Api(error.into())
    }
}
