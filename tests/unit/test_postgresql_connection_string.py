"""Connection strings of PostgreSQL: messages show their location, and no secret."""

from __future__ import annotations

import pytest

from exporter.backends import open_backend
from exporter.backends.postgresql.connection import describe_location, parse_connection_string
from exporter.errors import ConfigError


@pytest.mark.parametrize(
    ("connection_string", "location"),
    [
        ("postgresql://localhost/openfinops", "localhost:5432/openfinops"),
        ("postgres://anna:secret@db.example.com:6543/costs", "db.example.com:6543/costs"),
        ("postgresql://anna:s%40cret@db/costs?sslmode=require", "db:5432/costs"),
        ("postgresql://[::1]:5433/costs", "::1:5433/costs"),
        ("postgresql://a,b:6543/costs", "a:5432,b:6543/costs"),
        ("postgresql://a,b/costs", "a:5432,b:5432/costs"),
        ("postgresql:///costs?host=/run/postgresql", "/run/postgresql:5432/costs"),
        ("host=db port=6543 dbname=costs user=anna password='se cret'", "db:6543/costs"),
        ("hostaddr=10.0.0.1 dbname=costs", "10.0.0.1:5432/costs"),
        ("dbname=costs", "localhost:5432/costs"),
        ("user=anna password=secret", "localhost:5432/anna"),
        ("service=metrics password=secret", "service metrics"),
        ("postgresql://db", "db:5432/"),
    ],
)
def test_the_location_contains_host_port_and_database_but_no_secret(
    connection_string: str, location: str
) -> None:
    assert describe_location(parse_connection_string(connection_string, "postgresql")) == location
    backend = open_backend("postgresql", connection_string, max_memory_entries=1)
    assert backend.location == location


@pytest.mark.parametrize("name", ["postgresql", "timescaledb"])
@pytest.mark.parametrize(
    "connection_string",
    [
        "postgresql:/anna:secret@db/costs",
        "mysql://anna:secret@db/costs",
        "postgresql://anna:secret@db/costs?sslmod=require",
        "host=db password='secret",
        "secret",
        "postgresql://anna:%zzsecret@db/costs",
    ],
)
def test_an_invalid_connection_string_is_refused_and_not_quoted(
    connection_string: str, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"backend {name}: connection_string") as caught:
        open_backend(name, connection_string, max_memory_entries=1)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_connection_string_is_required() -> None:
    with pytest.raises(ConfigError, match="needs connection_string, for example postgresql://"):
        open_backend("postgresql", None, max_memory_entries=1)
