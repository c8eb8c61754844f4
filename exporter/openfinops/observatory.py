"""`CostObservatory`: stores cost entries and queries them."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Any, Final

from exporter.openfinops.backend import PersistedRecords
from exporter.openfinops.records import CostCategory, CostEntry
from exporter.openfinops.settings import PersistenceConfig
from exporter.query.times import Time

_RECENT: Final = 100_000


class CostObservatory(PersistedRecords):
    """Stores cost entries and queries them; use it in a `with` statement, or `close` it.

    The first call that needs the store opens it.

    Args:
        persistence_config: where data is kept; None for the memory of this process.

    Attributes:
        cost_entries: the newest entries that this object stored, 100,000 at most.

    Raises:
        ConfigError: a value of the configuration is invalid.
    """

    def __init__(self, persistence_config: PersistenceConfig | None = None) -> None:
        super().__init__(persistence_config)
        self.cost_entries: deque[CostEntry] = deque(maxlen=_RECENT)

    def add_cost_entry(self, cost_entry: CostEntry) -> None:
        """Store a cost entry; a stored entry with the same `entry_id` and time is kept instead.

        Raises:
            RecordRefusedError: the amount is not a number, the currency is not an ISO 4217 code,
                or the amount is negative and the entry is not a credit.
            ExporterError: the store cannot accept it now.
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
        """Cost entries, newest first; `amount` is a float, `tags` a dict."""
        name = category.value if isinstance(category, CostCategory) else category
        return self.persistence_backend.query_cost_entries(
            start_time, end_time, name, resource_id, limit
        )
