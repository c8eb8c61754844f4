"""What `serve` and `demo` run: receiver, pipeline and backend, and the signals that stop them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import Final, Self

from exporter.assembly import backend_for, pipeline_for, spool_for
from exporter.config import ReceiverSettings, Settings
from exporter.embedded import OrphanReplayer
from exporter.pipeline import IDLE_BYTES
from exporter.receiver import BearerTokens, Certificates, Receiver, workers_for

# A request may take up to this many times its size in memory until it is stored
# (docs/robustness.md).
_MEMORY_PER_MESSAGE_BYTE: Final = 60

# SIGHUP as well: a closed terminal must not lose data that is acknowledged and not yet written.
_STOP_SIGNALS: Final = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
_EXIT_BY_SIGNAL: Final = 128


class Service:
    """Runs the receiver, the pipeline and the backend.

    Starts the backend first and the receiver last, and stops them in the opposite order.

    Start `pipeline`, then `listen`, then optionally start `orphan_replayer`, which stores the
    orphaned spools of embedded pipelines, now and every minute. `stop` is safe after any of them,
    before all of them, and twice.

    Args:
        settings: the settings to run with.

    Raises:
        ConfigError: there is no such backend.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.backend = backend_for(settings.exporter, serving=True)
        self.spool = spool_for(settings.exporter, self.backend)
        self.pipeline = pipeline_for(settings.exporter, self.backend, self.spool)
        self.orphan_replayer = OrphanReplayer(settings.exporter)
        self._receiver: Receiver | None = None

    @property
    def location(self) -> str:
        """Backend and location, for people."""
        backend, location = self.settings.exporter.backend, self.backend.location
        return backend if backend == location else f"{backend} {location}"

    def listen(self, endpoint: str | None = None) -> str:
        """Accept requests.

        Args:
            endpoint: replaces the endpoint of the settings.

        Returns:
            The address that clients can use.

        Raises:
            ReceiverError: the receiver cannot listen there.
        """
        settings = self.settings.receiver
        receiver = Receiver(
            self.pipeline.submit if settings.takes_metrics else None,
            self.pipeline.submit_logs,
            admit=self.pipeline.admit,
            endpoint=endpoint or settings.endpoint,
            max_message_bytes=_max_message_bytes(self.settings),
            max_connections=settings.max_connections,
            workers=workers_for(None if self.spool is None else self.spool.measure_sync_seconds()),
            accepting=lambda: self.pipeline.is_accepting,
            tls=certificates_for(settings),
            tokens=tokens_for(settings),
            counters=self.pipeline.counters,
            server_options=_server_options(settings),
        )
        address = receiver.start()
        self._receiver = receiver
        return address

    def stop(self, timeout_seconds: float) -> bool:
        """Stop the receiver, write accepted data, close the backend.

        Returns:
            Whether all accepted data was written in time.
        """
        until = time.monotonic() + timeout_seconds
        self.orphan_replayer.request_stop()
        if self._receiver is not None:
            # Requests in flight are short; the writer needs most of the time.
            self._receiver.shutdown(timeout_seconds / 4)
        all_stored = self.pipeline.shutdown(max(until - time.monotonic(), 0.0))
        self.orphan_replayer.shutdown(max(until - time.monotonic(), 0.0))
        return all_stored


def certificates_for(settings: ReceiverSettings) -> Certificates | None:
    """The receiver's certificates, not yet read; None for plain text."""
    tls = settings.tls
    if tls is None:
        return None
    return Certificates(
        tls.cert_file,
        tls.key_file,
        client_ca_file=tls.client_ca_file,
        reload_interval_seconds=tls.reload_interval_seconds,
    )


def tokens_for(settings: ReceiverSettings) -> BearerTokens | None:
    """The receiver's bearer tokens, not yet read; None if every client may send."""
    tokens = settings.tokens
    if tokens is None:
        return None
    return BearerTokens(token=tokens.token, path=tokens.path, scheme=tokens.scheme)


def _max_message_bytes(settings: Settings) -> int:
    """The largest request that the receiver accepts within the memory limit."""
    limit_bytes = settings.exporter.memory_limit_mib * 1024 * 1024
    available_bytes = (limit_bytes - IDLE_BYTES) // _MEMORY_PER_MESSAGE_BYTE
    return min(settings.receiver.max_message_bytes, available_bytes)


def _server_options(settings: ReceiverSettings) -> dict[str, int]:
    """The options that are set, by the names of gRPC core; gRPC's own defaults for the others."""
    keepalive = settings.keepalive
    options = {
        "grpc.max_concurrent_streams": settings.max_concurrent_streams,
        "grpc.max_connection_idle_ms": keepalive.max_connection_idle_milliseconds,
        "grpc.max_connection_age_ms": keepalive.max_connection_age_milliseconds,
        "grpc.max_connection_age_grace_ms": keepalive.max_connection_age_grace_milliseconds,
        "grpc.keepalive_time_ms": keepalive.time_milliseconds,
        "grpc.keepalive_timeout_ms": keepalive.timeout_milliseconds,
        "grpc.http2.min_recv_ping_interval_without_data_ms": keepalive.min_time_milliseconds,
        "grpc.keepalive_permit_without_calls": keepalive.permit_without_stream,
    }
    return {name: int(value) for name, value in options.items() if value is not None}


class StopSignal:
    """The first signal asks the process to stop, the second ends it at once.

    Use it in a `with` statement, in the main thread only.

    Python runs signal handlers between two steps of the main thread, which may be deep inside a
    database call or hold a lock that the handler needs. Therefore the interpreter only writes the
    signal's number to a socket, which it does at once, and a thread of its own reacts to it.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._number: int | None = None

    def __enter__(self) -> Self:
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._previous = {
            number: signal.signal(number, lambda *_: None)
            for number in _STOP_SIGNALS
            if not _is_ignored_hangup(number)
        }
        self._thread = threading.Thread(target=self._watch, name="exporter-signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._writing.close()
        self._thread.join()
        self._reading.close()

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self._requested.is_set()

    @property
    def reason(self) -> str:
        """The name of the first signal, "" before there was one."""
        return "" if self._number is None else signal.Signals(self._number).name

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a signal; returns whether one was received."""
        return self._requested.wait(timeout_seconds)

    def _watch(self) -> None:
        while numbers := self._reading.recv(1):
            number = numbers[0]
            if number not in self._previous:
                continue
            if self._number is not None:
                os._exit(_EXIT_BY_SIGNAL + number)
            self._number = number
            self._requested.set()


def _is_ignored_hangup(number: signal.Signals) -> bool:
    """`nohup` starts a program with SIGHUP ignored, and it must stay ignored."""
    return number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
