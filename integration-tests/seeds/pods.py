"""The pods that the reader of the user guide is said to have, and how to see that they can be reached.

The templates are the service's own. No registry is asked for the images that they name: others take their place.
"""

import os
import socket
import ssl
import time
import urllib.error
import urllib.request


def program(name, *arguments):
    """A script of ours as the command of a pod."""
    with open(os.path.join(os.path.dirname(__file__), "../networking", name)) as file:
        return ["python3", "-u", "-c", file.read(), *arguments]


def guarded(pod_id):
    entry = {"port": 8080, "tapis_auth": True, "tapis_auth_response_headers": {"X-Tapis-Username": "<<tapisusername>>"}}
    return {"pod_id": pod_id, "image": "python", "command": program("echo.py", "8080"), "networking": {"default": entry}}


READERS = {
    "neo4j": {
        "pod_id": "podid", "template": "neo4j", "image": "python", "command": program("bolt_stub.py", "7687"),
        "arguments": [],
    },
    "postgres": {"pod_id": "podid", "template": "postgres", "image": "postgres"},
    "openwebui": guarded("openwebui"),
    "fastapi": guarded("fastapi"),
}


def await_open(name, host, port, pod):
    """Waits until the proxy has heard of a pod and its container answers."""
    end = time.monotonic() + 60
    while True:
        try:
            return PROBES[name](host, port, pod)
        except (OSError, AssertionError) as error:
            assert time.monotonic() < end, f"{host} is not open: {error}"
            time.sleep(0.2)


def bolt_answers(host, port, _):
    """The first four bytes of Bolt are the version that the server takes."""
    context = ssl.create_default_context()
    with socket.create_connection((host, port), timeout=3) as plain:
        with context.wrap_socket(plain, server_hostname=host) as wire:
            wire.sendall(b"\x60\x60\xb0\x17" + b"\0\0\4\5" + bytes(12))
            assert wire.recv(4) == b"\0\0\4\5", "something else than Bolt answers"


def postgres_answers(host, port, pod):
    import psycopg2

    try:
        psycopg2.connect(
            host=host, port=port, database="postgres", user=pod["user"], password=pod["password"], connect_timeout=3
        ).close()
    except psycopg2.OperationalError as error:
        raise OSError(str(error)) from error


def login_is_asked_for(host, port, _):
    """Without a token the answer is the way to the login."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay())
    try:
        with opener.open(f"https://{host}:{port}/", timeout=3) as answer:
            code = answer.status
    except urllib.error.HTTPError as refusal:
        code = refusal.code
    assert code == 302, f"the answer is {code}"


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


PROBES = {
    "neo4j": bolt_answers,
    "postgres": postgres_answers,
    "openwebui": login_is_asked_for,
    "fastapi": login_is_asked_for,
}
