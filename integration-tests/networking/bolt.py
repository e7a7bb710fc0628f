"""Neo4j's published driver at a pod that runs bolt_stub.py: `bolt.py URL USER PASSWORD`.

The driver checks the certificate of `bolt+s` against the authorities of SSL_CERT_FILE.
"""

import sys
import time

from neo4j import GraphDatabase
from neo4j.exceptions import AuthError, ServiceUnavailable

URL, USER, PASSWORD = sys.argv[1:]
LIMIT = 60


def await_open():
    """The proxy hears of a pod a moment after it runs."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            # Until then nobody answers what no web server understands.
            with GraphDatabase.driver(URL, auth=(USER, PASSWORD), connection_timeout=3) as neo:
                return neo.verify_connectivity()
        except ServiceUnavailable as error:
            if time.monotonic() > end:
                sys.exit(f"{URL} is not open after {LIMIT} s: {error}")
            time.sleep(0.2)


await_open()
with GraphDatabase.driver(URL, auth=(USER, PASSWORD), max_connection_lifetime=30) as neo:
    with neo.session() as session:
        found = session.run("MATCH (n) RETURN n")
        assert [record["n"]["name"] for record in found] == ["first", "second"]
    # More than a connection carries at once, there and back.
    large = "0123456789" * 200_000
    [record], _, _ = neo.execute_query("RETURN $large", large=large)
    assert record["query"] == "RETURN $large" and record["parameters"] == {"large": large}
    assert record["user"] == USER, record["user"]

try:
    with GraphDatabase.driver(URL, auth=(USER, "wrong")) as neo:
        neo.verify_connectivity()
    sys.exit("a wrong password opens the database")
except AuthError:
    pass
print("done")
