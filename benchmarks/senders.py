"""Many small senders, against `serve` with its spool and default settings.

500 connections send ten points every second, each at its own moment of the second. The result is
the 99th percentile of the response time. The first two seconds, in which every series is new and
then gets its template, are measured separately. Then 10,000 requests of one point are sent, fifty
at a time. All clients run in one process, and its own CPU time is part of the figures.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final, TypeVar

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)

from benchmarks.client import EXPORT, send_all
from benchmarks.measure import Result
from benchmarks.serve_process import running_serve
from benchmarks.workload import WARM_UP_STEPS, Shape, requests

_T = TypeVar("_T")

_SENDERS: Final = 500
_SECONDS: Final = 10
_SMALL: Final = Shape("1 metric of 10 points", 1, 10)
# Series that the requests before did not use.
_ONE: Final = Shape("1 metric of 1 point", 1, 1, attributes=2)
_ONES: Final = 10_000
_AT_A_TIME: Final = 50
_TIMEOUT_SECONDS: Final = 60.0
_ACKNOWLEDGED_SECONDS: Final = 0.05


def run() -> list[Result]:
    """Measure the 99th percentile of 500 senders, and 10,000 requests of one point."""
    small = requests(_SMALL, _SENDERS * (WARM_UP_STEPS + _SECONDS), series_sets=_SENDERS)
    ones = requests(_ONE, _ONES, series_sets=_AT_A_TIME)
    with tempfile.TemporaryDirectory() as folder:
        with running_serve(Path(folder)) as program:
            warm_up, waits = map(sorted, _in_other_process(_many, program.address, small))
            seconds = _in_other_process(_burst, program.address, ones)
        with closing(sqlite3.connect(Path(folder) / "served.db")) as connection:
            (stored,) = connection.execute("SELECT COUNT(*) FROM system_metrics").fetchone()
    assert stored == len(small) * _SMALL.points + len(ones)
    slow = _percentile_99(waits)
    return [
        Result(
            "99 % of 500 senders",
            1,
            slow,
            "50 ms",
            _ACKNOWLEDGED_SECONDS,
            1.0,
            note=f"acknowledged in {statistics.median(waits) * 1e3:.1f} ms (median), "
            f"{slow * 1e3:.1f} ms (p99), {waits[-1] * 1e3:.1f} ms (slowest of {len(waits):,}); "
            f"while they were new in {_percentile_99(warm_up) * 1e3:.1f} ms (p99)",
        ),
        Result("requests of one point", _ONES, seconds, "no store", _nothing(ones), 0.0),
    ]


def _percentile_99(in_order: Sequence[float]) -> float:
    return in_order[len(in_order) * 99 // 100]


def _in_other_process(
    work: Callable[[str, Sequence[bytes]], _T], address: str, sent: Sequence[bytes]
) -> _T:
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as others:
        return others.submit(work, address, sent).result(_TIMEOUT_SECONDS)


def _many(address: str, sent: Sequence[bytes]) -> tuple[list[float], list[float]]:
    """Response times in seconds: during the warm-up, and after it."""
    return asyncio.run(_senders(address, sent))


async def _senders(address: str, sent: Sequence[bytes]) -> tuple[list[float], list[float]]:
    random = Random(7)  # noqa: S311 - seeded on purpose
    start_line = asyncio.Barrier(_SENDERS)
    warm_up: list[float] = []
    waits: list[float] = []

    async def sender(own: Sequence[bytes], moment: float) -> None:
        # Channels of one process share connections unless told otherwise.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            await channel.channel_ready()
            export = channel.unary_unary(EXPORT)
            for part, found in (
                (own[:WARM_UP_STEPS], warm_up),
                (own[WARM_UP_STEPS:], waits),
            ):
                await start_line.wait()
                found.extend(await _each_second(export, part, moment))

    await asyncio.gather(*(sender(sent[at::_SENDERS], random.random()) for at in range(_SENDERS)))
    return warm_up, waits


async def _each_second(
    export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], sent: Sequence[bytes], moment: float
) -> list[float]:
    """Send one request a second; returns the response times."""
    waits: list[float] = []
    began = time.perf_counter()
    for at, data in enumerate(sent):
        await asyncio.sleep(began + moment + at - time.perf_counter())
        sent_at = time.perf_counter()
        assert await export(data) == b""
        waits.append(time.perf_counter() - sent_at)
    return waits


def _burst(address: str, sent: Sequence[bytes]) -> float:
    """Seconds until all requests are answered."""
    with grpc.insecure_channel(address) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        grpc.channel_ready_future(channel).result(10)
        began = time.perf_counter()
        send_all(export, sent, at_a_time=_AT_A_TIME)
        return time.perf_counter() - began


class _Nothing(MetricsServiceServicer):
    def Export(  # noqa: N802 - the method's name
        self, _: ExportMetricsServiceRequest, __: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        return ExportMetricsServiceResponse()


def _nothing(sent: Sequence[bytes]) -> float:
    """Seconds for the same requests with a servicer of eight threads that only parses them."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    add_MetricsServiceServicer_to_server(_Nothing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        return _in_other_process(_burst, f"127.0.0.1:{port}", sent)
    finally:
        server.stop(None).wait()
