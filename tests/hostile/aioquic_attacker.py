"""Attacks on a receiver by aioquic, a QUIC implementation that shares no code with the product or with the attacker in
Rust. Messages follow docs/design/wire-format.md. Prints what came back, as one line of JSON.

    aioquic_attacker.py ATTACK HOST PORT LINK CLUSTER_ID CERTIFICATE KEY
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import time

from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

HELLO, WELCOME, OPEN_LANE, LANE_OPEN = 1, 2, 16, 17
# Time for an answer, longer than the 10 s that the receiver gives a silent peer.
PATIENCE = 20


def number(value):
    """An unsigned integer in bincode's variable length."""
    if value < 251:
        return bytes([value])
    for mark, width in ((0xFB, 2), (0xFC, 4), (0xFD, 8), (0xFE, 16)):
        if value < 1 << 8 * width:
            return bytes([mark]) + value.to_bytes(width, "little")
    raise ValueError(value)


def text(value):
    return number(len(value)) + value.encode()


def message(kind, body):
    return (len(body) + 1).to_bytes(4, "little") + bytes([kind]) + body


class Peer(QuicConnectionProtocol):
    """Connection to the receiver: the messages of its control stream, and how it closed the connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bytes = bytearray()
        self.messages = asyncio.Queue()
        self.end = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id == 0:
            self.bytes += event.data
            while len(self.bytes) >= 4 and len(self.bytes) >= 4 + (size := int.from_bytes(self.bytes[:4], "little")):
                self.messages.put_nowait((self.bytes[4], bytes(self.bytes[5 : 4 + size])))
                del self.bytes[: 4 + size]
        elif isinstance(event, ConnectionTerminated) and not self.end.done():
            self.end.set_result((event.error_code, event.reason_phrase))

    def send(self, data, stream=0, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    async def next_of(self, kind):
        async def read():
            while (found := await self.messages.get())[0] != kind:
                pass
            return found[1]

        return await asyncio.wait_for(read(), PATIENCE)

    async def closed(self):
        code, reason = await asyncio.wait_for(asyncio.shield(self.end), PATIENCE)
        return {"code": code, "reason": reason}


class Attacker:
    def __init__(self, host, port, link, cluster_id, certificate, key):
        self.address = (host, int(port))
        self.link, self.cluster_id, self.certificate, self.key = link, cluster_id, certificate, key

    def configuration(self, with_certificate=True):
        found = QuicConfiguration(is_client=True, alpn_protocols=["causeway/1"], server_name=self.address[0])
        found.verify_mode = ssl.CERT_NONE
        if with_certificate:
            found.load_cert_chain(self.certificate, self.key)
        return found

    def dial(self):
        return connect(*self.address, configuration=self.configuration(), create_protocol=Peer)

    def hello(self):
        body = number(0) + number(1) + number(1) + number(0b100_0011) + text(self.link) + text(self.cluster_id)
        body += text("aioquic") + number(7) + number(0) + number(1) + text("xxh3-64") + number(1) + number(0) + number(0)
        return message(HELLO, body)

    async def session(self, peer):
        """Begins a session with lane 0, as a sender does."""
        peer.send(self.hello())
        await peer.next_of(WELCOME)
        peer.send(message(OPEN_LANE, number(0)))
        await peer.next_of(LANE_OPEN)

    async def unfinished_handshakes(self):
        """1,000 handshakes within about 5 s from one address; half of them answer the Retry, and none continues."""
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        configuration = self.configuration(with_certificate=False)
        begun, sent, back, retries = {}, 0, 0, 0

        def transmit(connection):
            nonlocal sent
            for data, _ in connection.datagrams_to_send(time.monotonic()):
                receiver.sendto(data, self.address)
                sent += len(data)

        for index in range(1_000):
            connection = QuicConnection(configuration=configuration)
            connection.connect(self.address, time.monotonic())
            begun[connection.host_cid] = connection
            transmit(connection)
            await asyncio.sleep(0.004)
            while True:
                try:
                    data = receiver.recv(2_048)
                except BlockingIOError:
                    break
                back += len(data)
                is_retry = data[0] & 0xF0 == 0xF0
                connection = begun.get(data[6 : 6 + data[5]]) if is_retry else None
                if connection is not None and index % 2 == 0:
                    retries += 1
                    connection.receive_datagram(data, self.address, time.monotonic())
                    transmit(connection)
        return {"sent": sent, "back": back, "retries": retries}

    async def silence(self):
        """60 connections that never send a hello."""

        async def silent():
            async with self.dial() as peer:
                began = time.monotonic()
                found = await peer.closed()
                return {**found, "seconds": time.monotonic() - began}

        return {"closed": await asyncio.gather(*(silent() for _ in range(60)))}

    async def oversized(self):
        """Control messages that announce more bytes than a message may have."""
        found = []
        for length in (0xFFFF_FFFF, 524_289):
            async with self.dial() as peer:
                peer.send(length.to_bytes(4, "little") + os.urandom(1_000))
                found.append(await peer.closed())
        return {"closed": found}

    async def gaps(self):
        """Streams of 1 MiB that lack their first 100 bytes, as many as the receiver's windows take in 8 s."""
        async with self.dial() as peer:
            await self.session(peer)
            end = time.monotonic() + 8
            while time.monotonic() < end and not peer.end.done():
                stream = peer._quic.get_next_available_stream_id(is_unidirectional=True)
                peer._quic.send_stream_data(stream, bytes(1 << 20))
                peer._quic._streams[stream].sender._pending.subtract(0, 100)
                peer.transmit()
                await asyncio.sleep(0.2)
            return {"sent": peer._quic._remote_max_data_used, "ended": peer.end.done()}

    async def garbage(self):
        """Frames and messages of random bytes, within a session."""
        found = []
        for stream in (2, 0):
            async with self.dial() as peer:
                await self.session(peer)
                junk = os.urandom(2_000)
                peer.send(junk if stream else message(255, junk), stream, end=True)
                found.append(await peer.closed())
        return {"closed": found}


def main():
    attack, *arguments = sys.argv[1:]
    print(json.dumps(asyncio.run(getattr(Attacker(*arguments), attack)())))


if __name__ == "__main__":
    main()
