"""Passwords are visible in no output of the settings except connection_string itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import load
from exporter.config.connection_string import backend_of, redacted
from exporter.errors import ConfigError

URL = "postgresql://finops:{password}@db:5432/cost"
FORMS = st.sampled_from(
    [
        URL,
        "postgresql://finops:{in_url}@db:5432/cost?sslmode=require",
        "postgresql://db/cost?user=finops&password={password}",
        "host=db password={password} dbname=cost",
        "host=db password = '{in_quotes}' dbname=cost",
        "finops:{password}@db:5432/cost",
        "mysql://finops:{password}@db/cost",
        "sqlite://finops:{password}@db/cost",
    ]
)


def filled(form: str, password: str) -> str:
    """The form with the password, in the notation of its place."""
    in_quotes = password.replace("\\", "\\\\").replace("'", "\\'")
    return form.format(password=password, in_url=quote(password, safe=""), in_quotes=in_quotes)


# Ordinary characters, and those with a meaning in a URL, in YAML or for libpq. Long enough not to
# occur in the surrounding text by chance.
PASSWORDS = st.text(
    st.sampled_from("QXZ789@:/?#&=%+$'\"\\ {}[]!*,.-_|<>~äß"), min_size=6, max_size=24
).filter(lambda text: text == text.strip() and "${" not in text and "$$" not in text)


def all_output(load_it: Callable[[], object]) -> str:
    """All texts that a person or a log could see."""
    try:
        settings = load_it()
    except ConfigError as error:
        return "".join([*traceback.format_exception(error), repr(error)])
    return f"{settings} {settings!r} {settings.table}"  # type: ignore[arg-type]  # Settings


def assert_hidden(shown: str, password: str) -> None:
    for notation in {password, quote(password, safe=""), repr(password)[1:-1], quote(password)}:
        assert notation not in shown, shown


@given(form=FORMS, password=PASSWORDS, backend=st.sampled_from(["", "sqlite", "postgresql", "x"]))
def test_from_the_environment(form: str, password: str, backend: str) -> None:
    environ = {"OPENFINOPS_DB_URL": filled(form, password), "OPENFINOPS_BACKEND": backend}
    assert_hidden(all_output(lambda: load(None, environ)), password)


@given(form=FORMS, password=PASSWORDS, key=st.sampled_from(["endpoint", "batch_size", "backend"]))
def test_in_the_wrong_place(form: str, password: str, key: str) -> None:
    overrides = {key: filled(form, password)}
    assert_hidden(all_output(lambda: load(None, {}, overrides=overrides)), password)
    environ = {f"OPENFINOPS_{key.upper()}": filled(form, password)}
    assert_hidden(all_output(lambda: load(None, environ)), password)


def test_a_connection_string_in_the_wrong_place_is_redacted() -> None:
    shown = all_output(lambda: load(None, {"OPENFINOPS_BACKEND": filled(URL, "secret")}))
    assert "OPENFINOPS_BACKEND: found 'postgresql://finops:***@db:5432/cost'" in shown


@given(form=FORMS, password=PASSWORDS, backend=st.sampled_from([None, "sqlite", "timescaledb"]))
def test_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, form: str, password: str, backend: str | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "secret.yaml"
    section = {
        "connection_string": filled(form, password),
        **({"backend": backend} if backend else {}),
    }
    path.write_text(yaml.safe_dump({"exporters": {"openfinops": section}}, allow_unicode=True))
    assert_hidden(all_output(lambda: load(path, {})), password)


@given(form=FORMS, password=PASSWORDS)
def test_in_a_broken_file(
    tmp_path_factory: pytest.TempPathFactory, form: str, password: str
) -> None:
    """The password is not quoted, so that YAML interprets its characters."""
    path = tmp_path_factory.getbasetemp() / "broken.yaml"
    for text in (filled(form, password), password):
        path.write_text(f"exporters:\n  openfinops:\n    connection_string: {text}\n")
        assert_hidden(all_output(lambda: load(path, {})), password)


@given(form=FORMS, password=PASSWORDS)
def test_by_reference(tmp_path_factory: pytest.TempPathFactory, form: str, password: str) -> None:
    path = tmp_path_factory.getbasetemp() / "reference.yaml"
    written = filled(form, "${env:PASSWORD}")
    path.write_text(yaml.safe_dump({"exporters": {"openfinops": {"connection_string": written}}}))
    assert_hidden(all_output(lambda: load(path, {"PASSWORD": password})), password)


@pytest.mark.parametrize(
    ("connection_string", "shown"),
    [
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("sqlite:////var/lib/a b.db", "sqlite:////var/lib/a b.db"),
        ("sqlite:///a.db?key=secret", "sqlite:///a.db?***"),
        ("postgresql://u:secret@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgres://u@h/d", "postgres://u@h/d"),
        ("postgresql://h1:1,h2:2/d", "postgresql://h1:1,h2:2/d"),
        ("postgresql://u:secret@[::1]:5432/d", "postgresql://u:***@[::1]:5432/d"),
        ("postgresql:///d", "postgresql:///d"),
        (
            "postgresql://h/d?sslmode=require&password=secret&options=-csearch",
            "postgresql://h/d?sslmode=require&password=***&options=***",
        ),
        ("postgresql://u:se@cret@h/d", "postgresql://***"),
        ("postgresql://u:se/cret@h/d", "postgresql://***"),
        ("postgresql://u:secret", "postgresql://***"),
        ("host=h password=secret user=u", "host=h password=*** user=u"),
        ("host = h password = 'a b\\' c'", "host=h password=***"),
        ("host=h password=a b", "***"),
        ("host=h password=a'b", "***"),
        ("secret", "***"),
        ("", "***"),
    ],
)
def test_redaction(connection_string: str, shown: str) -> None:
    assert redacted(connection_string) == shown


@given(st.text())
def test_any_text_can_be_redacted(text: str) -> None:
    assert isinstance(redacted(text), str)
    assert backend_of(text) in {None, "sqlite", "postgresql"}


def test_the_connection_string_itself_is_complete() -> None:
    connection_string = filled(URL, "secret")
    settings = load(None, {"OPENFINOPS_DB_URL": connection_string})
    assert settings.exporter.connection_string == connection_string
    shown = {key: value for key, value, _ in settings.table}
    key = "exporters.openfinops.connection_string"
    assert shown[key] == "postgresql://finops:***@db:5432/cost"
    assert "secret" not in repr(settings)
