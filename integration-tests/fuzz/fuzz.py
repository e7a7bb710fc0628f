"""Requests that nobody thought of, with valid tokens of two tenants, generated from the served OpenAPI document.

`fuzz.py CASES SEED`; PODS_TEST_ENV names a running environment. Schemathesis generates and judges; this program gives
it tokens and something to find, counts, and cleans up. It runs in rounds, one kind of caller after the other, until there
were CASES requests; a round's seed is SEED plus its number, so that any round can be had again.
"""

import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).parent
# Requests for an operation in each of the phases that choose at random.
EXAMPLES = 60
# Requests are alice's; what she may read is asked for by bob as well, who must not get it.
PEOPLE = '''
[auth.wfc]
path = "auth.json"
user = "alice"
peers = ["alice", "bob"]
'''
# The list of images and the tags of templates are written by administrators, in admin mode. Elsewhere they may do
# anything to anybody's objects, the environment's own included, so they are not let loose there.
ADMINISTRATOR = '''
[auth.wfc]
path = "auth.json"
user = "admin"
'''
FOR_ADMINISTRATORS = ["--include-tag", "images", "--include-operation-id", "delete_template_tag"]


class Tenant:
    def __init__(self, environment, tenant):
        self.id, self.base_url = tenant["id"], tenant["base_url"]
        # Templates have one name space in all tenants.
        self.template = "fuzztemplate" + self.id.replace("-", "")
        command = [environment["xtask"], "token", "--profile", environment["profile"], "--tenant", self.id, "--user"]

        def token(user, *more):
            asked = subprocess.run([*command, f"fuzz{user}", *more], check=True, capture_output=True, text=True)
            return asked.stdout.strip()

        self.tokens = {"alice": token("alice"), "bob": token("bob"), "admin": token("admin", "--role", "pods_admin")}

    def headers(self, user):
        headers = {"X-Tapis-Token": self.tokens[user]}
        return {**headers, "X-Pods-Admin": "true"} if user == "admin" else headers

    def call(self, method, path, body=None, user="alice"):
        """The status code and the result of a request."""
        headers = {**self.headers(user), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base_url}/v3/pods{path}", data, headers, method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                return answer.status, json.load(answer)["result"]
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode(errors="replace")

    def prepare(self):
        """Makes what the dictionaries name; it may still be there."""
        off = {"image": "busybox", "status_requested": "OFF"}
        bodies = [
            ("/templates", {"template_id": self.template}),
            (f"/templates/{self.template}/tags", {"tag": "v1", "commit_message": "fuzz", "pod_definition": {
                "image": "busybox", "environment_variables": {"A": "1"}}}),
            ("", {"pod_id": "fuzzone", **off}),
            ("", {"pod_id": "fuzztwo", **off}),
            ("", {"pod_id": "fuzzderived", "template": f"{self.template}:v1", "status_requested": "OFF"}),
        ]
        for path, body in bodies:
            code, answer = self.call("POST", path, body)
            assert code in (200, 409), f"{path} {body}: {code} {answer}"

    def clean_up(self):
        for image in self.call("GET", "/images", user="admin")[1]:
            if image["added_by"] == "fuzzadmin":
                path = urllib.parse.quote(image["image"])
                self.call("DELETE", f"/images/{path}", user="admin")
        for user in ("alice", "bob"):
            for pod in self.call("GET", "", user=user)[1]:
                self.call("DELETE", f"/{pod['pod_id']}", user=user)
            for template in self.call("GET", "/templates", user=user)[1]:
                # Those of others are refused, as they should be.
                self.call("DELETE", f"/templates/{template['template_id']}?force=true", user=user)


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def one_round(tenant, seed, most, as_admin):
    """Runs the generator once; answers how many requests it made and how many different failures it found."""
    with tempfile.TemporaryDirectory(prefix="pods-fuzz-") as name:
        folder = pathlib.Path(name)
        identities = [{"name": user, "fixedHeaders": [
            {"name": header, "value": value} for header, value in tenant.headers(user).items()]}
            for user in (["admin"] if as_admin else ["alice", "bob"])]
        (folder / "auth.json").touch(mode=0o600)
        (folder / "auth.json").write_text(json.dumps({"auth": identities}))
        settings = (HERE / "schemathesis.toml").read_text() + (ADMINISTRATOR if as_admin else PEOPLE)
        (folder / "schemathesis.toml").write_text(settings)
        command = [
            pathlib.Path(sys.executable).with_name("schemathesis"), "run", f"{tenant.base_url}/v3/pods/openapi.json",
            "--url", tenant.base_url, "--seed", str(seed), "--max-examples", str(most), "--report", "json",
            "--report-json-path", "report.json", "--no-color", *(FOR_ADMINISTRATORS if as_admin else []),
        ]
        surroundings = {**os.environ, "NO_PROXY": "*", "no_proxy": "*", "PYTHONPATH": str(HERE),
                        "PYTHONDONTWRITEBYTECODE": "1", "SCHEMATHESIS_HOOKS": "hooks"}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=surroundings)
        if not (folder / "report.json").exists():
            sys.exit(f"{done.stdout}\n{done.stderr}\nthe generator did not get to its report")
        found = json.loads((folder / "report.json").read_text())
        problems = found["test_cases"]["unique_failures"] + len(found["errors"])
        if problems or done.returncode != 0:
            print(done.stdout[-60_000:], done.stderr[-4_000:])
            problems = max(problems, 1)
        return found["test_cases"]["generated"], problems


def main(cases, seed):
    with open(os.environ["PODS_TEST_ENV"]) as file:
        environment = json.load(file)
    tenants = [Tenant(environment, tenant) for tenant in environment["tenants"][:2]]
    proc = [environment["xtask"], "proc"]
    of_profile = ["--profile", environment["profile"]]
    # What is fuzzed is the API. Pods that it makes and starts would fill a small cluster within seconds; without a
    # spawner they stay what they are, until they are deleted below.
    spawners = [name for name in environment["processes"] if name.startswith("pods-spawner")]
    made = problems = rounds = 0
    # Whoever ends this program does not leave the spawner paused.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    try:
        for spawner in spawners:
            subprocess.run([*proc, "pause", spawner, *of_profile], check=True)
        # A failure ends the run once every kind of caller had a round.
        while rounds < 3 or (made < cases and not problems):
            # Both tenants' users, then one's administrator; the small form has one round of each.
            tenant, as_admin = [(tenants[0], False), (tenants[1], False), (tenants[0], True)][rounds % 3]
            tenant.prepare()
            count, found = one_round(tenant, seed + rounds, EXAMPLES if cases >= 10_000 else 3, as_admin)
            who = "administrator" if as_admin else "users"
            print(f"round {rounds + 1}, {who} of {tenant.id}, seed {seed + rounds}: {count} requests, {found} failures")
            made, rounds, problems = made + count, rounds + 1, problems + found
    finally:
        try:
            for tenant in tenants:
                tenant.clean_up()
        finally:
            for spawner in spawners:
                subprocess.run([*proc, "cont", spawner, *of_profile], check=True)
    today = datetime.date.today().isoformat()
    print(f"fuzz api: {made} requests in {rounds} rounds, seed {seed}, {problems} failures, {today}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
