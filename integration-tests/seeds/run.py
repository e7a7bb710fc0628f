"""Runs the examples of the user guide (examples.yaml) in one language: `run.py python`, `curl` or `fragment`.

Each runs as it is printed, after the changes of the rules that stand there, and must get the documented answer, which
is what the functions below say. An example without such a function and without a reason why it is for later is an
error.
"""

import ast
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import tapipy.tapis
import yaml

BASE_URL, USER, PASSWORD = (os.environ[name] for name in ("BASE_URL", "USER", "PASSWORD"))
TOKEN, ADMIN_TOKEN, TENANT = (os.environ[name] for name in ("TOKEN", "ADMIN_TOKEN", "TENANT"))
SPEC, IMAGE = os.environ["SPEC"], os.environ["IMAGE"]

with open(os.path.join(os.path.dirname(__file__), "examples.yaml")) as file:
    DOCUMENT = yaml.safe_load(file)


# --- the service as the preparations and the checks see it


def call(method, path, body=None, admin=False):
    """The status code and the envelope of a request."""
    headers = {"X-Tapis-Token": ADMIN_TOKEN if admin else TOKEN, "Content-Type": "application/json"}
    if admin:
        headers["X-Pods-Admin"] = "true"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{BASE_URL}/v3/pods{path}", data=data, headers=headers, method=method)
    try:
        with OPENER.open(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def result(method, path, body=None, admin=False):
    code, envelope = call(method, path, body, admin)
    assert code == 200, f"{method} {path}: {code} {envelope}"
    return envelope["result"]


def await_status(pod_id, wanted):
    end = time.monotonic() + 120
    while True:
        pod = result("GET", f"/{pod_id}")
        if pod["status"] == wanted:
            return pod
        assert time.monotonic() < end, f"{pod_id} is {pod['status']} instead of {wanted}: {pod['status_container']}"
        time.sleep(0.1)


def prepare(example):
    for image in example.get("images", []):
        body = {"image": image, "tenants": [TENANT], "description": "of the user guide"}
        code, answer = call("POST", "/images", body, admin=True)
        if code == 409:
            # Another tenant's run was here: the list of its tenants grows.
            tenants = result("GET", f"/images/{image}", admin=True)["tenants"]
            code, answer = call("PUT", f"/images/{image}", {"tenants": sorted({*tenants, TENANT})}, admin=True)
        assert code == 200, answer
    for thing in example.get("absent", []):
        kind, _, name = thing.rpartition(" ")
        path = f"/templates/{name}?force=true" if kind == "template" else f"/{name}"
        code, answer = call("DELETE", path, admin=True)
        assert code in (200, 404), answer
    for thing in example.get("needs", []):
        kind, _, name = thing.rpartition(" ")
        path = f"/templates/{name}" if kind == "template" else f"/{name}"
        if call("GET", path)[0] == 404:
            if kind == "template":
                result("POST", "/templates", {"template_id": name})
            elif name == "docpod":
                result("POST", "", {"pod_id": name, "template": "neo4j"})
            else:
                result("POST", "", {"pod_id": name, "image": IMAGE})


# --- the documented answers; `steps` names the states that a block's commands are for

CHECKS, BEFORE = {}, {}


def check(*names):
    def remember(function):
        CHECKS.update({name: function for name in names})
        return function

    return remember


BEFORE["# Start a stopped pod"] = lambda: await_status("docpod", "STOPPED")


@check("client-object")
def _(answer):
    assert NAMES["t"].base_url == BASE_URL


@check("get-tokens")
def _(answer):
    assert answer.printed.startswith("eyJ"), answer.printed[:10]


@check("check-access")
def _(answer):
    for name in ("create_time", "dn", "email", "username"):
        assert hasattr(answer.value, name), f"a profile has no {name}: {answer.value}"
    assert answer.value.username == USER


@check("quickstart-login", "quickstart-token-curl")
def _(answer):
    if answer.curl:
        token = answer.value["access_token"]["access_token"]
    else:
        token = NAMES["t"].access_token.access_token
    assert token.count(".") == 2


@check("create-docpod", "create-docpod-curl")
def _(answer):
    pod = answer.pod("docpod")
    assert (pod["description"], pod["status"], pod["status_requested"]) == ("My example pod!", "REQUESTED", "ON"), pod
    assert re.fullmatch(r"neo4j:[^@]+@\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d", pod["template"]), pod["template"]
    host = BASE_URL.split("://")[1].split(":")[0]
    assert result("GET", "/docpod/derived")["networking"]["default"]["url"] == f"docpod.pods.{host}"


@check("get-docpod", "get-docpod-curl")
def _(answer):
    assert answer.pod("docpod")["description"] == "My example pod!"


@check("docpod-logs", "logs-curl", "action-logs-curl")
def _(answer):
    logs = answer.plain()
    assert isinstance(logs["logs"], str) and logs["action_logs"], logs


@check("logs")
def _(answer):
    assert isinstance(NAMES["logs"].logs, str)


@check("action-logs")
def _(answer):
    assert "created" in answer.printed, answer.printed


@check("managing-pods", "managing-pods-curl")
def _(answer):
    updated, stopped, started, restarted, deleted = answer.steps
    assert updated.pod("docpod")["description"] == "Updated description"
    assert stopped.pod("docpod")["status_requested"] == "OFF"
    started = started.pod("docpod")
    assert (started["status"], started["status_requested"]) == ("REQUESTED", "ON"), started
    assert restarted.pod("docpod")["status_requested"] in ("RESTART", "ON")
    assert deleted.envelope()["status"] == "success"
    assert call("GET", "/docpod")[0] == 404


@check("create-debugpod", "create-debugpod-curl")
def _(answer):
    pod = answer.pod("debugpod")
    assert pod["command"] == ["bash", "-c", 'echo "Starting debug..." && sleep 5000 && ./docker-entrypoint.sh']
    assert pod["arguments"] == [] and pod["image"] == "myimage:latest", pod
    assert pod["environment_variables"]["DB_PASS"] == "<<tapissecret_user_password>>", pod
    derived = result("GET", "/debugpod/derived")["environment_variables"]
    credentials = result("GET", "/debugpod/credentials")
    assert derived["DB_USER"] == credentials["user_username"] == "debugpod", derived
    assert derived["DB_PASS"] == credentials["user_password"], derived


@check("create-configpod")
def _(answer):
    mounts = answer.pod("configpod")["volume_mounts"]
    assert mounts["/mnt/data"]["source_id"] == "myvolume" and mounts["/mnt/backup"]["sub_path"], mounts
    assert mounts["/mnt/backup"]["type"] == "tapissnapshot" and mounts["/mnt/backup"]["read_only"], mounts
    content = result("GET", "/configpod?include_configs=true")["volume_mounts"]["/etc/app/config.ini"]
    assert content["config_content"] == "[database]\nhost=localhost\nport=${pods:secrets:DB_PORT}", content
    assert await_status("configpod", "ERROR")["status_container"]["code"] == "storage_unavailable"


@check("set-permission", "set-permission-curl")
def _(answer):
    assert set(answer.plain()["permissions"]) == {"superuser:ADMIN", f"{USER}:ADMIN"}, answer.plain()


@check("get-permissions", "get-permissions-curl")
def _(answer):
    assert set(answer.plain("permissions")["permissions"]) == {"superuser:ADMIN", f"{USER}:ADMIN"}
    if answer.curl:
        assert set(answer.envelope()) == {"message", "metadata", "result", "status", "version"}


@check("delete-permission", "delete-permission-curl")
def _(answer):
    assert answer.plain()["permissions"] == [f"{USER}:ADMIN"], answer.plain()


@check("create-mlpod", "create-mlpod-curl")
def _(answer):
    pod = answer.pod("mlpod")
    resources = {"cpu_request": 1000, "cpu_limit": 4000, "mem_request": 2048, "mem_limit": 8192, "gpus": 1}
    assert {**pod["resources"], **resources} == pod["resources"], pod
    assert pod["time_to_stop_default"] == -1, pod


@check("create-dbpod")
def _(answer):
    pod = answer.pod("dbpod")
    assert pod["environment_variables"]["POSTGRES_USER"] == "<<tapissecret_user_username>>", pod
    derived = result("GET", "/dbpod/derived")
    assert derived["environment_variables"]["POSTGRES_USER"] == "dbpod", derived
    assert any(entry["protocol"] == "postgres" for entry in derived["networking"].values()), derived


@check("create-apipod")
def _(answer):
    pod = answer.pod("apipod")
    assert pod["secret_map"] == {
        "DB_PASS": f"${{secret:{USER}:my_db_password}}", "API_KEY": "${secret:collaborator:shared_api_key}"}, pod
    assert pod["environment_variables"]["DATABASE_PASSWORD"] == "${pods:secrets:DB_PASS}", pod
    assert await_status("apipod", "ERROR")["status_container"]["code"] == "secret_unavailable"


@check("list-templates", "list-templates-curl")
def _(answer):
    templates = {each["template_id"]: each for each in answer.plain("templates")}
    for name in ("neo4j", "postgres"):
        assert {"description", "metatags", "archive_message", "tenant_id", "site_id"} <= set(templates[name]), name


@check("add-template", "add-template-curl")
def _(answer):
    template = answer.plain()
    assert template["description"] == "TACC's MongoDB template", template
    assert template["metatags"] == ["mongo", "database", "TACC", "http"], template


@check("create-from-tag", "create-from-tag-curl")
def _(answer):
    pod = answer.pod("mypod")
    assert pod["template"] == "neo4j:5.26s3se@2025-01-30-17:14:14", pod
    assert pod["time_to_stop_default"] == -1, pod


@check("template-overrides", "template-overrides-curl")
def _(answer):
    overrides = answer.pod("mypod")["template_overrides"]
    assert overrides["volume_mounts"] == {"/data": {"source_id": "my-custom-volume"}}, overrides
    derived = result("GET", "/mypod/derived")
    assert derived["secret_map"]["DB_PASS"].endswith("my_db_password}"), derived


@check("save-as-tag", "save-as-tag-curl")
def _(answer):
    tag = answer.plain()
    assert (tag["template_id"], tag["tag"]) == ("mytemplate", "v1"), tag
    assert tag["commit_message"] == "Saved from running pod config", tag


@check("derived", "derived-curl")
def _(answer):
    pod = answer.plain("derived")
    assert pod["pod_id"] == "mypod" and pod["image"], pod


@check("command-fragment", "networking-http", "networking-bolt", "networking-postgres", "networking-tapis-auth",
       "networking-cors", "networking-tapis-ui")
def _(answer):
    """The fragment is part of a pod's definition: what it says is what the pod then has."""
    [(field, wanted)] = answer.fragment.items()
    found = answer.plain()[field]
    if field == "networking":
        assert set(found) == set(wanted), found
        for name, entry in wanted.items():
            assert {**found[name], **entry} == found[name], found[name]
    else:
        assert found == wanted, found


# --- running


class Answer:
    """What an example printed, the value of its last statement, or the answer of the service to its command."""

    curl = False

    def __init__(self, value=None, printed="", steps=(), fragment=None):
        self.value, self.printed, self.steps, self.fragment = value, printed, steps, fragment

    def plain(self, variable=None):
        found = self.value if self.value is not None else NAMES[variable or "response"]
        return as_plain(found)

    def pod(self, pod_id):
        pod = self.plain()
        assert pod["pod_id"] == pod_id, pod
        return pod

    def envelope(self):
        assert isinstance(self.value, dict), self.value
        return self.value


class CurlAnswer(Answer):
    curl = True

    def __init__(self, printed):
        body, _, code = printed.rpartition("\n")
        assert code == "200", f"{code}: {body}"
        self.whole = json.loads(body)
        super().__init__(self.whole["result"], printed)

    def envelope(self):
        return self.whole


def as_plain(value):
    """The client's objects as dictionaries."""
    if isinstance(value, tapipy.tapis.TapisResult):
        return {key: as_plain(inner) for key, inner in vars(value).items()}
    if isinstance(value, list):
        return [as_plain(each) for each in value]
    return value


def changed(example):
    """The text after the changes of the rules that the example names."""
    text, rules = example["text"], example.get("changes", [])
    assert set(rules) <= set(DOCUMENT["rules"]), rules
    if "prompt" in rules:
        text = re.sub(r"^\$ ", "", text, flags=re.M)
    if "line-joins" in rules:
        text = re.sub(r"'[^']*'", lambda quoted: quoted[0].replace("\\\n", ""), text)
    if "host" in rules:
        text = text.replace("https://tacc.tapis.io", BASE_URL)
    if "user" in rules:
        for word in ("your username", "<userid>", "your_tacc_username", "apitest"):
            text = text.replace(word, USER)
    if "password" in rules:
        for word in ("your password", "*********", "your_tacc_password"):
            text = text.replace(word, PASSWORD)
        text = text.replace("your_access_token_string_from_result_above", TOKEN)
    if "token-quotes" in rules:
        text = text.replace("'X-Tapis-Token: $JWT'", '"X-Tapis-Token: $JWT"')
    if "apostrophe" in rules:
        text = re.sub(r"(\w)'(\w)", r"\1'\\''\2", text)
    if "trailing-comma" in rules:
        text = re.sub(r",(\s*})", r"\1", text)
    return text


def adapt_client(example):
    """What the rules change about the client instead of the text."""
    rules = example.get("changes", [])
    if "subscript" in rules:
        tapipy.tapis.TapisResult.__getitem__ = lambda self, name: getattr(self, name)
    if "shim" in rules:
        NAMES["t"].pods.get_pod_derived = NAMES["t"].pods.get_derived_pod
    if "own-document" in rules:
        NAMES["own"] = NAMES.get("own") or tapipy.tapis.Tapis(
            base_url=BASE_URL, username=USER, password=PASSWORD, custom_spec_dict={"pods": f"local: {SPEC}"})
        NAMES["own"].get_tokens()


NAMES = {}


def run_python(text, client=None):
    names = NAMES if client is None else {**NAMES, "t": client}
    printed = []
    names["print"] = lambda *values: printed.append(" ".join(str(value) for value in values))
    module = ast.parse(text)
    last = module.body.pop() if isinstance(module.body[-1], ast.Expr) else None
    exec(compile(module, "example", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "example", "eval"), names) if last else None
    return Answer(value, "\n".join(printed))


def run_curl(text):
    # The guide's curl shows the body only; the check wants to see the code as well.
    script = 'curl() { command curl -sS --noproxy "*" -w "\\n%{http_code}" "$@"; }\n' + text
    done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True,
                          env={**os.environ, "JWT": TOKEN}, timeout=60)
    assert done.returncode == 0, done.stderr
    return CurlAnswer(done.stdout)


def run_fragment(example, text):
    field = yaml.safe_load(text) if example["name"] == "command-fragment" else json.loads("{" + text + "}")
    pod_id = "frag" + re.sub("[^a-z0-9]", "", example["name"])
    call("DELETE", f"/{pod_id}")
    pod = result("POST", "", {"pod_id": pod_id, "image": IMAGE, "status_requested": "OFF", **field})
    call("DELETE", f"/{pod_id}")
    return Answer(pod, fragment=field)


def run(example):
    prepare(example)
    text = changed(example)
    if example["language"] == "fragment":
        return run_fragment(example, text)
    if example["language"] == "python":
        adapt_client(example)
    own = "own-document" in example.get("changes", [])
    one = run_curl if example["language"] == "curl" else lambda text: run_python(text, NAMES["own"] if own else None)
    if "steps" not in example.get("changes", []):
        return one(text)
    answers = []
    for step in re.split(r"\n(?=#)", text):
        BEFORE.get(step.splitlines()[0], lambda: None)()
        answers.append(one(step))
    return Answer(steps=answers)


def main(language):
    examples = DOCUMENT["examples"]
    unknown = [each["name"] for each in examples if not each.get("later") and each["name"] not in CHECKS]
    surplus = set(CHECKS) - {each["name"] for each in examples}
    both = [each["name"] for each in examples if each.get("later") and each["name"] in CHECKS]
    assert not unknown and not surplus and not both, (unknown, surplus, both)
    failed, pods, passed = [], set(), 0
    for example in examples:
        if example.get("later") or example["language"] != language:
            continue
        pods |= {name for name in example.get("absent", []) + example.get("needs", []) if " " not in name}
        try:
            CHECKS[example["name"]](run(example))
            if "available" in example:
                await_status(example["available"], "AVAILABLE")
            passed += 1
        except Exception as error:  # every example is tried; the end says which failed
            failed.append(example["name"])
            print(f"{example['name']}: {type(error).__name__}: {error}", file=sys.stderr)
    clean_up(pods)
    later = [f"{each['name']} ({each['later']})" for each in examples if each.get("later")]
    print(f"{language}: {passed} examples run; for later: {', '.join(later)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    print("done")


def clean_up(pods):
    """Deletes what the examples left."""
    for pod in pods:
        call("DELETE", f"/{pod}")
    for template in ("mytemplate", "mongo"):
        call("DELETE", f"/templates/{template}?force=true", admin=True)


if __name__ == "__main__":
    main(sys.argv[1])
