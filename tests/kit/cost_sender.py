"""A sender whose metrics become cost samples, and the metrics that it sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.gen_ai import TokenPrices
from exporter.costs.rules import CostRule
from exporter.model import CostEntry, CostSample
from exporter.series_cache import SeriesCache
from exporter.wire import decode
from kit.cost_store import CostStore
from kit.otlp.attributes import key_values

DELTA: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
MINUTE: Final = 60_000_000_000
START: Final = 1_700_000_000_000_000_000
_HOUR = 60 * MINUTE


def dotted(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as attributes: `a__b` is `a.b`."""
    return {name.replace("__", "."): value for name, value in attributes.items()}


class Sender:
    """A sender whose metrics are decoded and derived with their own cache and rules."""

    def __init__(
        self,
        *rules: CostRule,
        use_defaults: bool = True,
        prices: TokenPrices | None = None,
        **resource: Any,
    ) -> None:
        self.series = SeriesCache()
        self.cost_deriver = CostDeriver(
            rules, use_defaults=use_defaults, prices=prices, is_cached=self.series.has_series
        )
        self.resource = dotted(resource)
        self.refused: dict[tuple[str, str], int] = {}
        self.samples: list[CostSample] = []

    def send(self, *metrics: Metric) -> Sequence[CostSample]:
        message = ExportMetricsServiceRequest()
        group = message.resource_metrics.add()
        group.resource.attributes.extend(key_values(self.resource))
        group.scope_metrics.add().metrics.extend(metrics)
        return self.take(message.SerializeToString())

    def take(self, data: bytes) -> Sequence[CostSample]:
        decoded = decode(data, self.series)
        assert not decoded.rejections.counts
        batch, refused = self.cost_deriver.derive(decoded.batch)
        assert batch.points is decoded.batch.points  # deriving costs removes no point
        self.refused.update(refused)
        self.samples += batch.cost_samples
        return batch.cost_samples

    def entries(self) -> list[CostEntry]:
        store = CostStore()
        store.write(self.samples)
        return [store.entries[key] for key in sorted(store.entries)]

    def total(self) -> Decimal:
        return sum((entry.amount for entry in self.entries()), Decimal(0))

    @property
    def reasons(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.refused)


def histogram(
    name: str,
    value: float | None,
    at: int = START,
    *,
    temporality: Any = DELTA,
    exponential: bool = False,
    count: int = 2,
    **attributes: Any,
) -> Metric:
    """A histogram of one point whose sum is the value; None is a point without a sum."""
    metric = Metric(name=name)
    data = metric.exponential_histogram if exponential else metric.histogram
    data.aggregation_temporality = temporality
    point = data.data_points.add(
        time_unix_nano=at, start_time_unix_nano=START - _HOUR, count=count, sum=value
    )
    if exponential:
        point.zero_count = count
    point.attributes.extend(key_values(dotted(attributes)))
    return metric
