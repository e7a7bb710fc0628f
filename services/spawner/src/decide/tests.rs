use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use pods_core::{PodDefinition, Resources, StatusRequested, reason::StatusContainer};

use super::*;

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).unwrap()
}

fn current() -> Uuid {
    Uuid::from_u128(2)
}

fn earlier() -> Uuid {
    Uuid::from_u128(1)
}

fn row(status: Status) -> PodRow {
    PodRow {
        uid: Uuid::from_u128(7),
        site_id: "dev".to_owned(),
        tenant_id: "dev".to_owned(),
        pod_id: "shop".to_owned(),
        tenant_host: "dev.localhost".to_owned(),
        created_by: "alice".to_owned(),
        k8_name: "pods-dev-dev-shop".to_owned(),
        definition: PodDefinition::with_resources(Resources::default()),
        modified_fields: Default::default(),
        status_requested: if status.wants_objects() { StatusRequested::On } else { StatusRequested::Off },
        status,
        status_container: StatusContainer::default(),
        status_changed_ts: at(-1),
        revision: 1,
        instance_id: (status != Status::Stopped).then(current),
        losses: 0,
        not_before: None,
        creation_ts: at(-60),
        update_ts: at(-60),
        start_instance_ts: None,
        time_to_stop_ts: None,
        deleted_at: None,
        objects_gone_ts: None,
    }
}

fn deleted() -> PodRow {
    PodRow { deleted_at: Some(at(-1)), status_requested: StatusRequested::Off, ..row(Status::ShuttingDown) }
}

fn pod(instance: Uuid) -> Observation {
    Observation {
        name: format!("pod-{}", instance.as_u128()),
        uid: Uuid::from_u128(7),
        instance,
        k8s_uid: format!("k8s-{}", instance.as_u128()),
        phase: "Running".to_owned(),
        container: ContainerState::Running { since: Some(at(-30)) },
        deleting: None,
        deadline_set: false,
        node: Some("node".to_owned()),
        unschedulable: None,
        created: Some(at(-31)),
        end: None,
        disruption: None,
        scheduled: Some(at(-31)),
        ready: true,
        ready_since: Some(at(-30)),
        restart_count: 0,
        probes: pods_kube::observe::Probes::default(),
        open_unready: false,
        traceparent: None,
    }
}

fn ended(instance: Uuid) -> Observation {
    let container = ContainerState::Terminated {
        exit_code: 0,
        reason: "Completed".to_owned(),
        message: String::new(),
        started_at: None,
        finished_at: None,
    };
    Observation { container, ..pod(instance) }
}

fn waiting(instance: Uuid) -> Observation {
    let container = ContainerState::Waiting { reason: "ErrImagePull".to_owned(), message: String::new() };
    Observation { container, ..pod(instance) }
}

fn deleting(pod: Observation, until: i64) -> Observation {
    Observation { deleting: Some(at(until)), ..pod }
}

fn object(instance: Uuid) -> Object {
    let name = format!("object-{}", instance.as_u128());
    Object {
        name,
        k8s_uid: "k8s".to_owned(),
        instance,
        deleting: false,
        owned: true,
        rules: None,
        face: None,
    }
}

/// The face of a Service with this port.
fn face(port: i32) -> Face {
    let port = ServicePort { port, ..ServicePort::default() };
    let spec = ServiceSpec { ports: Some(vec![port]), ..ServiceSpec::default() };
    Face::of(&Service { spec: Some(spec), ..Service::default() })
}

fn service(instance: Uuid) -> Object {
    Object { face: Some(Box::new(face(PORT))), ..object(instance) }
}

const PORT: i32 = 5000;

const RULES: &str = "digest";

fn policy(instance: Uuid) -> Object {
    Object { rules: Some(RULES.to_owned()), ..object(instance) }
}

struct Case {
    row: PodRow,
    world: World,
    log_complete: bool,
    predecessors: i64,
}

impl Case {
    fn new(row: PodRow) -> Self {
        Self { row, world: World::default(), log_complete: false, predecessors: 0 }
    }

    fn pods(mut self, pods: impl IntoIterator<Item = Observation>) -> Self {
        self.world.pods.extend(pods);
        self
    }

    fn service(mut self, instance: Uuid) -> Self {
        self.world.services.push(service(instance));
        self
    }

    fn secret(mut self, instance: Uuid) -> Self {
        self.world.secrets.push(object(instance));
        self
    }

    fn policy(mut self, instance: Uuid) -> Self {
        self.world.policies.push(policy(instance));
        self
    }

    fn decide(&self) -> Decision {
        decide(&Facts {
            row: &self.row,
            world: &self.world,
            log_complete: self.log_complete,
            wants_secret: true,
            wants_service: Some(&face(PORT)),
            wants_policy: Some(RULES),
            predecessors: self.predecessors,
            grace: TimeDelta::seconds(2),
            now: at(0),
        })
    }
}

fn whole() -> Spawn {
    Spawn {
        begin: true,
        policy: PolicyStep::Create,
        secret: SecretStep::Create,
        pod: true,
        service: ServiceStep::Create,
    }
}

fn waits(decision: &Decision) -> bool {
    matches!(decision, Decision::Wait { .. })
}

fn force(pod: &Observation) -> Removal {
    delete(pod, Some(0))
}

fn gently(pod: &Observation) -> Removal {
    delete(pod, None)
}

#[test]
fn a_start_creates_everything() {
    assert_eq!(Case::new(row(Status::Requested)).decide(), Decision::Spawn(whole()));
}

#[test]
fn a_start_that_was_interrupted_goes_on_where_it_was() {
    let spawning = || Case::new(row(Status::Spawning));
    assert_eq!(spawning().decide(), Decision::Spawn(Spawn { begin: false, ..whole() }));
    let secret_only = spawning().policy(current()).secret(current()).decide();
    let rest = Spawn { begin: false, policy: PolicyStep::Keep, secret: SecretStep::Keep, ..whole() };
    assert_eq!(secret_only, Decision::Spawn(rest.clone()));
    let without_service = spawning().policy(current()).secret(current()).pods([waiting(current())]).decide();
    assert_eq!(without_service, Decision::Spawn(Spawn { pod: false, ..rest }));
    let all = spawning().policy(current()).secret(current()).pods([waiting(current())]).service(current());
    assert_eq!(all.decide(), Decision::Nothing);
}

/// A pod that runs, with everything that belongs to it.
fn complete() -> Case {
    let case = Case::new(row(Status::Available)).pods([pod(current())]);
    case.policy(current()).secret(current()).service(current())
}

/// Nothing is missing.
fn keep() -> Spawn {
    Spawn {
        begin: false,
        policy: PolicyStep::Keep,
        secret: SecretStep::Keep,
        pod: false,
        service: ServiceStep::Keep,
    }
}

#[test]
fn a_running_pod_without_its_policy_or_with_another_one_gets_it() {
    assert_eq!(complete().decide(), Decision::Nothing);
    let step = |change: &dyn Fn(&mut Vec<Object>)| {
        let mut case = complete();
        change(&mut case.world.policies);
        let Decision::Spawn(spawn) = case.decide() else { panic!("nothing is done") };
        assert!(!spawn.needs_values());
        assert_eq!(Spawn { policy: PolicyStep::Keep, ..spawn.clone() }, keep());
        spawn.policy
    };
    assert_eq!(step(&|policies| policies.clear()), PolicyStep::Create);
    assert_eq!(step(&|policies| policies[0].deleting = true), PolicyStep::Create);
    assert_eq!(step(&|policies| policies[0].owned = false), PolicyStep::Own);
    let other = Object { rules: Some("other".to_owned()), ..policy(current()) };
    assert_eq!(step(&|policies| policies[0] = other.clone()), PolicyStep::Change(other.clone()));
}

#[test]
fn the_service_of_a_running_pod_follows_its_entries() {
    let mut case = complete();
    case.world.services = vec![Object { face: Some(Box::new(face(PORT + 1))), ..object(current()) }];
    let step = ServiceStep::Point(case.world.services[0].clone());
    assert_eq!(case.decide(), Decision::Spawn(Spawn { service: step, ..keep() }));
    case.world.services.clear();
    assert_eq!(case.decide(), Decision::Spawn(Spawn { service: ServiceStep::Create, ..keep() }));
}

#[test]
fn a_policy_stays_as_long_as_a_container_may_run() {
    let deletes = |decision: &Decision| match decision {
        Decision::Remove(all) => all.iter().any(|removal| matches!(removal, Removal::DeletePolicy(_))),
        _ => false,
    };
    for row in [row(Status::ShuttingDown), row(Status::Restarting), row(Status::Error), deleted()] {
        let with = |pods: Option<Observation>| Case::new(row.clone()).pods(pods).policy(current()).decide();
        assert!(!deletes(&with(Some(pod(current())))), "it runs");
        assert!(!deletes(&with(Some(deleting(pod(current()), 5)))), "it is ending");
        assert!(!deletes(&with(Some(waiting(current())))), "it may still begin");
        assert!(deletes(&with(Some(ended(current())))));
        assert!(deletes(&with(None)));
    }
    // The policy of a lost start goes with its Pod, not before it.
    let lost =
        |pods: Option<Observation>| Case::new(row(Status::Requested)).pods(pods).policy(earlier()).decide();
    assert_eq!(lost(Some(pod(earlier()))), Decision::Remove(vec![force(&pod(earlier()))]));
    assert_eq!(lost(None), Decision::Remove(vec![Removal::DeletePolicy(policy(earlier()))]));
}

#[test]
fn a_secret_without_owner_gets_one() {
    let mut case = complete();
    case.world.secrets[0].owned = false;
    assert!(matches!(case.decide(), Decision::Spawn(Spawn { secret: SecretStep::Own, pod: false, .. })));
}

#[test]
fn a_pod_that_is_gone_while_it_should_run_is_left_to_health() {
    assert_eq!(Case::new(row(Status::Available)).decide(), Decision::Nothing);
    for status in [Status::Spawning, Status::Available] {
        let going = Case::new(row(status)).pods([deleting(pod(current()), 5)]);
        assert_eq!(going.decide(), Decision::Nothing, "{status}");
    }
}

#[test]
fn a_start_waits_for_its_name_and_its_time() {
    let mut case = Case::new(row(Status::Requested));
    case.predecessors = 1;
    assert!(matches!(case.decide(), Decision::Wait { what: Waiting::Predecessor, .. }));
    case.predecessors = 0;
    case.row.not_before = Some(at(4));
    let Decision::Wait { after, .. } = case.decide() else { panic!() };
    assert_eq!(after, Duration::from_secs(4));
    case.row.not_before = Some(at(0));
    assert_eq!(case.decide(), Decision::Spawn(whole()));
}

#[test]
fn a_lost_start_is_removed_before_the_next() {
    let lost = pod(earlier());
    let case = Case::new(row(Status::Requested)).pods([lost.clone()]).service(earlier()).secret(earlier());
    let removals = vec![force(&lost), Removal::DeleteSecret(object(earlier()))];
    assert_eq!(case.decide(), Decision::Remove(removals));
    assert!(waits(&Case::new(row(Status::Requested)).pods([deleting(lost.clone(), -1)]).decide()));
    let stuck = deleting(lost, -4);
    let case = Case::new(row(Status::Requested)).pods([stuck.clone()]);
    assert_eq!(case.decide(), Decision::Remove(vec![force(&stuck)]));
    let next = Case::new(row(Status::Requested)).service(earlier()).decide();
    assert_eq!(next, Decision::Spawn(Spawn { service: ServiceStep::Point(service(earlier())), ..whole() }));
}

#[test]
fn a_stop_ends_the_container_and_keeps_its_log_until_it_is_stored() {
    let running = pod(current());
    let end = Removal::EndPod { name: running.name.clone(), k8s_uid: running.k8s_uid.clone() };
    for status in [Status::ShuttingDown, Status::Restarting] {
        let case = Case::new(row(status)).pods([running.clone()]).service(current());
        let service = Removal::DeleteService(service(current()));
        assert_eq!(case.decide(), Decision::Remove(vec![end.clone(), service]), "{status}");
    }
    let mut case = Case::new(row(Status::ShuttingDown)).pods([running.clone()]).service(current());
    case.world.services.clear();
    case.world.pods[0].deadline_set = true;
    assert!(waits(&case.decide()));
    case.world.pods[0] = ended(current());
    assert!(waits(&case.decide()));
    case.log_complete = true;
    assert_eq!(case.decide(), Decision::Remove(vec![gently(&running)]));
    case.log_complete = false;
    case.row.status_changed_ts = at(-30);
    assert_eq!(case.decide(), Decision::Remove(vec![gently(&running)]));
}

#[test]
fn what_never_ran_has_no_log_to_keep() {
    for status in [Status::ShuttingDown, Status::Error, Status::Complete] {
        let case = Case::new(row(status)).pods([waiting(current())]);
        assert_eq!(case.decide(), Decision::Remove(vec![delete(&waiting(current()), Some(1))]), "{status}");
    }
}

#[test]
fn an_ended_pod_goes_away_with_its_service_and_secret() {
    for status in [Status::Complete, Status::Error] {
        let mut case = Case::new(row(status)).pods([ended(current())]).service(current()).secret(current());
        let rest = vec![Removal::DeleteService(service(current())), Removal::DeleteSecret(object(current()))];
        assert_eq!(case.decide(), Decision::Remove(rest.clone()), "{status}");
        case.log_complete = true;
        let Decision::Remove(all) = case.decide() else { panic!() };
        assert_eq!(all[0], gently(&ended(current())));
        assert_eq!(all[1..], rest);
        assert_eq!(Case::new(row(status)).decide(), Decision::Nothing);
    }
}

#[test]
fn deletion_does_not_wait_for_the_log() {
    let case = Case::new(deleted()).pods([pod(current())]);
    assert_eq!(case.decide(), Decision::Remove(vec![gently(&pod(current()))]));
}

#[test]
fn a_pod_stuck_in_its_deletion_is_forced() {
    let case = |until| Case::new(row(Status::ShuttingDown)).pods([deleting(pod(current()), until)]);
    assert!(waits(&case(5).decide()));
    assert!(waits(&case(-29).decide()));
    assert!(
        matches!(case(-31).decide(), Decision::Remove(ref all) if matches!(all[0], Removal::DeletePod { grace: Some(0), .. }))
    );
}

#[test]
fn a_deletion_is_finished_once_no_container_can_run_any_more() {
    let case = |pod| Case::new(row(Status::Restarting)).pods([pod]).decide();
    let over = deleting(ended(current()), 5);
    assert_eq!(case(over.clone()), Decision::Remove(vec![force(&over)]));
    let stuck = deleting(waiting(current()), -2);
    assert_eq!(case(stuck.clone()), Decision::Remove(vec![force(&stuck)]));
    assert!(waits(&case(deleting(waiting(current()), 0))));
    let mut creating = deleting(waiting(current()), -2);
    creating.container =
        ContainerState::Waiting { reason: "ContainerCreating".to_owned(), message: String::new() };
    assert!(waits(&case(creating)));
}

#[test]
fn a_container_that_is_ending_is_not_left_behind_by_a_deletion() {
    for row in [row(Status::Restarting), deleted(), row(Status::ShuttingDown)] {
        let mut case = Case::new(row).pods([Observation { deadline_set: true, ..pod(current()) }]);
        assert!(waits(&case.decide()));
        case.log_complete = true;
        assert_eq!(case.decide(), Decision::Remove(vec![gently(&pod(current()))]));
    }
}

#[test]
fn only_an_empty_world_ends_a_stop() {
    for row in [row(Status::ShuttingDown), row(Status::Restarting), deleted()] {
        assert_eq!(Case::new(row.clone()).decide(), Decision::ObjectsGone);
        assert_ne!(Case::new(row.clone()).service(current()).decide(), Decision::ObjectsGone);
        assert_ne!(Case::new(row.clone()).secret(earlier()).decide(), Decision::ObjectsGone);
        assert_ne!(Case::new(row.clone()).policy(earlier()).decide(), Decision::ObjectsGone);
        assert_ne!(Case::new(row).pods([deleting(pod(earlier()), 1)]).decide(), Decision::ObjectsGone);
    }
    let buried =
        PodRow { objects_gone_ts: Some(at(-1)), status: Status::Stopped, instance_id: None, ..deleted() };
    assert_eq!(Case::new(buried).decide(), Decision::Nothing);
}

#[test]
fn a_stopped_pod_holds_nothing() {
    assert_eq!(Case::new(row(Status::Stopped)).decide(), Decision::Nothing);
    let case = Case::new(row(Status::Stopped)).pods([pod(earlier())]);
    assert_eq!(case.decide(), Decision::Remove(vec![gently(&pod(earlier()))]));
}

#[test]
fn a_start_without_environment_and_networking_has_a_pod_only() {
    let facts = Facts {
        row: &row(Status::Requested),
        world: &World { services: vec![object(earlier())], ..World::default() },
        log_complete: false,
        wants_secret: false,
        wants_service: None,
        wants_policy: None,
        predecessors: 0,
        grace: TimeDelta::seconds(2),
        now: at(0),
    };
    assert_eq!(decide(&facts), Decision::Remove(vec![Removal::DeleteService(object(earlier()))]));
    let world = World::default();
    let spawn = Spawn {
        begin: true,
        policy: PolicyStep::Keep,
        secret: SecretStep::Keep,
        pod: true,
        service: ServiceStep::Keep,
    };
    assert_eq!(decide(&Facts { world: &world, ..facts }), Decision::Spawn(spawn));
}
