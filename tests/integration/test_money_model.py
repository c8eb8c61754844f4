"""A month of all kinds of senders costs what an independent model says, whatever happens."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from kit.backends.kinds import KINDS
from kit.durability.stores import Store, free_port, postgresql_store, sqlite_store
from kit.money_model import expected
from kit.money_month import RULES, Sent, requests, scenarios
from kit.processes import DEADLINE_SECONDS, Program, environment
from kit.receiver import LOGS, METRICS, OWN_CONNECTION
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from exporter.config import load
from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.events import decode_cost_events
from exporter.model import Batch
from exporter.query import Reader, open_reader
from exporter.series_cache import SeriesCache
from exporter.wire import decode

SEEDS = range(2)
ORDERS = 30
# Names a currency and a billing month.
Sums = dict[tuple[str, str], Decimal]


def month(seed: int) -> list[Sent]:
    return [one for scenario in scenarios(seed).values() for one in scenario.sent]


def model(sent: Sequence[Sent]) -> Sums:
    return without_zeros(expected((one.series.cost, one.point) for one in sent))


def without_zeros(sums: Sums) -> Sums:
    return {key: amount for key, amount in sums.items() if amount}


def stored(reader: Reader) -> Sums:
    rows = reader.cost_totals(group_by=["billing_period"])
    return without_zeros({(row["currency"], row["billing_period"]): row["amount"] for row in rows})


def ordered(sent: Sequence[Sent], dice: random.Random) -> list[Sent]:
    """The points in some order, a tenth of them twice: at random, reversed, or partly late."""
    points = [*sent, *dice.sample(sent, len(sent) // 10)]
    kind = dice.randrange(3)
    if kind == 0:
        return dice.sample(points, len(points))
    late = dict(zip(map(id, points), (dice.expovariate(1) * 10**11 for _ in points), strict=True))
    points.sort(key=lambda one: one.point.time + (late[id(one)] if kind == 1 else 0))
    return points[::-1] if kind == 2 else points


def cut(sent: Sequence[Sent], dice: random.Random) -> Iterator[bytes | ExportLogsServiceRequest]:
    """Requests of random sizes."""
    group: list[Sent] = []
    size = 1
    for one in sent:
        # Of two points with one series, start and time, a request keeps the last one.
        is_repeated = any(
            one.series == known.series and one.point[:2] == known.point[:2] for known in group
        )
        if len(group) >= size or (is_repeated and one.series.type != "log"):
            yield from requests(group)
            group = []
            size = dice.choice((1, 5, 40, 200))
        group.append(one)
    yield from requests(group)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_says_what_the_senders_spent(seed: int) -> None:
    for name, scenario in scenarios(seed).items():
        sums = model(scenario.sent)
        for currency, spent in scenario.spent.items():
            found = sum(amount for (one, _), amount in sums.items() if one == currency)
            assert found == spent, name


def write_config(folder: Path) -> Path:
    path = folder / "config.yaml"
    keys = {"cost_rules": RULES, "retention_days": 36_500}
    path.write_text(json.dumps({"exporters": {"openfinops": keys}}))
    return path


class Intake:
    """The path from the bytes of a request to a batch, as a receiver has it."""

    def __init__(self, config: Path) -> None:
        rules = load(config, {}).exporter.cost_rules
        self._series = SeriesCache()
        self._costs = CostDeriver(rules, is_cached=self._series.has_series)

    def take(self, request: bytes | ExportLogsServiceRequest) -> Batch:
        if isinstance(request, ExportLogsServiceRequest):
            decoded = decode_cost_events(request.SerializeToString())
            assert not decoded.rejections.counts
            return decoded.batch
        decoded = decode(request, self._series)
        assert not decoded.rejections.counts
        batch, refused = self._costs.derive(decoded.batch)
        assert not refused
        return batch


@pytest.mark.parametrize("seed", SEEDS)
def test_thirty_orders_give_the_sum_of_the_model(seed: int, tmp_path: Path) -> None:
    sent = month(seed)
    sums = model(sent)
    config = write_config(tmp_path)
    for order in range(ORDERS):
        dice = random.Random(1_000 * seed + order)
        intakes = [Intake(config) for _ in range(3)]
        with closing(KINDS["memory"].make("")) as backend:
            backend.start()
            batches = [
                dice.choice(intakes).take(request) for request in cut(ordered(sent, dice), dice)
            ]
            while batches:
                size = dice.randint(1, 6)
                backend.write(Batch.merge(batches[:size]))
                batches = batches[size:]
            assert stored(Reader(backend)) == sums, order


class Receivers:
    """Processes that serve one database; requests go to any of them."""

    def __init__(self, store: Store, folder: Path, number: int, stack: ExitStack) -> None:
        self._store = store
        self._stack = stack
        self._config = write_config(folder)
        self._folders = [folder / f"receiver-{place}" for place in range(number)]
        self.addresses = [f"localhost:{free_port()}" for _ in self._folders]
        for one in self._folders:
            one.mkdir()
        self._programs = [self._start(place) for place in range(number)]
        for program in self._programs:
            program.wait_until_listening()

    def restart(self, place: int) -> None:
        """Kill a receiver, and start it again."""
        self._programs[place].send(signal.SIGKILL)
        self._programs[place].wait()
        self._programs[place] = self._start(place)

    def stop(self) -> None:
        assert [program.stop() for program in self._programs] == [0] * len(self._programs)

    def _start(self, place: int) -> Program:
        folder = self._folders[place]
        settings = {**self._store.settings, "OPENFINOPS_SPOOL_PATH": str(folder / "spool")}
        arguments = ("--config", str(self._config), "--endpoint", self.addresses[place])
        program = Program("serve", *arguments, cwd=folder, env=environment(**settings))
        return self._stack.enter_context(program)


def deliver(
    group: Sequence[bytes | ExportLogsServiceRequest], addresses: Sequence[str], seed: int
) -> None:
    """Send requests until each is acknowledged; a fifth of them also to another receiver."""
    dice = random.Random(seed)
    with ExitStack() as stack:
        channels = [
            stack.enter_context(grpc.insecure_channel(address, OWN_CONNECTION))
            for address in addresses
        ]
        for request in group:
            for _ in range(1 + (dice.random() < 0.2)):
                export(dice.choice(channels), request)


def export(channel: grpc.Channel, request: bytes | ExportLogsServiceRequest) -> None:
    """Send a request, again if the receiver is killed before it replies, as clients do."""
    if isinstance(request, bytes):
        data, method, kind = request, METRICS, ExportMetricsServiceResponse
    else:
        data, method, kind = request.SerializeToString(), LOGS, ExportLogsServiceResponse
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    while True:
        try:
            answer = call(data, timeout=DEADLINE_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        else:
            reply = kind.FromString(answer)
            assert not reply.HasField("partial_success"), reply
            return


@pytest.mark.parametrize(
    ("database", "number"),
    [("sqlite", 1), ("postgresql", 1), ("postgresql", 3)],
    ids=["sqlite", "postgresql", "three receivers"],
)
def test_receivers_that_are_killed_store_the_sum_of_the_model(
    database: str, number: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if database == "sqlite":
        store = sqlite_store(tmp_path)
    else:
        store = postgresql_store(request.getfixturevalue("postgresql_database"), tmp_path)
    dice = random.Random(number)
    sent = month(number)
    all_requests = list(cut(ordered(sent, dice), dice))
    with ExitStack() as stack:
        receivers = Receivers(store, tmp_path, number, stack)
        senders = [
            threading.Thread(
                target=deliver, args=(all_requests[place::3], receivers.addresses, place)
            )
            for place in range(3)
        ]
        for sender in senders:
            sender.start()
        for _ in range(2):
            receivers.restart(dice.randrange(number))
        for sender in senders:
            sender.join(DEADLINE_SECONDS)
        sums = model(sent)
        with open_reader(store.url) as reader:
            until = time.monotonic() + DEADLINE_SECONDS
            while stored(reader) != sums and time.monotonic() < until:
                time.sleep(0.1)
            receivers.stop()
            assert stored(reader) == sums
