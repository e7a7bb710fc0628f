"""Every operation of the real client that the service serves, and the attributes of what it returns.

With SPEC (a file with the service's own OpenAPI document) the client knows every operation and every field; without,
it has the document that it is delivered with. Either way the run ends by comparing what was called with what the
document has.
"""

import os
import sys
import time

import yaml
from tapipy.errors import BadRequestError, BaseTapyException, ForbiddenError, NotFoundError
from tapipy.tapis import Tapis

BASE_URL, PASSWORD, IMAGE, UNIQUE = (os.environ[name] for name in ("BASE_URL", "PASSWORD", "IMAGE", "UNIQUE"))
USER, ADMIN = os.environ["USER"], os.environ["ADMIN"]
SPEC = os.environ.get("SPEC")
ADMIN_MODE = {"X-Pods-Admin": "true"}

with open(os.path.join(os.path.dirname(__file__), "attributes.yaml")) as file:
    DOCUMENTED = yaml.safe_load(file)


def check(kind, found):
    """Fails unless the object, and what it holds, has every documented attribute. Returns the object."""
    assert not isinstance(found, (bytes, dict, str)), f"{kind}: the client could not make an object of {found!r}"
    documented = DOCUMENTED[kind]
    missing = [name for name in documented["attributes"] if not hasattr(found, name)]
    assert not missing, f"{kind} has no {', '.join(missing)}: {found}"
    surplus = [name for name in documented.get("absent", []) if hasattr(found, name)]
    assert not surplus, f"{kind} has {', '.join(surplus)}, which it should not: {found}"
    for name, inner in documented.get("nested", {}).items():
        check(inner, getattr(found, name))
    for name, inner in documented.get("each", {}).items():
        for value in vars(getattr(found, name)).values():
            check(inner, value)
    return found


class Recorded:
    """The client's operations, remembering which were called and which were answered."""

    def __init__(self, pods):
        self.pods = pods
        self.operations = {name for name in vars(pods) if hasattr(getattr(pods, name), "operation_id")}
        self.called = set()

    def __getattr__(self, name):
        operation = getattr(self.pods, name)

        def call(**arguments):
            result = operation(**arguments)
            self.called.add(name)
            return result

        return call


def login(user):
    spec = {"custom_spec_dict": {"pods": f"local: {SPEC}"}} if SPEC else {}
    client = Tapis(base_url=BASE_URL, username=user, password=user if user == ADMIN else PASSWORD, **spec)
    client.get_tokens()
    return client


def await_status(pod_id, wanted):
    end = time.monotonic() + 90
    while True:
        pod = pods.get_pod(pod_id=pod_id)
        if pod.status == wanted:
            return pod
        assert time.monotonic() < end, f"{pod_id} is {pod.status} instead of {wanted}: {pod.status_container}"
        time.sleep(0.1)


def refused(error, call, **arguments):
    try:
        answer = call(**arguments)
    except error as refusal:
        # The client takes any status above 400 that it has no class for as the base class.
        assert type(refusal) is error, f"{arguments}: {refusal!r} instead of {error.__name__}"
        return refusal
    raise AssertionError(f"{arguments} was accepted: {answer}")


pods = Recorded(login(USER).pods)
admin = Recorded(login(ADMIN).pods)
pod_id, template_id = f"ops{UNIQUE}", f"tpl{UNIQUE}"
image, second_image = f"example.org/ops/{UNIQUE}", f"example.org/ops/{UNIQUE}b"

# --- images: the list of the tenant, written in admin mode only
refused(ForbiddenError, pods.add_image, image=image, tenants=["dev"])
added = check("image", admin.add_image(image=image, tenants=["dev"], description="by ops", _tapis_headers=ADMIN_MODE))
assert (added.image, added.tenants, added.added_by) == (image, ["dev"], ADMIN), added
bulk = [{"image": image, "tenants": ["dev"]}, {"image": second_image, "tenants": ["dev"]}]
added = admin.add_images(request_body=bulk, skip_duplicates=True, _tapis_headers=ADMIN_MODE)
assert [check("image", each).image for each in added] == [second_image], added
assert image in [check("image", each).image for each in pods.get_images()]
assert pods.get_image(image_id=image).description == "by ops"
refused(NotFoundError, pods.get_image, image_id=f"{image}/no")
if SPEC:
    changed = admin.update_image(image_id=image, description="changed", _tapis_headers=ADMIN_MODE)
    assert check("image", changed).description == "changed", changed

# --- templates and tags
template = check("template", pods.add_template(template_id=template_id, description="of ops", metatags=["ops"]))
assert (template.template_id, template.metatags, template.permissions) == (template_id, ["ops"], [f"{USER}:ADMIN"])
assert template_id in [check("template_in_list", each).template_id for each in pods.list_templates()]
assert check("template", pods.get_template(template_id=template_id)).description == "of ops"
changed = pods.update_template(template_id=template_id, description="changed", archive_message="old")
assert (changed.description, changed.archive_message, changed.metatags) == ("changed", "old", ["ops"]), changed
unchanged = pods.update_template(template_id=template_id, description="changed")
assert check("template", unchanged).description == "changed"

definition = {
    "image": IMAGE,
    "environment_variables": {"FROM": "the template", "LOGIN": "<<tapissecret_user_username>>"},
    "volume_mounts": {"/etc/ops.ini": {"type": "ephemeral", "config_content": "answer=42"}},
    "resources": {"mem_request": 12},
}
tag = check("tag", pods.add_template_tag(
    template_id=template_id, tag="v1", commit_message="first", pod_definition=definition))
assert (tag.tag, tag.added_by, tag.template_id) == ("v1", USER, template_id), tag
assert tag.tag_timestamp.startswith("v1@"), tag
second = pods.add_template_tag(template_id=template_id, commit_message="latest", pod_definition={
    "template": f"{template_id}:v1", "arguments": None})
assert second.tag == "latest" and second.pod_definition.template == f"{template_id}:{tag.tag_timestamp}", second
tags = pods.list_template_tags(template_id=template_id)
assert [check("tag", each).tag for each in tags] == ["latest", "v1"], tags
for each in pods.list_template_tags(template_id=template_id, full=False):
    check("tag_without_definition", each)
[found] = pods.get_template_tag(template_id=template_id, tag_id=tag.tag_timestamp)
assert check("tag", found).tag_timestamp == tag.tag_timestamp
[found] = pods.get_template_tag(template_id=template_id, tag_id="v1")
assert check("tag", found).commit_message == "first"
everything = pods.list_templates_and_tags(full=True)
mine = check("template_in_list", getattr(everything, template_id))
assert [check("tag", each).tag for each in mine.tags] == ["latest", "v1"], mine

granted = check("permissions", pods.set_template_permission(template_id=template_id, user="bob", level="READ"))
assert granted.permissions == [f"{USER}:ADMIN", "bob:READ"], granted
assert check("permissions", pods.get_template_permissions(template_id=template_id)).permissions == granted.permissions
left = check("permissions", pods.delete_template_permission(template_id=template_id, user="bob"))
assert left.permissions == [f"{USER}:ADMIN"], left

# --- pods
body = {"pod_id": pod_id, "template": f"{template_id}:v1", "description": "ops",
        "environment_variables": {"MINE": "1"}, "time_to_stop_default": -1}
created = check("pod", pods.create_pod(**body))
assert (created.status, created.status_requested) == ("REQUESTED", "ON"), created
assert created.template == f"{template_id}:{tag.tag_timestamp}", created
duplicate = refused(BaseTapyException, pods.create_pod, **body)
assert "already exists" in str(duplicate.message), duplicate
refused(BadRequestError, pods.create_pod, pod_id=f"{pod_id}x", image="not/allowed")
refused(NotFoundError, pods.get_pod, pod_id=f"{pod_id}x")
assert pod_id in [check("pod", each).pod_id for each in pods.list_pods()]
running = check("pod", await_status(pod_id, "AVAILABLE"))
assert running.start_instance_ts and running.networking.default.url.startswith(f"{pod_id}.pods."), running
derived = check("pod", pods.get_derived_pod(pod_id=pod_id))
assert derived.image == IMAGE and derived.environment_variables.FROM == "the template", derived
assert derived.environment_variables.LOGIN == pod_id and derived.environment_variables.MINE == "1", derived
assert derived.resources.mem_request == 12, derived
credentials = check("credentials", pods.get_pod_credentials(pod_id=pod_id))
assert credentials.user_username == pod_id and len(credentials.user_password) == 30
logs = check("logs", pods.get_pod_logs(pod_id=pod_id))
assert isinstance(logs.logs, str) and logs.action_logs, logs
if SPEC:
    runs = [check("log_run", each) for each in pods.list_pod_log_runs(pod_id=pod_id)]
    assert [(run.run_index, run.is_active) for run in runs] == [(1, True)], runs
    run = check("log_run", pods.get_pod_log_run(pod_id=pod_id, run_index=1))
    assert run.id == runs[0].id and isinstance(run.logs, str), run
    explained = check("explanation", pods.explain_pod(pod_id=pod_id))
    assert (explained.code, explained.who_can_act) == ("running", "nobody"), explained
    assert check("kube_events", pods.get_pod_events(pod_id=pod_id, limit=5)).pod_id == pod_id

granted = check("permissions", pods.set_pod_permission(pod_id=pod_id, user="bob", level="USER"))
assert granted.permissions == [f"{USER}:ADMIN", "bob:USER"], granted
assert check("permissions", pods.get_pod_permissions(pod_id=pod_id)).permissions == granted.permissions
left = check("permissions", pods.delete_pod_permission(pod_id=pod_id, user="bob"))
assert left.permissions == [f"{USER}:ADMIN"], left
refused(BadRequestError, pods.delete_pod_permission, pod_id=pod_id, user=USER)

changed = check("pod", pods.update_pod(pod_id=pod_id, description="changed"))
assert changed.description == "changed", changed
assert check("pod", pods.update_pod(pod_id=pod_id, description="changed")).description == "changed"
assert check("pod", pods.update_pod(pod_id=pod_id)).pod_id == pod_id

name = {"pod_id": pod_id} if SPEC else {"pod_id_net": pod_id}
saved = check("tag", pods.save_pod_as_template_tag(
    **name, template_id=template_id, tag="saved", commit_message="from the pod"))
assert saved.tag == "saved" and saved.pod_definition.environment_variables.MINE == "1", saved

check("pod", pods.stop_pod(pod_id=pod_id))
await_status(pod_id, "STOPPED")

if SPEC:
    # What only the service's own document lets the client send.
    changed = check("pod", pods.update_pod(
        pod_id=pod_id, image=IMAGE, arguments=[], secret_map={"WORD": "literal"},
        template_overrides={"volume_mounts": {"/etc/ops.ini": {"config_content": "answer=43"}}},
        healthchecks={"readiness": {"tcp_socket_port": 5000, "period_seconds": 1}}))
    assert changed.image == IMAGE and changed.secret_map.WORD == "literal", changed
    assert changed.healthchecks.readiness.tcp_socket_port == 5000, changed
    mounts = pods.get_derived_pod(pod_id=pod_id, include_configs=True).volume_mounts
    assert check("mount", getattr(mounts, "/etc/ops.ini")).config_content == "answer=43", mounts
    hidden = getattr(pods.get_derived_pod(pod_id=pod_id).volume_mounts, "/etc/ops.ini").config_content
    assert "include_configs" in hidden and "answer" not in hidden, hidden
    for each in pods.list_pods(derived_lite=True):
        check("pod", each)
    attached = check("pod", pods.attach_volume_mounts(pod_id=pod_id, volume_mounts={
        "/etc/more.ini": {"type": "ephemeral", "config_content": "more=1"}}))
    assert hasattr(attached.volume_mounts, "/etc/more.ini"), attached
    overrides = check("overrides", pods.get_pod_overrides(pod_id=pod_id))
    assert overrides.overrides.image == IMAGE, overrides
    provenance = check("provenance", pods.get_pod_provenance(pod_id=pod_id))
    assert provenance.fields.image.source == "pod", provenance
    reset = check("pod", pods.reset_pod_field(pod_id=pod_id, fields=["image", "template_overrides", "volume_mounts"]))
    assert "image" not in reset.modified_fields, reset
    assert pods.get_pod_provenance(pod_id=pod_id).fields.image.source == "template"

check("pod", pods.start_pod(pod_id=pod_id))
await_status(pod_id, "AVAILABLE")
check("pod", pods.restart_pod(pod_id=pod_id, grab_latest_template_tag=True))
await_status(pod_id, "AVAILABLE")

# --- the rest
jupyter = check("jupyter", pods.ensure_jupyter_pod())
assert jupyter.url == f"https://{jupyter.networking.default.url}", jupyter
again = pods.ensure_jupyter_pod()
assert again.pod_id == jupyter.pod_id, (jupyter, again)
assert pods.healthcheck() is not None
# They are for browsers; a program learns that the pod does not exist, or that nothing of a login is under way.
refused(NotFoundError, pods.pod_auth, pod_id_net="nobody")
refused(BadRequestError, pods.pod_auth_callback, pod_id_net=pod_id)
if not SPEC:
    for name, arguments in (("traefik_config", {}), ("error_handler", {"status": 503})):
        refused(NotFoundError, getattr(pods, name), **arguments)

# --- deletion
pods.delete_pod(pod_id=jupyter.pod_id)
if SPEC:
    conflict = refused(BaseTapyException, admin.delete_template_tag, template_id=template_id, tag_id="v1")
    assert "force" in str(conflict.message), conflict
deleted = pods.delete_pod(pod_id=pod_id)
assert deleted["status"] == "success" and deleted["result"] == "", deleted
refused(NotFoundError, pods.get_pod, pod_id=pod_id)
if SPEC:
    deleted = check("tag", admin.delete_template_tag(template_id=template_id, tag_id="latest"))
    assert deleted.tag == "latest", deleted
deleted = pods.delete_template(template_id=template_id)
assert deleted["status"] == "success" and deleted["result"] == "", deleted
for each in (image, second_image):
    admin.delete_image(image_id=each, _tapis_headers=ADMIN_MODE)

left_out = pods.operations - pods.called - admin.called
# The client reads an answer to its end, which a stream does not have.
expected = {"stream_pod_events"} if SPEC else set(DOCUMENTED["later"]) | set(DOCUMENTED["internal"])
expected |= set(DOCUMENTED["browsers"])
if left_out != expected:
    sys.exit(f"not called: {sorted(left_out - expected)}; called or gone: {sorted(expected - left_out)}")
print(f"{len(pods.called | admin.called)} operations called")
print("done")
