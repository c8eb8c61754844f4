"""docs/costs.md agrees with the code."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from exporter.config import load
from exporter.config.exporter_keys import CostEvent, LlmPrice, Rule
from exporter.costs.default_rules import OPENCOST_RULES
from exporter.costs.entry_fields import CREDIT_CATEGORIES, FIELD_ATTRIBUTES

PAGE = (Path(__file__).parent.parent / "docs" / "costs.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_load(example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example)
    settings = load(path, {})
    assert settings.warnings == ()
    exporter = settings.exporter
    assert exporter.cost_rules or exporter.cost_events or exporter.llm_prices


def test_every_key_is_in_an_example() -> None:
    for key in (*Rule.model_fields, *CostEvent.model_fields, *LlmPrice.model_fields):
        assert any(re.search(rf"\b{key}:", example) for example in EXAMPLES), key


def test_every_attribute_and_metric_is_named() -> None:
    attributes = chain.from_iterable(FIELD_ATTRIBUTES.values())
    for name in (*attributes, *CREDIT_CATEGORIES, *OPENCOST_RULES):
        assert f"`{name}`" in PAGE, name
