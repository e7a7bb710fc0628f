"""psycopg2 as the user guide has it: `postgres.py HOST PORT USER PASSWORD TLS`.

TLS is what the server in the container sees: `true` or `false`.
"""

import sys
import time

import psycopg2

HOST, PORT, USER, PASSWORD, TLS = sys.argv[1:]
LIMIT = 60

db_login = {
    "host": HOST,
    "port": int(PORT),
    "database": "postgres",
    "user": USER,
    "password": PASSWORD,
}


def connect():
    """The proxy hears of a pod a moment after it runs, and its server begins a moment later still."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            return psycopg2.connect(**db_login)
        except psycopg2.OperationalError as error:
            if time.monotonic() > end:
                sys.exit(f"{HOST} is not open after {LIMIT} s: {error}")
            time.sleep(0.2)


conn = connect()
pg_cursor = conn.cursor()
pg_cursor.execute("create table guests (name text)")
# get all tables
pg_cursor.execute("select relname from pg_class where relkind='r' and relname !~ '^(pg_|sql_)';")
assert pg_cursor.fetchall() == [("guests",)]

# More than a connection carries at once, there and back.
large = "0123456789" * 200_000
pg_cursor.execute("select %s", (large,))
assert pg_cursor.fetchone() == (large,)

assert conn.info.ssl_in_use, "the client speaks without TLS"
pg_cursor.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
assert pg_cursor.fetchone() == (TLS == "true",), "TLS ends somewhere else"
conn.close()
print("done")
