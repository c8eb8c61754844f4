"""Log records as cost entries, and records that are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.otlp.attributes import key_values
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from exporter.costs.events import CostEventRule, decode_cost_events
from exporter.costs.rules import FieldSource
from exporter.errors import DecodeError
from exporter.model import CostEntry
from exporter.wire import AgeLimits, Decoded

TIME = 1_700_000_000_000_000_000
GOOD: Mapping[str, Any] = {"amount": "12.34", "currency": "USD"}


def request(
    *records: Mapping[str, Any],
    event_name: str = "openfinops.cost",
    time: int = TIME,
    resource: Mapping[str, Any] | None = None,
) -> bytes:
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    group.resource.attributes.extend(key_values(resource or {}))
    scope = group.scope_logs.add()
    for attributes in records:
        record = scope.log_records.add(time_unix_nano=time, event_name=event_name)
        record.attributes.extend(key_values(attributes))
    return message.SerializeToString()


def only(decoded: Decoded) -> CostEntry:
    assert decoded.rejections.counts == {}
    (entry,) = decoded.batch.costs
    return entry


def entry_of(attributes: Mapping[str, Any], **options: Any) -> CostEntry:
    """The entry of a request with one record."""
    return only(decode_cost_events(request(attributes, **options)))


def test_the_fields_of_an_entry() -> None:
    entry = entry_of(
        {
            **GOOD,
            "entry_id": "invoice-1",
            "category": "compute",
            "resource_id": "vm-1",
            "region": "eu-1",
            "description": "a machine",
            "billing_period": "2023-10",
            "cluster_id": "c1",
            "team": "blue",
            "tags": {"env": "prod", "spot": True},
        },
        resource={"service.name": "billing", "host.name": "n1", "cloud.region": "us-1"},
    )
    assert entry == CostEntry(
        entry_id="invoice-1",
        time_unix_nano=TIME,
        resource_id="vm-1",
        category="compute",
        amount=Decimal("12.34"),
        currency="USD",
        region="eu-1",
        cluster_id="c1",
        node_id="n1",
        service_name="billing",
        tags='{"env":"prod","spot":true,"team":"blue"}',
        description="a machine",
        billing_period="2023-10",
        source="log",
        source_name="openfinops.cost",
    )


def test_missing_fields_come_from_the_resource_or_have_defaults() -> None:
    resource = {"cloud.resource_id": "arn:1", "cloud.region": "us-1", "k8s.cluster.name": "prod"}
    entry = entry_of(GOOD, resource=resource)
    assert (entry.resource_id, entry.region, entry.cluster_id) == ("arn:1", "us-1", "prod")
    bare = entry_of(GOOD)
    assert (bare.resource_id, bare.category, bare.region) == ("default", "other", None)
    assert (bare.service_name, bare.tags, bare.billing_period) == (None, "{}", "2023-11")


def test_cluster_and_node_come_from_the_given_attributes() -> None:
    entry = only(
        decode_cost_events(
            request({**GOOD, "site": "s1"}, resource={"rack": "r1"}),
            cluster_id_attributes=("site",),
            node_id_attributes=("node", "rack"),
        )
    )
    assert (entry.cluster_id, entry.node_id) == ("s1", "r1")


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("0.10", "0.10"),
        ("1234567890.123456789", "1234567890.123456789"),
        (7, "7"),
        (0.1, "0.1"),
        (1e-9, "1e-9"),
        ("0", "0"),
    ],
)
def test_amounts_keep_their_digits(written: Any, amount: str) -> None:
    entry = entry_of({**GOOD, "amount": written})
    assert entry.amount == Decimal(amount)


def test_event_name_can_be_an_attribute_and_time_the_observed_time() -> None:
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.observed_time_unix_nano = TIME
    record.attributes.extend(key_values({**GOOD, "event.name": "openfinops.cost"}))
    entry = only(decode_cost_events(message.SerializeToString()))
    assert entry.time_unix_nano == TIME
    assert entry.tags == "{}"


def test_the_default_id_is_a_hash_of_the_content() -> None:
    one = entry_of({"amount": "1", "currency": "USD", "a": "x"})
    again = entry_of({"a": "x", "currency": "USD", "amount": "1"})
    others = [
        entry_of({**GOOD, "amount": "2"}),
        entry_of({"amount": "1", "currency": "USD", "a": "y"}),
        entry_of({"amount": "1", "currency": "USD", "a": "x"}, time=TIME + 1),
        entry_of({"amount": "1", "currency": "USD", "a": "x"}, resource={"host.name": "n"}),
    ]
    assert one.entry_id == again.entry_id
    assert len({one.entry_id, *(other.entry_id for other in others)}) == 5


def test_the_hash_is_of_the_whole_record_without_its_observed_time() -> None:
    def record_id(scope: str = "billing", **fields: Any) -> str:
        message = ExportLogsServiceRequest.FromString(request({"amount": "1", "currency": "USD"}))
        (group,) = message.resource_logs[0].scope_logs
        group.scope.name = scope
        record = group.log_records[0]
        record.observed_time_unix_nano = fields.pop("observed", TIME)
        record.body.string_value = fields.pop("body", "call")
        for name, value in fields.items():
            setattr(record, name, value)
        return only(decode_cost_events(message.SerializeToString())).entry_id

    assert record_id() == record_id(observed=TIME + 5)
    others = [
        record_id(body="another call"),
        record_id(trace_id=b"1" * 16),
        record_id(span_id=b"1" * 8),
        record_id(scope="other"),
        record_id(severity_text="WARN"),
    ]
    assert len({record_id(), *others}) == 6


def test_the_same_id_twice_in_one_request_is_one_entry() -> None:
    decoded = decode_cost_events(
        request({**GOOD, "entry_id": "a"}, {**GOOD, "entry_id": "a", "amount": "9"})
    )
    assert only(decoded).amount == Decimal("12.34")


CLAUDE = CostEventRule(
    "claude_code.api_request", ("cost_usd",), currency=(FieldSource(constant="USD"),)
)


def claude_request(**record: Any) -> bytes:
    """As Claude Code sends it: the whole name is the body, and the attribute has a short one."""
    attributes = {
        "event.name": "api_request",
        "model": "claude-sonnet-4-5",
        "cost_usd": 0.0421,
        "input_tokens": 12,
        "session.id": "s-1",
        "user.email": "a@b.example",
        "prompt": "x" * 1_001,
        **record,
    }
    message = ExportLogsServiceRequest.FromString(request(attributes, event_name=""))
    message.resource_logs[0].scope_logs[0].log_records[
        0
    ].body.string_value = "claude_code.api_request"
    return message.SerializeToString()


def test_a_rule_makes_a_cost_of_another_event() -> None:
    entry = only(decode_cost_events(claude_request(), rules=[CLAUDE]))
    assert (entry.amount, entry.currency) == (Decimal("0.0421"), "USD")
    assert (entry.category, entry.resource_id) == ("ai", "claude-sonnet-4-5")
    assert (entry.source, entry.source_name) == ("log", "claude_code.api_request")
    assert json.loads(entry.tags) == {
        "input_tokens": 12,
        "model": "claude-sonnet-4-5",
        "session.id": "s-1",
        "user.email": "a@b.example",
        "session": "s-1",
        "user": "a@b.example",
    }


def test_other_events_are_no_cost_without_a_rule() -> None:
    assert decode_cost_events(claude_request()).batch.costs == ()
    decoded = decode_cost_events(claude_request(cost_usd=""), rules=[CLAUDE])
    assert decoded.rejections.counts == {("api_request", "it has no amount"): 1}
    (key,) = decode_cost_events(request(GOOD, event_name="login"), rules=[CLAUDE]).rejections.counts
    assert "only events named openfinops.cost, claude_code.api_request are stored" in key[1]
    assert entry_of(GOOD).source_name == "openfinops.cost"


def test_the_fields_of_another_event_come_from_its_rule() -> None:
    rule = CostEventRule(
        "invoice.*",
        ("total", "net"),
        category=(FieldSource(attribute="kind"), FieldSource(constant="support")),
        resource_id=(FieldSource(attribute="contract"),),
        region=(FieldSource(constant="eu"),),
        tags={"team": FieldSource(attribute="team")},
    )
    data = request(
        {"net": "9.50", "currency": "eur", "contract": "c-7", "team": "blue", "x": 1},
        event_name="invoice.paid",
    )
    entry = only(decode_cost_events(data, rules=[rule]))
    assert (entry.amount, entry.currency, entry.category) == (Decimal("9.50"), "EUR", "support")
    assert (entry.resource_id, entry.region, entry.tags) == ("c-7", "eu", '{"team":"blue"}')


def test_a_notional_cost_has_a_currency_of_its_own() -> None:
    rule = replace(CLAUDE, notional=True)
    entry = only(decode_cost_events(claude_request(), rules=[rule]))
    assert (entry.amount, entry.currency) == (Decimal("0.0421"), "USD notional")
    assert json.loads(entry.tags)["notional"] is True


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"currency": "USD"}, "it has no amount"),
        ({**GOOD, "amount": ""}, "it has no amount"),
        ({**GOOD, "amount": "much"}, "its amount 'much' is not a number"),
        ({**GOOD, "amount": True}, "its amount 'true' is not a number"),
        ({**GOOD, "amount": "NaN"}, "its amount is NaN: it is not a finite number"),
        ({**GOOD, "amount": "sNaN"}, "its amount is sNaN: it is not a finite number"),
        ({**GOOD, "amount": float("inf")}, "is not a number"),
        ({**GOOD, "amount": "1e400"}, "not a finite number"),
        ({**GOOD, "amount": "1e16"}, "larger than"),
        ({**GOOD, "amount": "-1"}, "negative"),
        ({"amount": "1"}, "it has no currency"),
        ({**GOOD, "currency": "gold"}, "its currency 'gold' is not an ISO 4217 currency"),
        ({**GOOD, "tags": "a=b"}, "its attribute tags is not a map"),
        ({**GOOD, "entry_id": "x" * 600}, "entry_id is longer than"),
    ],
)
def test_bad_events_are_refused_with_a_reason(record: Mapping[str, Any], reason: str) -> None:
    decoded = decode_cost_events(request(record, GOOD))
    assert len(decoded.batch.costs) == 1
    assert decoded.rejections.total == 1
    assert reason in decoded.rejections.message()
    assert "1 log record rejected" in decoded.rejections.message()


def test_times_outside_the_window_are_refused() -> None:
    window = AgeLimits(max_past_days=1, max_future_days=1).window(TIME)
    assert decode_cost_events(request(GOOD), window).batch.costs
    late = decode_cost_events(request(GOOD, time=TIME + 10 * 86_400 * 10**9), window)
    none = decode_cost_events(request(GOOD, time=0), window)
    far = decode_cost_events(request(GOOD, time=2**64 - 1))
    assert (late.batch.costs, none.batch.costs, far.batch.costs) == ((), (), ())
    assert "time_unix_nano and observed_time_unix_nano are 0" in none.rejections.message()
    assert "later than the year 2262" in far.rejections.message()


def test_other_records_are_counted_and_not_stored() -> None:
    decoded = decode_cost_events(request(GOOD, {}, event_name="user.login"))
    assert decoded.batch.costs == ()
    assert decoded.rejections.total == 2
    assert "2 log records rejected" in decoded.rejections.message()
    assert "only events named openfinops.cost are stored" in decoded.rejections.message()
    assert "user.login" in decoded.rejections.message()
    nameless = decode_cost_events(request({}, event_name=""))
    assert "a record without a name" in nameless.rejections.message()


def test_duplicate_attributes_are_refused() -> None:
    message = ExportLogsServiceRequest.FromString(request(GOOD))
    record = message.resource_logs[0].scope_logs[0].log_records[0]
    record.attributes.extend(key_values({"currency": "EUR"}))
    decoded = decode_cost_events(message.SerializeToString())
    assert "occurs twice" in decoded.rejections.message()


def test_bytes_that_are_no_logs_raise_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="ExportLogsServiceRequest"):
        decode_cost_events(b"\xff\xff\xff")


@given(
    st.binary(max_size=60)
    | st.tuples(st.binary(min_size=1, max_size=4), st.integers(0, 200)).map(
        lambda cut: request(GOOD)[: cut[1]] + cut[0] + request(GOOD)[cut[1] :]
    )
)
def test_any_bytes_give_entries_and_reasons_or_a_decode_error(data: bytes) -> None:
    try:
        decoded = decode_cost_events(data)
    except DecodeError:
        return
    for entry in decoded.batch.costs:
        assert entry.amount.is_finite()
        assert entry.time_unix_nano > 0
        assert json.loads(entry.tags) is not None
