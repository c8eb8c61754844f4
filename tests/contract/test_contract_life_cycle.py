"""start and close in every order, and the calls after them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from kit.backends.kinds import Kind
from kit.backends.samples import NOW, SECOND, batch_of, flood, point, series
from kit.backends.stored_rows import count, stored

from exporter.backends.base import Backend
from exporter.errors import BackendRefusedError, BackendUnavailableError
from exporter.model import Batch, WriteResult

Unopened = Callable[[], Backend]


def test_start_and_close_may_be_called_twice_and_close_first(unopened: Unopened) -> None:
    backend = unopened()
    backend.close()
    backend.start()
    backend.write(batch_of(point(1)))
    backend.start()
    assert count(backend) == 1
    backend.close()
    backend.close()


@pytest.mark.parametrize("closed", [False, True])
def test_a_backend_that_is_not_open_raises(unopened: Unopened, *, closed: bool) -> None:
    backend = unopened()
    if closed:
        backend.start()
        backend.close()
    calls: list[Callable[[], object]] = [
        lambda: backend.write(batch_of(point(1))),
        lambda: backend.fetch("SELECT 1"),
        lambda: backend.delete_before(1),
        backend.sizes,
        lambda: backend.count_before(NOW),
    ]
    for call in calls:
        with pytest.raises(BackendRefusedError, match="not open; call start"):
            call()


def test_a_closed_backend_can_be_started_again(unopened: Unopened, kind: Kind) -> None:
    backend = unopened()
    for index in range(2):
        backend.start()
        later = batch_of(point(1, NOW + index * SECOND), new_series=(series(1),))
        assert backend.write(later) == WriteResult(stored=1)
        assert count(backend) == (index + 1 if kind.keeps else 1)
        backend.close()


def test_written_rows_are_stored_after_close(unopened: Unopened, kind: Kind) -> None:
    first = unopened()
    first.start()
    first.write(Batch(new_series=(series(1),), points=flood(3_000)))
    kept = stored(first)
    first.close()
    again = unopened()
    again.start()
    if kind.keeps:
        assert stored(again) == kept
        assert len(kept.points) == 3_000
    else:
        assert count(again) == count(again, "metric_series") == 0


def test_any_thread_may_open_write_or_close(unopened: Unopened) -> None:
    backend = unopened()
    rows: list[int] = []
    steps: list[Callable[[], object]] = [
        backend.start,
        lambda: backend.write(batch_of(point(1))),
        lambda: backend.write(batch_of(point(2))),
        lambda: rows.append(count(backend)),
        lambda: backend.delete_before(1),
        backend.close,
    ]
    for step in steps:
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert rows == [2]


def test_close_ends_a_long_read(unopened: Unopened, kind: Kind) -> None:
    if not kind.keeps:
        pytest.skip("memory reads and closes in turn, under one lock")
    if not kind.interrupts:
        pytest.skip("the engine of the tests ends no statement before its time")
    backend = unopened()
    backend.start()
    endless = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )
    outcome: list[str] = []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        try:
            backend.fetch(endless)
        except (BackendUnavailableError, BackendRefusedError) as error:
            outcome.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    reading.wait()
    backend.close()
    thread.join()
    assert len(outcome) == 1


def test_dialect_and_location_are_the_same_before_and_after_start(unopened: Unopened) -> None:
    backend = unopened()
    before = backend.dialect, backend.location
    backend.start()
    assert (backend.dialect, backend.location) == before
    assert backend.location
