#!/bin/sh
# Starts PostgreSQL as the well-known image of that name does, as far as pods need it: the first start makes the user
# POSTGRES_USER with POSTGRES_PASSWORD and the database POSTGRES_DB in PGDATA. What follows `postgres` are its options.
# TLS is on, with a certificate made here, unless POSTGRES_TLS is "off".
set -eu
[ "${1:-postgres}" = postgres ] || exec "$@"
[ $# -eq 0 ] || shift
data=${PGDATA:-/var/lib/postgresql/data}
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
# The server does not run as root.
drop="/usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups"

if [ ! -s "$data/PG_VERSION" ]; then
	mkdir -p "$data"
	chmod 700 "$data"
	chown -R postgres:postgres "$data"
	(umask 077 && echo "${POSTGRES_PASSWORD:?must be set}" >/tmp/password)
	chown postgres /tmp/password
	$drop initdb -D "$data" -U "$user" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C \
		--no-sync --no-instructions
	rm /tmp/password
	echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
	if [ "$database" != postgres ]; then
		echo "CREATE DATABASE \"$database\";" | $drop postgres --single -D "$data" postgres
	fi
fi
if [ "${POSTGRES_TLS:-on}" != off ]; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$(hostname)" \
		-keyout "$data/server.key" -out "$data/server.crt"
	chown postgres "$data/server.key" "$data/server.crt"
	set -- -c ssl=on "$@"
fi
exec $drop postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories= -c fsync=off \
	-c shared_buffers=16MB -c max_connections=20 "$@"
