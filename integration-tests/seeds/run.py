"""Runs the examples of the user guide (examples.yaml) in one language: `run.py python`, `curl` or `fragment`.

Each runs as it is printed, after the changes of the rules that stand there, and must get the documented answer, which
is what checks.py says. An example without a check and without a reason why it is not run is an error.
"""

import ast
import json
import os
import re
import subprocess
import sys

import tapipy.tapis
import yaml

import pods
from checks import BEFORE, CHECKS
from reader import (BASE_URL, HOST, IMAGE, NAMES, PASSWORD, POD, PORT, SPEC, TENANT, TOKEN, USER, await_status, call,
                    result)

with open(os.path.join(os.path.dirname(__file__), "examples.yaml")) as file:
    DOCUMENT = yaml.safe_load(file)


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
    if "pod" in example:
        prepare_pod(example["pod"])


def prepare_pod(name):
    """The pod that the reader is said to have, reachable."""
    definition = pods.READERS[name]
    pod_id = definition["pod_id"]
    call("DELETE", f"/{pod_id}")
    result("POST", "", definition)
    await_status(pod_id, "AVAILABLE")
    credentials = result("GET", f"/{pod_id}/credentials")
    POD.update(id=pod_id, user=credentials["user_username"], password=credentials["user_password"])
    pods.await_open(name, f"{pod_id}.pods.{HOST}", int(PORT), POD)


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
        # A pod's own answer is not the service's.
        super().__init__(self.whole.get("result"), printed)

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
        text = text.replace("https://tacc.tapis.io", BASE_URL).replace("pods.tacc.tapis.io", f"pods.{HOST}")
    if "port" in rules:
        text = re.sub(r"\b443\b", PORT, text)
        text = re.sub(r"(https://[a-z.-]+)/", rf"\1:{PORT}/", text)
    if "pod" in rules:
        text = text.replace("podId", POD["id"])
    if "user" in rules:
        for word in ("your username", "<userid>", "your_tacc_username", "apitest"):
            text = text.replace(word, USER)
    if "password" in rules:
        for word in ("your password", "*********", "your_tacc_password"):
            text = text.replace(word, PASSWORD)
        text = text.replace("your_access_token_string_from_result_above", TOKEN)
        text = text.replace("autoRandomizedPassword", POD.get("password", ""))
    if "token" in rules:
        text = text.replace("<<pass tapis jwt>>", TOKEN).replace("<<JWT-FROM-CONTAINER-GUI>>", "container")
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
    left = {each["name"] for each in examples if "later" in each or "never" in each}
    names = {each["name"] for each in examples}
    assert names - left == set(CHECKS), (names - left) ^ set(CHECKS)
    failed, passed = [], 0
    made = {definition["pod_id"] for definition in pods.READERS.values()}
    for example in examples:
        if example["name"] in left or example["language"] != language:
            continue
        made |= {name for name in example.get("absent", []) + example.get("needs", []) if " " not in name}
        try:
            CHECKS[example["name"]](run(example))
            if "available" in example:
                await_status(example["available"], "AVAILABLE")
            passed += 1
        except Exception as error:  # every example is tried; the end says which failed
            failed.append(example["name"])
            print(f"{example['name']}: {type(error).__name__}: {error}", file=sys.stderr)
    clean_up(made)
    later = [f"{each['name']} ({each['later']})" for each in examples if "later" in each]
    print(f"{language}: {passed} examples run; for later: {', '.join(later)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    print("done")


def clean_up(made):
    """Deletes what the examples left."""
    for pod in made:
        call("DELETE", f"/{pod}")
    for template in ("mytemplate", "mongo"):
        call("DELETE", f"/templates/{template}?force=true", admin=True)


if __name__ == "__main__":
    main(sys.argv[1])
