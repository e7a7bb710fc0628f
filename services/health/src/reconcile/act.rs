//! Acting on a plan: what is written, and what is noted once it is.

use std::time::Duration;

use chrono::{DateTime, Utc};
use pods_core::{
    Status,
    ids::instance_name,
    phases::{Phase, Phases},
    transition::Event,
};
use pods_db::{
    Connection, instances,
    logs::Fence,
    outbox,
    pods::PodRow,
    transitions::{self, Applied, Change},
};
use pods_kube::{Failure, client::call, labels};
use tracing::Instrument;

use super::{RETRY, Shared, is_young};
use crate::decide::{self, Plan, Record, Step};

/// What a write goes along with.
pub(super) struct Context<'a> {
    /// The share under which it is made.
    pub fence: &'a Fence,
    /// The phases that the start has reached.
    pub phases: Phases,
    /// The trace that the start belongs to.
    pub traceparent: Option<&'a str>,
}

/// What became of a plan.
pub(super) enum Acted {
    /// The row moved on by our hand: decide again; the reason for looking is used up.
    Recorded,
    /// Somebody else moved it first: decide again.
    Moved,
    /// Nothing more to do now.
    Done(Option<Duration>),
}

impl Shared {
    pub(super) async fn act(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        plan: Plan,
        context: &Context<'_>,
    ) -> anyhow::Result<Acted> {
        match plan.step {
            Step::Nothing => Ok(Acted::Done(plan.again)),
            Step::Record(record) => self.record(conn, row, &record, context).await,
            Step::Explain(because) => {
                // Not written means that somebody moved first: then there is something new to decide.
                let (phases, fence) = (&context.phases, Some(context.fence));
                let before = self.known_phases(conn, row, phases).await?;
                Ok(match transitions::set_status_container_with(conn, row, &because, phases, fence).await? {
                    true => {
                        measure(row, before.as_ref(), phases);
                        self.memory.stored(row, phases);
                        Acted::Done(plan.again)
                    }
                    false => Acted::Moved,
                })
            }
            Step::Wake(reason) => {
                outbox::add(conn, row.uid, reason).await?;
                Ok(Acted::Done(plan.again))
            }
            Step::Remind(reason) => {
                if self.memory.may_remind(row.uid, self.parts.wake_interval) {
                    outbox::add(conn, row.uid, reason).await?;
                }
                Ok(Acted::Done(Some(self.parts.wake_interval)))
            }
            Step::AskIfGone => self.ask_if_gone(conn, row, context).await,
        }
    }

    async fn record(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        record: &Record,
        context: &Context<'_>,
    ) -> anyhow::Result<Acted> {
        let mut change = Change::new(record.event, Utc::now())
            .because(record.because.clone())
            .log(&record.log)
            .phases(context.phases)
            .under(context.fence.clone());
        if let Some(at) = record.started_at {
            change = change.started_at(at);
        }
        if let Some((losses, not_before)) = record.again {
            change = change.losses(losses).not_before(not_before);
        }
        let span = tracing::error_span!(
            "record", pod.uid = %row.uid, pod.id = row.pod_id, event = %record.event, trace.id = tracing::field::Empty
        );
        // The trace of the start goes on with what became of it, and ends with it.
        let traceparent = context.traceparent.filter(|_| row.status != Status::Available);
        pods_telemetry::trace::adopt(&span, traceparent);
        match transitions::apply(conn, row, change).instrument(span.clone()).await? {
            Applied::Done(after) => {
                span.in_scope(|| {
                    tracing::info!(
                        pod.uid = %row.uid, pod.id = row.pod_id, pod.tenant = row.tenant_id,
                        from = %row.status, to = %after.status, event = %record.event, "recorded"
                    );
                });
                if record.event == Event::Running {
                    self.memory.stored(row, &context.phases);
                    self.measure_start(conn, row).await;
                }
                Ok(Acted::Recorded)
            }
            Applied::Moved => Ok(Acted::Moved),
            Applied::Illegal(illegal) => {
                tracing::debug!(pod.uid = %row.uid, %illegal, "an observation came too late");
                Ok(Acted::Done(Some(RETRY)))
            }
            // Only what a user asks for is answered so.
            Applied::Underivable(error) => {
                tracing::warn!(pod.uid = %row.uid, %error, "the pod's template is missing");
                Ok(Acted::Done(Some(RETRY)))
            }
        }
    }

    /// Stores what became known of a young run only after its status was written, for example that it is ready.
    pub(super) async fn note_late_phases(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        phases: &Phases,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let Some(instance) = row.instance_id.filter(|_| is_young(row, phases, now)) else { return Ok(()) };
        let before = self.known_phases(conn, row, phases).await?;
        if before.is_some() && instances::note_phases(conn, instance, phases).await? {
            measure(row, before.as_ref(), phases);
        }
        self.memory.stored(row, phases);
        Ok(())
    }

    /// What is stored of the phases of a run that was measured when it became AVAILABLE; `None` when these are stored
    /// already, or when it was not measured yet.
    async fn known_phases(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        phases: &Phases,
    ) -> anyhow::Result<Option<Phases>> {
        match row.instance_id.filter(|_| row.status == Status::Available) {
            Some(instance) if !self.memory.has_stored(row, phases) => {
                Ok(instances::phases(conn, instance).await?)
            }
            _ => Ok(None),
        }
    }

    /// A start became AVAILABLE: counts how long each phase took. The edge counts its own.
    async fn measure_start(&self, conn: &mut Connection, row: &PodRow) {
        let Some(instance) = row.instance_id else { return };
        // Only a measurement: the start itself is recorded.
        if let Ok(Some(phases)) = instances::phases(conn, instance).await
            && let Some(accepted) = phases.get(Phase::Accepted)
        {
            let ours = phases.but(&Phases::at(Phase::Routed, accepted));
            pods_db::metrics::start_reached(&row.definition.template, accepted, &ours);
        }
    }

    /// The view shows no Pod for a row that should have one: only the API server's own 404 says that it is gone.
    async fn ask_if_gone(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        context: &Context<'_>,
    ) -> anyhow::Result<Acted> {
        let Some(instance) = row.instance_id else { return Ok(Acted::Done(None)) };
        let name = instance_name(&row.k8_name, instance);
        match call(self.parts.api.get(&name)).await {
            Ok(pod) if labels::uid(&pod.metadata) == Some(row.uid) => Ok(Acted::Done(Some(RETRY))),
            Ok(_) | Err(Failure::Gone) => {
                let note = self.parts.notes.ask(&self.parts.events, &name).await;
                let (reason, sentence) = decide::cause_of_absence(&note);
                let plan = decide::lost(row, reason, &sentence, Utc::now());
                match plan.step {
                    Step::Record(record) => self.record(conn, row, &record, context).await,
                    _ => Ok(Acted::Done(Some(RETRY))),
                }
            }
            Err(_) => Ok(Acted::Done(Some(RETRY))),
        }
    }
}

/// Counts what became known of a start that runs.
fn measure(row: &PodRow, before: Option<&Phases>, phases: &Phases) {
    let Some((before, accepted)) = before.and_then(|known| Some((known, known.get(Phase::Accepted)?))) else {
        return;
    };
    pods_db::metrics::start_reached(&row.definition.template, accepted, &phases.but(before));
}
