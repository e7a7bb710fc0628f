"""The documented answers of the examples: a function says what the answer of one must be."""

import re

from reader import BASE_URL, HOST, NAMES, POD, TOKEN, USER, await_status, call, result

# `BEFORE` names the states that the commands of a block are for.
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
    assert result("GET", "/docpod/derived")["networking"]["default"]["url"] == f"docpod.pods.{HOST}"


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


@check("neo4j-driver")
def _(answer):
    assert NAMES["user"] == POD["user"] == "podid"
    NAMES["neo"].verify_connectivity()


@check("neo4j-query")
def _(answer):
    lines = answer.printed.splitlines()
    assert len(lines) == 2 and all(line.startswith("Number of nodes in the database: <Record n=<Node") for line in lines), lines
    NAMES["neo"].close()


@check("postgres-driver")
def _(answer):
    assert NAMES["conn"].info.ssl_in_use and NAMES["conn"].info.user == POD["user"] == "podid"


@check("postgres-query")
def _(answer):
    assert answer.printed == "[]", answer.printed
    NAMES["conn"].close()


@check("tapis-auth-two-headers-curl", "tapis-auth-one-header-curl")
def _(answer):
    asked = answer.whole
    headers = {name.lower(): value for name, value in asked["headers"]}
    path, own = {"openwebui": ("/ollama/api/tags", "Bearer container"), "fastapi": ("/endpoints/list", None)}[POD["id"]]
    assert (asked["method"], asked["path"]) == ("GET", path), asked
    assert headers.get("authorization") == own and headers["x-tapis-username"] == USER, headers
    assert not any("token" in name or TOKEN in value for name, value in headers.items()), headers


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
