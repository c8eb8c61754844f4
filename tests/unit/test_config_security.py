"""TLS and bearer tokens in the configuration: incomplete settings are errors."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from kit.configuration import error_of_text, load_text

from exporter.config import Settings
from exporter.errors import ConfigError

GRPC = "receivers.otlp.protocols.grpc"
TOKEN = "s3cret-t0ken"  # noqa: S105 - a test's


ENVIRONMENT = {"TOKEN": TOKEN, "EMPTY": ""}


def file_text(grpc: str, extensions: str, started: str) -> str:
    """A file with this text in the section grpc, these extensions, and those that are started."""
    return (
        f"receivers: {{otlp: {{protocols: {{grpc: {{{grpc}}}}}}}}}\n"
        f"extensions: {{{extensions}}}\n"
        f"service: {{extensions: [{started}]}}\n"
    )


def configured(tmp_path: Path, grpc: str = "", extensions: str = "", started: str = "") -> Settings:
    return load_text(tmp_path, file_text(grpc, extensions, started), ENVIRONMENT)


def error(tmp_path: Path, grpc: str = "", extensions: str = "", started: str = "") -> str:
    return error_of_text(tmp_path, file_text(grpc, extensions, started), ENVIRONMENT)


@pytest.mark.parametrize(
    ("tls", "missing"),
    [
        ("cert_file: a.pem", "key_file is"),
        ("key_file: a.key", "cert_file is"),
        ("client_ca_file: ca.pem", "cert_file and key_file is"),
        ("reload_interval: 5s", "cert_file and key_file is"),
        ('min_version: "1.2"', "cert_file and key_file is"),
    ],
)
def test_incomplete_tls_is_an_error(tmp_path: Path, tls: str, missing: str) -> None:
    message = error(tmp_path, f"tls: {{{tls}}}")
    assert f"config.yaml:1: {GRPC}.tls." in message
    assert f"{missing} missing" in message
    assert "1 error:" in message


@pytest.mark.parametrize("section", ["tls", "auth"])
@pytest.mark.parametrize("empty", ["", "{}", "~", "[]"])
def test_an_empty_section_is_an_error(tmp_path: Path, section: str, empty: str) -> None:
    message = error(tmp_path, f"{section}: {empty}")
    assert f"the section {section} is empty" in message


@pytest.mark.parametrize("written", ['"1.2"', "1.2"])
def test_the_lowest_tls_version_is_1_2(tmp_path: Path, written: str) -> None:
    tls = f"tls: {{cert_file: a, key_file: b, min_version: {written}}}"
    settings = configured(tmp_path, tls)
    rows = {key: value for key, value, _ in settings.table}
    assert rows[f"{GRPC}.tls.min_version"] == "1.2"
    assert rows[f"{GRPC}.tls.reload_interval"] == "60s"


def test_an_authenticator_needs_its_extension_in_three_places(tmp_path: Path) -> None:
    auth, extension = "auth: {authenticator: bearertokenauth}", "bearertokenauth: {filename: f}"
    assert "is not defined under extensions" in error(tmp_path, auth)
    assert "is missing from service.extensions" in error(tmp_path, auth, extension)
    tokens = configured(tmp_path, auth, extension, "bearertokenauth").receiver.tokens
    assert tokens is not None
    assert tokens.path == Path("f")


@pytest.mark.parametrize("extension", ["", "bearertokenauth:", "bearertokenauth: {scheme: Token}"])
def test_an_authenticator_without_tokens_is_an_error(tmp_path: Path, extension: str) -> None:
    auth = "auth: {authenticator: bearertokenauth}"
    message = error(tmp_path, auth, extension, "bearertokenauth")
    assert "filename" in message or "is not defined" in message


@pytest.mark.parametrize("started", ["", "bearertokenauth"])
def test_an_extension_that_no_receiver_names_gives_a_warning(tmp_path: Path, started: str) -> None:
    settings = configured(tmp_path, "", "bearertokenauth: {filename: tokens}", started)
    assert settings.receiver.tokens is None
    (warning,) = settings.warnings
    assert "config.yaml:2: extensions.bearertokenauth" in warning
    assert "it refuses no client" in warning


def test_an_extension_of_another_kind_is_an_error(tmp_path: Path) -> None:
    message = error(tmp_path, "auth: {authenticator: oidc}", "oidc: {}", "oidc")
    assert "the extension oidc is not supported, the only one here is bearertokenauth" in message


def test_a_token_may_come_from_the_environment(tmp_path: Path) -> None:
    auth, extension = "auth: {authenticator: bearertokenauth}", "bearertokenauth: {token: '%s'}"
    settings = configured(tmp_path, auth, extension % "${env:TOKEN}", "bearertokenauth")
    assert settings.receiver.tokens is not None
    assert settings.receiver.tokens.token == TOKEN
    assert "it is empty" in error(tmp_path, auth, extension % "${env:EMPTY}", "bearertokenauth")


@pytest.mark.parametrize(
    "extension",
    [
        f"bearertokenauth: {{token: {TOKEN}}}",
        f"bearertokenauth: {{token: {TOKEN} with more}}",
        f"bearertokenauth: {{token: [{TOKEN}]}}",
        f"bearertokenauth: {{token: {{{TOKEN}: {TOKEN}}}}}",
        f"bearertokenauth: {TOKEN}",
        f"bearertokenauth: [{TOKEN}]",
        f"bearertokenauth: {{filename: [{TOKEN}]}}",
        f"bearertokenauth: {{tokens: [{TOKEN}]}}",
        f"bearertokenauth: {{tokn: {TOKEN}}}",
        f"bearertokenauth: {{scheme: [{TOKEN}], token: ok}}",
        f"bearertokenauth: {{token: {TOKEN}, filename: f}}",
    ],
)
def test_a_token_is_never_shown(tmp_path: Path, extension: str) -> None:
    auth = "auth: {authenticator: bearertokenauth}"
    try:
        settings = configured(tmp_path, auth, extension, "bearertokenauth")
        shown = f"{settings} {settings!r} {settings.table} {settings.warnings}"
    except ConfigError as error:
        shown = "".join([*traceback.format_exception(error), repr(error)])
    assert TOKEN not in shown
    assert "config.yaml" in shown
