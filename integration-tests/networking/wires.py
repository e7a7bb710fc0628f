"""A container that speaks over long wires: WebSocket, server-sent events, uploads, downloads, and TCP as it comes.

    GET /ws            a WebSocket that sends back what it gets; the text `headers` gets the headers of its request
    GET /events        server-sent events: one at once, and one for each tick
    GET /events?quiet  the same without the first one
    GET /tick?text     sends the text to everybody who listens
    PUT /upload        takes whatever comes, and says how many bytes came
    GET /download?n    n bytes

Port 7000 sends back what it gets. Only Python's own library is needed.
"""

import asyncio
import base64
import hashlib
import os
import signal

HTTP_PORT = 5000
RAW_PORT = 7000
BLOCK = bytes(256 * 1024)
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

listeners = set()


async def http(reader, writer):
    try:
        while await answer(reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def answer(reader, writer):
    """Answers one request; false when the connection is at its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    path, _, query = first.split(" ")[1].partition("?")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if path == "/ws":
        await web_socket(reader, writer, headers)
        return False
    if path == "/events":
        await events(writer, query != "quiet")
        return False
    if path == "/tick":
        for listener in listeners:
            listener.put_nowait(query)
        await say(writer, "told %d" % len(listeners))
    elif path == "/upload":
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await say(writer, "took %d" % await take(reader, int(headers["content-length"])))
    elif path == "/download":
        await give(writer, int(query))
    else:
        await say(writer, "ready")
    return True


async def say(writer, text):
    body = (text + "\n").encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head.encode() + body)
    await writer.drain()


async def take(reader, length):
    left = length
    while left > 0:
        got = await reader.read(min(left, len(BLOCK)))
        if not got:
            raise ConnectionError("the upload ended early")
        left -= len(got)
    return length


async def give(writer, length):
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % length
    writer.write(head.encode())
    for at in range(0, length, len(BLOCK)):
        writer.write(BLOCK[: length - at])
        await writer.drain()


async def events(writer, at_once):
    told = asyncio.Queue()
    listeners.add(told)
    try:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        if at_once:
            told.put_nowait("ready")
        while True:
            await writer.drain()
            writer.write(("data: %s\n\n" % await told.get()).encode())
    finally:
        listeners.discard(told)


async def web_socket(reader, writer, headers):
    digest = hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()
    accept = base64.b64encode(digest).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write((head + "Sec-WebSocket-Accept: %s\r\n\r\n" % accept).encode())
    while True:
        kind, data = await frame(reader)
        if kind == TEXT and data == b"headers":
            data = "\n".join("%s: %s" % pair for pair in headers.items()).encode()
        writer.write(framed(PONG if kind == PING else kind, data))
        await writer.drain()
        if kind == CLOSE:
            return


async def frame(reader):
    first, second = await reader.readexactly(2)
    length = second & 127
    if length > 125:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    mask = await reader.readexactly(4)
    data = await reader.readexactly(length)
    return first & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def framed(kind, data):
    head = bytes([128 | kind])
    if len(data) < 126:
        return head + bytes([len(data)]) + data
    if len(data) < 65536:
        return head + bytes([126]) + len(data).to_bytes(2, "big") + data
    return head + bytes([127]) + len(data).to_bytes(8, "big") + data


async def raw(reader, writer):
    try:
        while got := await reader.read(65536):
            writer.write(got)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    servers = [
        await asyncio.start_server(http, None, HTTP_PORT, limit=len(BLOCK)),
        await asyncio.start_server(raw, None, RAW_PORT),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


# The first process of a container is not ended by a signal that it does not handle.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
asyncio.run(main())
