"""The Quickstart and "Managing Pods" of the user guide with the real client.

The statements are the guide's; host, user, password and image are the environment's. What stands between them waits
and checks.
"""

import os
import subprocess
import sys
import time

# Import the Tapis object
from tapipy.errors import NotFoundError
from tapipy.tapis import Tapis

BASE_URL, USER, PASSWORD, IMAGE = (os.environ[name] for name in ("BASE_URL", "USER", "PASSWORD", "IMAGE"))
HTTPS_PORT, CA_FILE = os.environ["HTTPS_PORT"], os.environ["CA_FILE"]


def await_status(wanted):
    end = time.monotonic() + 90
    while True:
        pod = t.pods.get_pod(pod_id='docpod')
        if pod.status == wanted:
            return pod
        if time.monotonic() > end:
            sys.exit(f"docpod is {pod.status} instead of {wanted}: {pod.status_container}")
        time.sleep(0.1)


def visit(url):
    end = time.monotonic() + 60
    while True:
        curl = ["curl", "-sS", "--noproxy", "*", "--cacert", CA_FILE, f"https://{url}:{HTTPS_PORT}/"]
        page = subprocess.run(curl, capture_output=True, text=True).stdout
        if "It works" in page:
            return
        if time.monotonic() > end:
            sys.exit(f"https://{url} does not reach the container: {page}")
        time.sleep(0.1)


# Log into you the Tapis service by providing user/pass and url.
t = Tapis(base_url=BASE_URL,
          username=USER,
          password=PASSWORD)

# Get tokens that will be used for authenticated function calls
t.get_tokens()
print(t.access_token.access_token[:3] + "...")

profile = t.authenticator.get_profile(username=USER)
assert profile.username == USER, profile

response = t.pods.create_pod(
    pod_id='docpod',
    image=IMAGE,
    description='My example pod!'
)
print(response)
assert (response.pod_id, response.description, response.status) == ('docpod', 'My example pod!', 'REQUESTED')
assert response.status_requested == 'ON'

t.pods.get_pod(pod_id='docpod')
pod = await_status('AVAILABLE')
visit(pod.networking.default.url)

logs = t.pods.get_pod_logs(pod_id='docpod')
print(logs)
assert isinstance(logs.logs, str) and len(logs.action_logs) > 0, logs
assert any(pod.pod_id == 'docpod' for pod in t.pods.list_pods())

# Update a pod (e.g., change description or environment variables)
t.pods.update_pod(
    pod_id='docpod',
    description='Updated description'
)
assert t.pods.get_pod(pod_id='docpod').description == 'Updated description'
assert t.pods.get_pod(pod_id='docpod').status == 'AVAILABLE'

# Stop a pod
t.pods.stop_pod(pod_id='docpod')
await_status('STOPPED')

# Start a stopped pod
t.pods.start_pod(pod_id='docpod')
first = await_status('AVAILABLE')
visit(first.networking.default.url)

# Restart a running pod
t.pods.restart_pod(pod_id='docpod')
assert t.pods.get_pod(pod_id='docpod').status != 'AVAILABLE'
second = await_status('AVAILABLE')
assert second.start_instance_ts > first.start_instance_ts, (first, second)
visit(second.networking.default.url)

# Permissions
permissions = t.pods.get_pod_permissions(pod_id='docpod')
assert permissions.permissions == [f'{USER}:ADMIN'], permissions
t.pods.set_pod_permission(pod_id='docpod', user='superuser', level='ADMIN')
permissions = t.pods.delete_pod_permission(pod_id='docpod', user='superuser')
assert permissions.permissions == [f'{USER}:ADMIN'], permissions

# Delete a pod
t.pods.delete_pod(pod_id='docpod')
try:
    t.pods.get_pod(pod_id='docpod')
except NotFoundError:
    print("done")
else:
    sys.exit("docpod is still there")
