"""Whatever is sent: an answer that says what is wrong, and then the next request is taken.

The inputs have numbers (`kit.fuzz`): `--fuzz-seed 1` and the number of an input that fails give its
bytes again. `--fuzz-seconds 600` searches for longer (docs/robustness.md).
"""

from __future__ import annotations

import gzip
import random
import socket
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
import pytest
from kit.fuzz import http2
from kit.fuzz.comparison import DecoderComparison
from kit.fuzz.http2 import Connection, connected, frame, header_block, message
from kit.fuzz.inputs import Inputs
from kit.fuzz.seeds import captured_requests, generated_requests
from kit.otlp.messages import request_of_all_types
from kit.processes import Program, environment
from kit.receiver import CHECK, begin, plain, send

# What a client may be answered for what it put into a message.
ANSWERS: Final = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
SERVING: Final = b"\x08\x01"
UNDER_WAY: Final = 16
MIB: Final = 1024 * 1024
MEMORY_LIMIT_MIB: Final = 384


@pytest.fixture(scope="module")
def inputs(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Inputs:
    """From captured and generated requests; without a corpus from generated ones alone."""
    try:
        corpus: Path | None = request.getfixturevalue("corpus")
    except pytest.skip.Exception:
        corpus = None
    seeds = [*captured_requests(corpus), *generated_requests()]
    random.Random(0).shuffle(seeds)
    return Inputs(seeds, pytestconfig.getoption("--fuzz-seed"))


def numbers(pytestconfig: pytest.Config) -> Iterator[int]:
    """0, 1, 2 and so on until time is up."""
    until = time.monotonic() + pytestconfig.getoption("--fuzz-seconds")
    number = 0
    while time.monotonic() < until:
        yield number
        number += 1


def resident_mib(pid: int | None = None) -> int:
    return int(psutil.Process(pid).memory_info().rss) // MIB


def test_both_decoders_say_the_same_of_any_bytes(
    inputs: Inputs, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    comparison = DecoderComparison()
    before_mib = resident_mib()
    for number in numbers(pytestconfig):
        try:
            comparison.compare(inputs[number])
        except BaseException as exc:
            exc.add_note(f"input {number} of --fuzz-seed {pytestconfig.getoption('--fuzz-seed')}")
            raise
    record_property("outcomes", dict(comparison.outcomes))
    print(f"decoders: {dict(comparison.outcomes)}, grown by {resident_mib() - before_mib} MiB")  # noqa: T201 - the figures for docs/robustness.md, with -s
    assert min(comparison.outcomes.values()) > 0
    assert len(comparison.outcomes) == 3
    assert resident_mib() - before_mib < 200  # one stream of each decoder, and its test kit


@contextmanager
def receiving(folder: Path, *arguments: str, **settings: str) -> Iterator[tuple[Program, str]]:
    """The real program; it must have raised nothing and stop in good order."""
    where = ("--endpoint", "127.0.0.1:0", "--db", str(folder / "fuzz.db"))
    env = environment(**settings)
    with Program("serve", *where, *arguments, cwd=folder, env=env) as program:
        yield program, program.wait_until_listening()
        assert program.stop() == 0
        assert "Traceback" not in program.log


def is_well(address: str) -> bool:
    """Whether it serves, and takes a request that is in order, and that it does not know yet."""
    good = request_of_all_types()
    points = good.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    points[0].as_int = time.monotonic_ns()
    with plain(address) as channel:
        return (
            send(channel, method=CHECK) == SERVING
            and send(channel, good.SerializeToString()) == b""
        )


def settle(call: Any, number: int, answers: Counter[grpc.StatusCode]) -> None:
    code = call.code()
    is_busy = code is grpc.StatusCode.UNAVAILABLE and "memory_limit_mib" in call.details()
    assert code in ANSWERS or is_busy, f"input {number}: {code}: {call.details()}"
    answers[code] += 1


def test_any_message_is_answered(
    inputs: Inputs, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    answers: Counter[grpc.StatusCode] = Counter()
    under_way: list[tuple[int, Any]] = []
    # A thousand series a second are new: what is kept of them has to have a bound.
    limit = {"OPENFINOPS_MEMORY_LIMIT_MIB": str(MEMORY_LIMIT_MIB)}
    with receiving(tmp_path, **limit) as (program, address), plain(address) as channel:
        for number in numbers(pytestconfig):
            gzipped = grpc.Compression.Gzip if number % 3 == 0 else None
            under_way.append((number, begin(channel, inputs[number], compression=gzipped)))
            if len(under_way) == UNDER_WAY:
                first, call = under_way.pop(0)
                settle(call, first, answers)
        for number, call in under_way:
            settle(call, number, answers)
        assert is_well(address)
        after_mib = resident_mib(program.pid)
    print(f"port: {answers.total()} answers, {dict(answers)}, {after_mib} MiB at the end")  # noqa: T201 - as above
    assert answers.keys() >= ANSWERS
    assert after_mib < MEMORY_LIMIT_MIB


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, str]]:
    """One program for all that is hostile, with small messages so that bombs are cheap to make."""
    folder = tmp_path_factory.mktemp("hostile")
    config = folder / "config.yaml"
    config.write_text("receivers: {otlp: {protocols: {grpc: {max_recv_msg_size_mib: 2}}}}\n")
    with receiving(folder, "--config", str(config)) as started:
        yield started


@pytest.fixture
def address(program: tuple[Program, str]) -> Iterator[str]:
    """Where it listens; afterwards it must be well, and not have grown."""
    running, where = program
    before_mib = resident_mib(running.pid)
    yield where
    assert is_well(where)
    assert resident_mib(running.pid) - before_mib < 64


def bomb(mib: int, window_bits: int) -> bytes:
    """So many MiB of zeros, a thousandth as large."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window_bits)
    zeros = bytes(MIB)
    return b"".join(packer.compress(zeros) for _ in range(mib)) + packer.flush()


GZIP: Final = ("grpc-encoding", "gzip")
DEFLATE: Final = ("grpc-encoding", "deflate")
SOUND: Final = request_of_all_types().SerializeToString()

# Body, headers, and the answer: the number of a gRPC status code, or the end of the stream. 13 is
# INTERNAL, which gRPC's own compression.md and statuscodes.md ask for where its framing is broken;
# it comes from the library, before the receiver sees anything.
CALLS: Final[dict[str, tuple[bytes, list[tuple[str, str]], str]]] = {
    "sound": (message(SOUND), [], "0"),
    "gzip": (message(gzip.compress(SOUND), compressed=True), [GZIP], "0"),
    "gzip bomb": (message(bomb(1_000, 31), compressed=True), [GZIP], "8"),
    "deflate bomb": (message(bomb(1_000, 15), compressed=True), [DEFLATE], "8"),
    "gzip cut off": (message(gzip.compress(SOUND)[:-20], compressed=True), [GZIP], "13"),
    "gzip that is none": (message(SOUND, compressed=True), [GZIP], "13"),
    "compressed with nothing": (message(SOUND, compressed=True), [], "13"),
    "unknown compression": (message(SOUND), [("grpc-encoding", "zzz")], "13"),
    "no message": (b"", [], "3"),
    "half a prefix": (b"\x00\x00", [], "3"),
    "half a message": (message(SOUND)[:-9], [], "3"),
    "two messages": (message(SOUND) * 2, [], "0"),
    "larger than it may be": (message(bytes(3 * MIB)), [], "8"),
    "4 GiB announced": (b"\x00\xff\xff\xff\xff" + bytes(100), [], "8"),
    "content of another kind": (message(SOUND), [("content-type", "text/html")], "0"),
    "GET": (message(SOUND), [(":method", "GET")], "reset"),
    "another path": (message(SOUND), [(":path", "/nothing/here")], "12"),
    "a path of bytes": (message(SOUND), [(":path", "\u00ff" * 50)], "12"),
    "headers of 15 KiB": (message(SOUND), [("x-much", "x" * 15_000)], "0"),
    "deadline of nonsense": (message(SOUND), [("grpc-timeout", "99999999999S")], "0"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_no_library_makes_are_answered(address: str, name: str) -> None:
    body, headers, expected = CALLS[name]
    with connected(address) as connection:
        assert connection.call(*headers, body=body) == expected


def test_a_flag_of_a_message_that_is_none_is_answered(address: str) -> None:
    # Up to the library: the message is handed on as sound or, 7 times in 1,300, as none.
    with connected(address) as connection:
        assert connection.call(body=b"\x07" + message(SOUND)[1:]) in {"0", "3"}


def bytes_of_noise(connection: Connection) -> None:
    connection.send(random.Random(5).randbytes(4_000))


def plain_http(connection: Connection) -> None:
    connection.send(b"POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd")


def frames_of_noise(connection: Connection) -> None:
    dice = random.Random(6)
    connection.begin()
    for _ in range(500):
        payload = dice.randbytes(dice.randrange(40))
        connection.send(frame(dice.randrange(12), dice.randrange(256), dice.randrange(9), payload))


def a_frame_too_large(connection: Connection) -> None:
    connection.begin()
    connection.send(frame(http2.HEADERS, http2.END_HEADERS, 1, header_block()))
    connection.send(frame(http2.DATA, 0, 1, bytes(16_777_215)))


def settings_without_end(connection: Connection) -> None:
    connection.begin()
    for _ in range(20_000):
        connection.send(frame(http2.SETTINGS, 0, 0, b"\x00\x04\x00\x01\x00\x00"))


def pings_without_end(connection: Connection) -> None:
    connection.begin()
    for _ in range(20_000):
        connection.send(frame(http2.PING, 0, 0, bytes(8)))


def begun_and_reset_at_once(connection: Connection) -> None:
    """CVE-2023-44487, called rapid reset."""
    connection.begin()
    for stream in range(1, 10_000, 2):
        connection.send(frame(http2.HEADERS, http2.END_HEADERS, stream, header_block()))
        connection.send(frame(http2.RST_STREAM, 0, stream, bytes(4)))


def headers_that_go_on_and_on(connection: Connection) -> None:
    """CVE-2024-27316, called continuation flood."""
    connection.begin()
    connection.send(frame(http2.HEADERS, 0, 1, header_block()))
    more = b"\x00\x01a\x7f\x81\x7e" + b"b" * 16_256
    for _ in range(500):
        connection.send(frame(9, 0, 1, more))


@pytest.mark.parametrize(
    "attack",
    [
        bytes_of_noise,
        plain_http,
        frames_of_noise,
        a_frame_too_large,
        settings_without_end,
        pings_without_end,
        begun_and_reset_at_once,
        headers_that_go_on_and_on,
    ],
)
def test_frames_that_no_library_sends_harm_nobody_else(
    address: str, attack: Callable[[Connection], None]
) -> None:
    with connected(address, timeout_seconds=5) as connection:
        attack(connection)
        assert is_well(address)  # while it is still connected


def test_a_message_that_comes_byte_by_byte_is_taken(address: str) -> None:
    with connected(address) as connection:
        connection.begin()
        connection.send(frame(http2.HEADERS, http2.END_HEADERS, 1, header_block()))
        for byte in message(SOUND):
            connection.send(frame(http2.DATA, 0, 1, bytes([byte])))
        connection.send_body(b"")
        assert connection.answer() == "0"


def test_connections_that_say_nothing_are_no_hindrance(address: str) -> None:
    host, _, port = address.rpartition(":")
    with ExitStack() as held:
        for _ in range(300):
            peer = held.enter_context(socket.create_connection((host, int(port))))
            peer.sendall(http2.PREFACE[:9])
        assert is_well(address)


def test_clients_that_leave_in_the_middle_are_no_hindrance(address: str) -> None:
    for cut in range(200):
        with connected(address) as connection:
            connection.begin()
            connection.send(frame(http2.HEADERS, http2.END_HEADERS, 1, header_block()))
            connection.send(frame(http2.DATA, 0, 1, message(SOUND)[:cut]))
    assert is_well(address)
