"""Fixed SQL statements in files under `sql/`, each after a `-- name:` line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

_NAME_LINE: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load_statements(path: str) -> Mapping[str, str]:
    """The statements of one file by name.

    Args:
        path: below `sql/`, such as "sqlite/series.sql".
    """
    text = (files("exporter.backends") / "sql" / path).read_text(encoding="utf-8")
    _, *parts = _NAME_LINE.split(text)
    return {name: sql.strip() for name, sql in zip(parts[0::2], parts[1::2], strict=True)}
