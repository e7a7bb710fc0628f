#!/bin/bash
# The Quickstart and "Managing Pods" of the user guide with curl. The commands are the guide's; host, user, password
# and image are the environment's, and the token header stands in double quotes so that the shell fills it in.
set -euo pipefail
export NO_PROXY='*' no_proxy='*'

field() { # the text at a path of the JSON on standard input
  "$PYTHON" -c 'import functools, json, sys
value = functools.reduce(lambda value, key: value[key], sys.argv[1].split("."), json.load(sys.stdin))
print(value)' "$1"
}

await_status() {
  for _ in $(seq 900); do
    status=$(curl -sS --header "X-Tapis-Token: $JWT" "$BASE_URL/v3/pods/docpod" | field result.status)
    [ "$status" = "$1" ] && return
    sleep 0.1
  done
  echo "docpod is $status instead of $1" >&2
  exit 1
}

answer=$(curl -sS -H "Content-type: application/json" \
  -d '{"username": "'"$USER"'",
       "password": "'"$PASSWORD"'",
       "grant_type": "password" }' \
  $BASE_URL/v3/oauth2/tokens)
export JWT=$(field result.access_token.access_token <<< "$answer")

curl -sS --fail-with-body --request POST \
  --url $BASE_URL/v3/pods \
  --header 'Content-Type: application/json' \
  --header "X-Tapis-Token: $JWT" \
  --data '{
    "pod_id": "docpod",
    "image": "'"$IMAGE"'",
    "description": "My example pod!"
  }'

curl -sS --fail-with-body --request GET \
  --url $BASE_URL/v3/pods/docpod \
  --header 'Content-Type: application/json' \
  --header "X-Tapis-Token: $JWT"
await_status AVAILABLE

url=$(curl -sS --header "X-Tapis-Token: $JWT" "$BASE_URL/v3/pods/docpod" | field result.networking.default.url)
for _ in $(seq 300); do
  page=$(curl -sS --cacert "$CA_FILE" "https://$url:$HTTPS_PORT/")
  case $page in *"It works"*) break ;; esac
  sleep 0.1
done
case $page in *"It works"*) ;; *) echo "https://$url does not reach the container: $page" >&2; exit 1 ;; esac

curl -sS --fail-with-body --request GET \
  --url $BASE_URL/v3/pods/docpod/logs \
  --header "X-Tapis-Token: $JWT"

# Update a pod
curl -sS --fail-with-body --request PUT \
  --url $BASE_URL/v3/pods/docpod \
  --header 'Content-Type: application/json' \
  --header "X-Tapis-Token: $JWT" \
  --data '{"description": "Updated description"}'

# Stop a pod
curl -sS --fail-with-body --request GET \
  --url $BASE_URL/v3/pods/docpod/stop \
  --header "X-Tapis-Token: $JWT"
await_status STOPPED

# Start a stopped pod
curl -sS --fail-with-body --request GET \
  --url $BASE_URL/v3/pods/docpod/start \
  --header "X-Tapis-Token: $JWT"
await_status AVAILABLE

# Restart a running pod
curl -sS --fail-with-body --request GET \
  --url $BASE_URL/v3/pods/docpod/restart \
  --header "X-Tapis-Token: $JWT"
await_status AVAILABLE

# Permissions
curl -sS --fail-with-body --request POST \
  --url $BASE_URL/v3/pods/docpod/permissions \
  --header 'Content-Type: application/json' \
  --header "X-Tapis-Token: $JWT" \
  --data '{
    "user": "superuser",
    "level": "ADMIN"
  }'
curl -sS --fail-with-body --request GET \
  --url $BASE_URL/v3/pods/docpod/permissions \
  --header 'Content-Type: application/json' \
  --header "X-Tapis-Token: $JWT"
curl -sS --fail-with-body --request DELETE \
  --url $BASE_URL/v3/pods/docpod/permissions/superuser \
  --header 'Content-Type: application/json' \
  --header "X-Tapis-Token: $JWT"

# Delete a pod
curl -sS --fail-with-body --request DELETE \
  --url $BASE_URL/v3/pods/docpod \
  --header "X-Tapis-Token: $JWT"
code=$(curl -sS -o /dev/null -w '%{http_code}' --header "X-Tapis-Token: $JWT" "$BASE_URL/v3/pods/docpod")
[ "$code" = 404 ]
printf '\ndone\n'
