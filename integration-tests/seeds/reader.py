"""The reader of the user guide: who it is, the service as preparations and checks see it, and what it has so far."""

import json
import os
import time
import urllib.error
import urllib.request

BASE_URL, USER, PASSWORD = (os.environ[name] for name in ("BASE_URL", "USER", "PASSWORD"))
TOKEN, ADMIN_TOKEN, TENANT = (os.environ[name] for name in ("TOKEN", "ADMIN_TOKEN", "TENANT"))
SPEC, IMAGE = os.environ["SPEC"], os.environ["IMAGE"]
# Where pods are: the tenant's host, and the port of the environment's proxy.
HOST, PORT = BASE_URL.split("://")[1].split(":")[0], os.environ["HTTPS_PORT"]

# The variables of the Python examples: one goes on where the last one ended.
NAMES = {}
# Id, user and password of the pod that the reader is said to have.
POD = {}


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
