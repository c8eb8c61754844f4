"""This machine's own metrics as OpenTelemetry instruments, for the demo.

Names, units and attributes follow the OpenTelemetry semantic conventions for `system.*` and
`process.*`. The conventions have no load averages; these are named as in the Collector's host
metrics receiver. Metrics that psutil cannot read on this machine are omitted.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = ["register"]

logger = logging.getLogger(__name__)

_Observations = Iterable[Observation]

# The fields of psutil's CPU times whose sum is the total time. Guest time is omitted, because user
# time includes it.
_CPU_MODES: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("user",),
    "nice": ("nice",),
    "system": ("system",),
    "interrupt": ("irq", "softirq"),
    "iowait": ("iowait",),
    "steal": ("steal",),
    "idle": ("idle",),
}


@dataclass(frozen=True, slots=True)
class _Instrument:
    kind: str
    name: str
    unit: str
    observe: Callable[[_Host], _Observations]


_INSTRUMENTS: Final[list[_Instrument]] = []


def _instrument(
    kind: str, name: str, unit: str
) -> Callable[[Callable[[_Host], _Observations]], Callable[[_Host], _Observations]]:
    """Declare that a method observes this instrument; its docstring becomes the description."""

    def register_method(
        observe: Callable[[_Host], _Observations],
    ) -> Callable[[_Host], _Observations]:
        _INSTRUMENTS.append(_Instrument(kind, name, unit, observe))
        return observe

    return register_method


_counter = partial(_instrument, "counter")
_up_down_counter = partial(_instrument, "up_down_counter")
_gauge = partial(_instrument, "gauge")


def register(meter: Meter) -> list[str]:
    """Create the instruments on a meter; they read the machine at each collection of the SDK.

    Args:
        meter: of any MeterProvider.

    Returns:
        The names of the created instruments, in alphabetical order.
    """
    host = _Host()
    readable = [instrument for instrument in _INSTRUMENTS if _is_readable(instrument, host)]
    for instrument in readable:
        create = getattr(meter, f"create_observable_{instrument.kind}")
        description = (instrument.observe.__doc__ or "").rstrip(".")
        create(instrument.name, [_callback(instrument, host)], instrument.unit, description)
    return sorted(instrument.name for instrument in readable)


def _is_readable(instrument: _Instrument, host: _Host) -> bool:
    """Whether a first reading succeeds; it is also the starting point of the utilizations."""
    try:
        list(instrument.observe(host))
    # psutil has no such function (AttributeError) if the operating system has no such number.
    except (psutil.Error, OSError, NotImplementedError, AttributeError) as error:
        logger.info("%s is omitted, it cannot be read on this machine: %r", instrument.name, error)
        return False
    return True


def _callback(instrument: _Instrument, host: _Host) -> Callable[[CallbackOptions], _Observations]:
    return lambda _options: instrument.observe(host)


class _Host:
    """Reads the machine; keeps the CPU times of the last reading, to compute differences."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cpu_seconds: dict[str, float] = {}
        self._process_seconds: dict[str, float] = {}
        self._process_read_seconds = 0.0

    @_counter("system.cpu.time", "s")
    def cpu_time(self) -> _Observations:
        """Seconds that all CPUs together spent in each mode."""
        return _by("cpu.mode", _cpu_seconds())

    @_gauge("system.cpu.utilization", "1")
    def cpu_utilization(self) -> _Observations:
        """Share of the time of all CPUs since the last collection, by mode."""
        now, before = _cpu_seconds(), self._cpu_seconds
        self._cpu_seconds = now
        # In some kernels idle and iowait have decreased by a tick.
        spent = {mode: max(now[mode] - before[mode], 0.0) for mode in before}
        return _by("cpu.mode", _shares(spent))

    @_gauge("system.cpu.load_average.1m", "{thread}")
    def load_average_1m(self) -> _Observations:
        """Mean number of runnable threads over the last minute."""
        return [Observation(psutil.getloadavg()[0])]

    @_gauge("system.cpu.load_average.5m", "{thread}")
    def load_average_5m(self) -> _Observations:
        """Mean number of runnable threads over the last 5 minutes."""
        return [Observation(psutil.getloadavg()[1])]

    @_gauge("system.cpu.load_average.15m", "{thread}")
    def load_average_15m(self) -> _Observations:
        """Mean number of runnable threads over the last 15 minutes."""
        return [Observation(psutil.getloadavg()[2])]

    @_up_down_counter("system.memory.usage", "By")
    def memory_usage(self) -> _Observations:
        """Memory by state."""
        return _by("system.memory.state", _memory_bytes())

    @_gauge("system.memory.utilization", "1")
    def memory_utilization(self) -> _Observations:
        """Share of all memory by state."""
        return _by("system.memory.state", _shares(_memory_bytes()))

    @_up_down_counter("system.memory.limit", "By")
    def memory_limit(self) -> _Observations:
        """All memory of this machine."""
        return [Observation(psutil.virtual_memory().total)]

    @_up_down_counter("system.filesystem.usage", "By")
    def filesystem_usage(self) -> _Observations:
        """Space of each file system by state."""
        for attributes, usage in _filesystems():
            for state, amount in usage.items():
                yield Observation(amount, {**attributes, "system.filesystem.state": state})

    @_gauge("system.filesystem.utilization", "1")
    def filesystem_utilization(self) -> _Observations:
        """Share of each file system that is in use."""
        for attributes, usage in _filesystems():
            used = usage["used"] / sum(usage.values())
            yield Observation(used, {**attributes, "system.filesystem.state": "used"})

    @_counter("system.disk.io", "By")
    def disk_io(self) -> _Observations:
        """Bytes that all disks together read and wrote."""
        if counters := psutil.disk_io_counters():
            yield Observation(counters.read_bytes, {"disk.io.direction": "read"})
            yield Observation(counters.write_bytes, {"disk.io.direction": "write"})

    @_counter("system.network.io", "By")
    def network_io(self) -> _Observations:
        """Bytes that each network interface received and transmitted."""
        for interface, counters in psutil.net_io_counters(pernic=True).items():
            sent, received = counters.bytes_sent, counters.bytes_recv
            if sent or received:  # a container host has many interfaces without traffic
                attributes = {"network.interface.name": interface}
                yield Observation(received, {**attributes, "network.io.direction": "receive"})
                yield Observation(sent, {**attributes, "network.io.direction": "transmit"})

    @_up_down_counter("system.process.count", "{process}")
    def process_count(self) -> _Observations:
        """Processes on this machine."""
        return [Observation(len(psutil.pids()))]

    @_gauge("system.uptime", "s")
    def uptime(self) -> _Observations:
        """Time since this machine started."""
        return [Observation(time.time() - psutil.boot_time())]

    @_counter("process.cpu.time", "s")
    def process_cpu_time(self) -> _Observations:
        """CPU seconds of this process by mode."""
        return _by("cpu.mode", _process_cpu_seconds(self._process))

    @_gauge("process.cpu.utilization", "1")
    def process_cpu_utilization(self) -> _Observations:
        """Share of all CPUs that this process used since the last collection, by mode."""
        now, before = _process_cpu_seconds(self._process), self._process_seconds
        now_seconds = time.monotonic()
        available = (now_seconds - self._process_read_seconds) * (os.cpu_count() or 1)
        self._process_seconds, self._process_read_seconds = now, now_seconds
        return _by("cpu.mode", {mode: (now[mode] - before[mode]) / available for mode in before})

    @_up_down_counter("process.memory.usage", "By")
    def process_memory(self) -> _Observations:
        """Physical memory of this process."""
        return [Observation(self._process.memory_info().rss)]

    @_up_down_counter("process.thread.count", "{thread}")
    def process_threads(self) -> _Observations:
        """Threads of this process."""
        return [Observation(self._process.num_threads())]

    @_up_down_counter("process.unix.file_descriptor.count", "{file_descriptor}")
    def process_file_descriptors(self) -> _Observations:
        """Files, sockets and pipes that this process has open."""
        return [Observation(self._process.num_fds())]


def _by(key: str, values: Mapping[str, float]) -> list[Observation]:
    return [Observation(value, {key: name}) for name, value in values.items()]


def _shares(amounts: Mapping[str, float]) -> dict[str, float]:
    total = sum(amounts.values())
    return {name: amount / total for name, amount in amounts.items()} if total else {}


def _cpu_seconds() -> dict[str, float]:
    times = psutil.cpu_times()._asdict()
    return {
        mode: sum(times[field] for field in fields)
        for mode, fields in _CPU_MODES.items()
        if times.keys() >= set(fields)
    }


def _process_cpu_seconds(process: psutil.Process) -> dict[str, float]:
    times = process.cpu_times()
    return {"user": times.user, "system": times.system}


def _memory_bytes() -> dict[str, float]:
    """Bytes by state; their sum is all memory, which it is not with psutil's own `used`."""
    memory = psutil.virtual_memory()._asdict()
    others = {state: memory[state] for state in ("free", "buffers", "cached") if state in memory}
    return {"used": memory["total"] - sum(others.values())} | others


def _filesystems() -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Attributes and bytes by state of every file system, once even if it is mounted twice."""
    seen: set[str] = set()
    for partition in psutil.disk_partitions(all=False):
        if partition.device in seen or not Path(partition.mountpoint).is_dir():
            continue
        try:
            usage = psutil.disk_usage(partition.mountpoint)
        except OSError as error:
            logger.debug("%s is omitted: %s", partition.mountpoint, error)
            continue
        if usage.total:
            seen.add(partition.device)
            reserved = usage.total - usage.used - usage.free
            attributes = {
                "system.device": partition.device,
                "system.filesystem.mountpoint": partition.mountpoint,
                "system.filesystem.type": partition.fstype,
            }
            yield attributes, {"used": usage.used, "free": usage.free, "reserved": reserved}
