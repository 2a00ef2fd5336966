"""Links for tests: ones that watch, and ones that misbehave the same way every time."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from edgesnn.devices.packet import Decoder, Packet, encode
from edgesnn.devices.protocol import FRAME, HELLO, INFO, Info, hello
from edgesnn.devices.transport import Transport


class Link:
    """A link that leaves everything as it is."""

    def __init__(self, link: Transport) -> None:
        self.link = link

    def read(self, timeout: float) -> bytes:
        return self.link.read(timeout)

    def write(self, data: bytes) -> None:
        self.link.write(data)

    def close(self) -> None:
        self.link.close()


class WatchedLink(Link):
    """Keeps the packets that pass it, and how many bytes were under way to the board at most."""

    def __init__(self, link: Transport) -> None:
        super().__init__(link)
        self.asked: list[Packet] = []
        self.answered: list[Packet] = []
        self.most_under_way = 0
        self.most_unanswered = 0
        self._under_way: deque[tuple[tuple[bool, int], int]] = deque()
        self._to_board, self._to_host = Decoder(), Decoder()

    def write(self, data: bytes) -> None:
        for packet in self._to_board.feed(data):
            self.asked.append(packet)
            self._under_way.append((self._key(packet, HELLO), len(encode(packet))))
        self.most_under_way = max(self.most_under_way, sum(n for _, n in self._under_way))
        self.most_unanswered = max(self.most_unanswered, len(self._under_way))
        super().write(data)

    def read(self, timeout: float) -> bytes:
        data = super().read(timeout)
        for packet in self._to_host.feed(data):
            self.answered.append(packet)
            key = self._key(packet, INFO)
            if any(asked == key for asked, _ in self._under_way):
                while self._under_way.popleft()[0] != key:
                    pass
        return data

    def _key(self, packet: Packet, greeting: int) -> tuple[bool, int]:
        return packet.type == greeting, packet.sequence  # greetings have numbers of their own

    def forget(self) -> None:
        self.asked.clear()
        self.answered.clear()
        self.most_under_way = self.most_unanswered = 0


@dataclass(frozen=True)
class Faults:
    """How likely each byte is to suffer."""

    flip: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    insert: float = 0.0


CLEAN = Faults()


class Noise:
    """Damages bytes, the same way every time."""

    def __init__(self, seed: int) -> None:
        self.damaged = 0
        self._random = np.random.default_rng(seed)

    def damage(self, data: bytes, faults: Faults) -> bytes:
        """What arrives."""
        if faults == CLEAN or not data:
            return data
        kinds = (faults.flip, faults.drop, faults.duplicate, faults.insert)
        hits = self._random.random((4, len(data))) < np.array(kinds)[:, np.newaxis]
        out = bytearray()
        done = 0
        for at in np.flatnonzero(hits.any(axis=0)).tolist():
            flip, drop, duplicate, insert = hits[:, at]
            out += data[done:at]
            done = at + 1
            if insert:
                out.append(int(self._random.integers(256)))
            if not drop:
                out.append(data[at] ^ (1 << int(self._random.integers(8)) if flip else 0))
                out += out[-1:] * int(duplicate)
        self.damaged += int(hits.sum())
        return bytes(out + data[done:])


class NoisyLink(Link):
    """Damages bytes in both directions while its faults are not `CLEAN`."""

    def __init__(self, link: Transport, seed: int) -> None:
        super().__init__(link)
        self.to_board = self.to_host = CLEAN
        self._noise = Noise(seed)

    @property
    def damaged(self) -> int:
        """How often something was done to a byte."""
        return self._noise.damaged

    def read(self, timeout: float) -> bytes:
        return self._noise.damage(super().read(timeout), self.to_host)

    def write(self, data: bytes) -> None:
        super().write(self._noise.damage(data, self.to_board))


class RepeatingLink(Link):
    """Delivers some packets twice, and some runs of packets twice as a whole."""

    def __init__(self, link: Transport, seed: int, probability: float = 0.3) -> None:
        super().__init__(link)
        self.repeated = 0
        self._random = random.Random(seed)
        self._probability = probability

    def write(self, data: bytes) -> None:
        *packets, rest = data.split(b"\0")
        assert not rest, "the host writes whole packets"
        out = b"".join((packet + b"\0") * self._times() for packet in packets)
        super().write(out * self._times())

    def _times(self) -> int:
        twice = self._random.random() < self._probability
        self.repeated += twice
        return 1 + twice


class SilentLink(Link):
    """Swallows what is meant for the board while `deaf`, and what comes from it while `mute`."""

    def __init__(self, link: Transport) -> None:
        super().__init__(link)
        self.deaf = self.mute = False

    def read(self, timeout: float) -> bytes:
        data = super().read(timeout)
        return b"" if self.mute else data

    def write(self, data: bytes) -> None:
        if not self.deaf:
            super().write(data)


class HungryLink(Link):
    """Loses every frame that holds certain bytes, as a line may that takes some for its own."""

    def __init__(self, link: Transport, bytes_: bytes) -> None:
        super().__init__(link)
        self._bytes = bytes_

    def write(self, data: bytes) -> None:
        for wire in data.split(b"\0"):
            packets = Decoder().feed(wire + b"\0")
            if not any(q.type == FRAME and self._bytes in q.payload for q in packets):
                super().write(wire + b"\0")


class EchoingLink:
    """A plug with its two lines joined: what is sent comes back."""

    def __init__(self) -> None:
        self._kept = b""

    def write(self, data: bytes) -> None:
        self._kept += data

    def read(self, timeout: float) -> bytes:
        if not self._kept:
            time.sleep(timeout)
        data, self._kept = self._kept, b""
        return data

    def close(self) -> None:
        pass


class ChatteringLink(EchoingLink):
    """Some other device, which talks all the time."""

    def write(self, data: bytes) -> None:
        pass

    def read(self, timeout: float) -> bytes:
        time.sleep(min(timeout, 0.01))
        return b"$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M\r\n\0"


class Probe:
    """A host that sends whatever it is told to, and waits for nothing."""

    def __init__(self, link: Transport) -> None:
        self.link = link
        self.sequence = self.greetings = 0
        self.token = random.getrandbits(32)
        self._decoder = Decoder()
        self._received: deque[Packet] = deque()
        link.write(b"\0")
        self.hello()

    def hello(self) -> Packet:
        """Greet, and count on from what the board has taken."""
        self._greet()
        answer = self.answer()
        assert answer is not None, "the board does not answer"
        assert (answer.type, answer.sequence) == (INFO, self.greetings)
        self.sequence = Info.unpack(answer.payload).last
        return answer

    def _greet(self) -> None:
        self.greetings = (self.greetings + 1) & 0xFFFF
        self.link.write(encode(Packet(HELLO, self.greetings, hello(self.token))))

    def send(self, kind: int, payload: bytes = b"") -> Packet:
        self.sequence = (self.sequence + 1) & 0xFFFF
        packet = Packet(kind, self.sequence, payload)
        self.link.write(encode(packet))
        return packet

    def answer(self, timeout: float = 5.0) -> Packet | None:
        """The next packet from the board, None if there is none within the time."""
        end = time.monotonic() + timeout
        while not self._received and (left := end - time.monotonic()) > 0:
            self._received.extend(self._decoder.feed(self.link.read(left)))
        return self._received.popleft() if self._received else None

    def ask(self, kind: int, payload: bytes = b"") -> Packet:
        sent = self.send(kind, payload)
        answer = self.answer()
        assert answer is not None, "the board does not answer"
        assert answer.sequence == sent.sequence
        return answer

    def answers_until_hello(self) -> list[Packet]:
        """Everything that the board still has to say."""
        self._greet()
        answers = []
        while (answer := self.answer()) is not None and answer.type != INFO:
            answers.append(answer)
        assert answer is not None, "the board does not answer"
        self.sequence = Info.unpack(answer.payload).last
        return answers
