"""`CostObservatory`: what things cost, entry by entry, stored and read back."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Any, Final, Self

from exporter.openfinops.backend import PersistenceBackend
from exporter.openfinops.settings import PersistenceConfig
from exporter.openfinops.values import CostCategory, CostEntry
from exporter.query.times import Time

__all__ = ["CostObservatory"]

_RECENT: Final = 100_000


class CostObservatory:
    """Takes costs and answers about them; use it in a `with` statement, or `close` it.

    Nothing is opened until the first call that needs it.

    Args:
        persistence_config: where data is kept; None for the memory of this process.

    Attributes:
        cost_entries: the newest that this object has taken.

    Raises:
        ConfigError: a value of the configuration cannot be used.
    """

    def __init__(self, persistence_config: PersistenceConfig | None = None) -> None:
        self.persistence_backend = PersistenceBackend(persistence_config or PersistenceConfig())
        self.cost_entries: deque[CostEntry] = deque(maxlen=_RECENT)

    def __enter__(self) -> Self:
        self.persistence_backend.start_auto_flush()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_cost_entry(self, cost_entry: CostEntry) -> None:
        """Take a cost; one with the same `entry_id` and time is there already, and stays.

        Raises:
            RecordRefusedError: it cannot be stored as it is: no number, no ISO 4217 code, or
                negative where it is no credit.
            ExporterError: the store does not take it now.
        """
        self.persistence_backend.store_cost_entry(asdict(cost_entry))
        self.cost_entries.append(cost_entry)

    def query_historical_costs(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        category: CostCategory | str | None = None,
        resource_id: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Costs, newest first; `amount` is a float, `tags` a dict."""
        name = category.value if isinstance(category, CostCategory) else category
        return self.persistence_backend.query_cost_entries(
            start_time, end_time, name, resource_id, limit
        )

    def cleanup_old_data(self) -> None:
        """Delete what is older than `retention_days`; it also happens by itself, hourly."""
        self.persistence_backend.cleanup_old_data()

    def close(self) -> None:
        """Write what was taken, and close the store; safe twice."""
        self.persistence_backend.close()
