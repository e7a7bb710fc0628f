"""A container that speaks Bolt 5.4, Neo4j's protocol, as far as its drivers need it for a query: `bolt_stub.py PORT`.

There is no graph behind it. `MATCH (n) RETURN n` gives two nodes; any other query gives one record with the query, its
parameters and the user. Who logs in is POD_USER with POD_PASSWORD, or anybody where these are not set. Only Python's own
library is needed: it runs in a container that has nothing else.
"""

import os
import signal
import socketserver
import struct
import sys

MAGIC = b"\x60\x60\xb0\x17"
MAJOR, MINOR = 5, 4

HELLO, GOODBYE, RESET, RUN, DISCARD, PULL = 0x01, 0x02, 0x0F, 0x10, 0x2F, 0x3F
BEGIN, COMMIT, ROLLBACK, TELEMETRY, LOGON, LOGOFF = 0x11, 0x12, 0x13, 0x54, 0x6A, 0x6B
SUCCESS, RECORD, IGNORED, FAILURE = 0x70, 0x71, 0x7E, 0x7F
NODE = 0x4E


class Structure:
    """A value with a tag: a message, or a node."""

    def __init__(self, tag, *fields):
        self.tag, self.fields = tag, fields


NODES = [
    Structure(NODE, 1, ["Pod"], {"name": "first"}, "stub:1"),
    Structure(NODE, 2, ["Pod"], {"name": "second"}, "stub:2"),
]


# --- PackStream, the encoding of values


def sized(value, tiny, sizes):
    """The marker of a text, list or dictionary with its length."""
    length = len(value)
    if tiny is not None and length < 16:
        return bytes([tiny | length])
    for marker, form in zip(sizes, (">B", ">H", ">I")):
        if length < 1 << 8 * struct.calcsize(form):
            return bytes([marker]) + struct.pack(form, length)
    raise ValueError("too long")


def pack(value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">b", value) if -16 <= value < 128 else b"\xcb" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xc1" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return sized(data, 0x80, (0xD0, 0xD1, 0xD2)) + data
    if isinstance(value, bytes):
        return sized(value, None, (0xCC, 0xCD, 0xCE)) + value
    if isinstance(value, list):
        return sized(value, 0x90, (0xD4, 0xD5, 0xD6)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        pairs = b"".join(pack(key) + pack(inner) for key, inner in value.items())
        return sized(value, 0xA0, (0xD8, 0xD9, 0xDA)) + pairs
    return bytes([0xB0 | len(value.fields), value.tag]) + b"".join(map(pack, value.fields))


class Unpacker:
    """Reads values from the bytes of a message."""

    FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
    NUMBERS = {0xC1: ">d", 0xC8: ">b", 0xC9: ">h", 0xCA: ">i", 0xCB: ">q"}
    SIZES = {
        0xCC: (">B", "data"), 0xCD: (">H", "data"), 0xCE: (">I", "data"),
        0xD0: (">B", "text"), 0xD1: (">H", "text"), 0xD2: (">I", "text"),
        0xD4: (">B", "list"), 0xD5: (">H", "list"), 0xD6: (">I", "list"),
        0xD8: (">B", "dict"), 0xD9: (">H", "dict"), 0xDA: (">I", "dict"),
    }
    TINY = {0x80: "text", 0x90: "list", 0xA0: "dict", 0xB0: "structure"}

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        found = self.data[self.at : self.at + length]
        self.at += length
        return found

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        marker = self.number(">B")
        if marker < 0x80 or marker >= 0xF0:
            return marker if marker < 0x80 else marker - 256
        if marker in self.FIXED:
            return self.FIXED[marker]
        if marker in self.NUMBERS:
            return self.number(self.NUMBERS[marker])
        if marker in self.SIZES:
            form, kind = self.SIZES[marker]
            return self.several(kind, self.number(form))
        return self.several(self.TINY[marker & 0xF0], marker & 0x0F)

    def several(self, kind, count):
        if kind == "data":
            return self.take(count)
        if kind == "text":
            return self.take(count).decode()
        if kind == "list":
            return [self.value() for _ in range(count)]
        if kind == "dict":
            return {self.value(): self.value() for _ in range(count)}
        return Structure(self.number(">B"), *(self.value() for _ in range(count)))


# --- a connection


class Refused(Exception):
    """What a driver is told as a failure: code and sentence."""


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        self.user, self.records, self.failed = None, [], False
        if not self.shake_hands():
            return
        while message := self.receive():
            if message.tag == GOODBYE:
                return
            self.answer(message)

    def shake_hands(self):
        """Whether the driver offers the version that is spoken here: ranges of minor versions, four of them."""
        hello = self.exactly(20)
        if hello is None or hello[:4] != MAGIC:
            return False
        offers = [hello[at : at + 4] for at in range(4, 20, 4)]
        fits = any(major == MAJOR and minor - back <= MINOR <= minor for _, back, minor, major in offers)
        self.wfile.write(bytes([0, 0, MINOR, MAJOR]) if fits else bytes(4))
        return fits

    def exactly(self, length):
        data = self.rfile.read(length)
        return data if len(data) == length else None

    def receive(self):
        """The next message; `None` when the driver is gone. A message comes in pieces, and an empty one ends it."""
        data = b""
        while (head := self.exactly(2)) is not None:
            length = int.from_bytes(head, "big")
            if length:
                piece = self.exactly(length)
                if piece is None:
                    return None
                data += piece
            elif data:
                return Unpacker(data).value()
        return None

    def send(self, tag, *fields):
        data = pack(Structure(tag, *fields))
        for at in range(0, len(data), 65535):
            piece = data[at : at + 65535]
            self.wfile.write(len(piece).to_bytes(2, "big") + piece)
        self.wfile.write(b"\0\0")

    def answer(self, message):
        if message.tag == RESET:
            self.failed, self.records = False, []
            self.send(SUCCESS, {})
        elif self.failed:
            self.send(IGNORED)
        else:
            try:
                self.send(SUCCESS, self.carry_out(message.tag, message.fields))
            except Refused as refusal:
                code, text = refusal.args
                self.failed = True
                self.send(FAILURE, {"code": code, "message": text})

    def carry_out(self, tag, fields):
        """What the success of a message says."""
        if tag == HELLO:
            return {"server": "Neo4j/5.26.0", "connection_id": "stub", "hints": {}}
        if tag == LOGON:
            return self.log_on(fields[0])
        if tag in (LOGOFF, TELEMETRY, BEGIN, ROLLBACK):
            return {}
        if tag == COMMIT:
            return {"bookmark": "stub:1"}
        if self.user is None:
            raise Refused("Neo.ClientError.Security.Unauthorized", "Nobody is logged in.")
        if tag == RUN:
            return self.run(fields[0], fields[1])
        if tag in (PULL, DISCARD):
            return self.pull(fields[0].get("n", -1), tag == PULL)
        raise Refused("Neo.ClientError.Request.Invalid", "The stub does not know message %#x." % tag)

    def log_on(self, auth):
        found = auth.get("principal", ""), auth.get("credentials", "")
        wanted = os.environ.get("POD_USER"), os.environ.get("POD_PASSWORD")
        if wanted[0] is not None and found != wanted:
            raise Refused("Neo.ClientError.Security.Unauthorized", "The client is unauthorized.")
        self.user = found[0]
        return {}

    def run(self, query, parameters):
        if query.strip() == "MATCH (n) RETURN n":
            self.records = [[node] for node in NODES]
            return {"fields": ["n"], "t_first": 0, "qid": 0}
        self.records = [[query, parameters, self.user]]
        return {"fields": ["query", "parameters", "user"], "t_first": 0, "qid": 0}

    def pull(self, count, wanted):
        end = len(self.records) if count < 0 else count
        given, self.records = self.records[:end], self.records[end:]
        for record in given if wanted else []:
            self.send(RECORD, record)
        return {"has_more": True} if self.records else {"type": "r", "t_last": 0, "db": "neo4j"}


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Server(("", int(sys.argv[1])), Connection).serve_forever()
