"""Bearer tokens, over real channels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from kit.receiver import LOGS, Clock, Submitted, plain, refused, send, serving

from exporter.errors import ReceiverError
from exporter.receiver import BearerTokens, Receiver
from exporter.stats import Counters

RETRY = {"grpc-status-details-bin", "google.rpc.retryinfo-bin"}


def authorization(*values: str) -> dict[str, Any]:
    return {"metadata": [("authorization", value) for value in values]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("# agent-7\nalpha\n\n  beta  \r\n")
    return path


def receiver(
    tokens: BearerTokens, submitted: Submitted | None = None, counters: Counters | None = None
) -> Receiver:
    return Receiver(
        submitted or Submitted(), endpoint="127.0.0.1:0", tokens=tokens, counters=counters
    )


def trailing(call: Any) -> set[str]:
    return set(dict(call.trailing_metadata() or ()))


@pytest.mark.parametrize("value", ["Bearer alpha", "bearer beta", "BEARER  alpha"])
def test_each_token_of_the_file_is_valid(path: Path, value: str) -> None:
    counters = Counters()
    one = receiver(BearerTokens(path=path), counters=counters)
    with serving(one) as address, plain(address) as channel:
        assert send(channel, **authorization(value)) == b""
    assert counters.snapshot().requests_unauthenticated == 0


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("Bearer",),
        ("Bearer ",),
        ("alpha",),
        ("Bearer gamma",),
        ("Bearer Alpha",),
        ("Bearer alph",),
        ("Bearer alphabeta",),
        ("Bearer alpha beta",),
        ("Bearer alpha,Bearer gamma",),
        ("Bearer #",),
        ("Bearer # agent-7",),
        ("Basic alpha",),
        ("Bearer gamma", "Bearer alpha"),
    ],
)
def test_everything_else_is_unauthenticated_and_not_received(
    path: Path, values: tuple[str, ...]
) -> None:
    submitted, counters = Submitted(), Counters()
    one = receiver(BearerTokens(path=path), submitted, counters)
    with serving(one) as address, plain(address) as channel:
        call = refused(channel, b"data", **authorization(*values))
    assert call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "authorization" in call.details()
    assert not RETRY & trailing(call)
    assert submitted.requests == []
    assert counters.snapshot().requests_unauthenticated == 1


def test_a_large_request_without_a_token_is_answered(path: Path) -> None:
    submitted = Submitted()
    with serving(receiver(BearerTokens(path=path), submitted)) as address:
        unlimited = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(address, unlimited) as channel:
            call = refused(channel, bytes(32 * 1024 * 1024))
            assert call.code() is grpc.StatusCode.UNAUTHENTICATED
            assert send(channel, b"small", **authorization("Bearer alpha")) == b""
    assert submitted.requests == [b"small"]


def test_signals_that_are_not_taken_need_a_token_too(path: Path) -> None:
    with serving(receiver(BearerTokens(path=path))) as address, plain(address) as channel:
        assert refused(channel, method=LOGS).code() is grpc.StatusCode.UNAUTHENTICATED
        known = refused(channel, method=LOGS, **authorization("Bearer alpha"))
        assert known.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_single_token_with_another_scheme() -> None:
    with (
        serving(receiver(BearerTokens(token="alpha", scheme="Token"))) as address,  # noqa: S106 - a test's
        plain(address) as channel,
    ):
        assert send(channel, **authorization("Token alpha")) == b""
        assert refused(channel, **authorization("Bearer alpha")).code() is (
            grpc.StatusCode.UNAUTHENTICATED
        )


def test_an_empty_scheme_means_the_bare_token(path: Path) -> None:
    with (
        serving(receiver(BearerTokens(path=path, scheme=""))) as address,
        plain(address) as channel,
    ):
        assert send(channel, **authorization("alpha")) == b""
        assert refused(channel, **authorization("gamma")).code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_changed_file_is_read_again_after_a_second(path: Path) -> None:
    clock = Clock()
    with (
        serving(receiver(BearerTokens(path=path, clock=clock))) as address,
        plain(address) as channel,
    ):
        path.write_text("gamma\n")
        assert send(channel, **authorization("Bearer alpha")) == b""  # not checked yet
        clock.now += 1
        assert refused(channel, **authorization("Bearer alpha")).code() is (
            grpc.StatusCode.UNAUTHENTICATED
        )
        assert send(channel, **authorization("Bearer gamma")) == b""


def test_a_file_moved_to_its_place_is_noticed_by_its_inode(path: Path) -> None:
    clock, before = Clock(), path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().replace(b"alpha", b"gamma"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    with serving(receiver(BearerTokens(path=path, clock=clock))) as address:
        other.replace(path)
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        clock.now += 1
        with plain(address) as channel:
            assert send(channel, **authorization("Bearer gamma")) == b""


@pytest.mark.parametrize("content", [None, "", "# none yet\n\n"])
def test_without_any_token_all_requests_are_refused_as_retryable(
    path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock, counters = Clock(), Counters()
    one = receiver(BearerTokens(path=path, clock=clock), counters=counters)
    with serving(one) as address, plain(address) as channel:
        before = path.read_text()
        path.unlink() if content is None else path.write_text(content)
        clock.now += 1
        for value in ("Bearer alpha", "Bearer ", "Bearer # none yet"):
            call = refused(channel, **authorization(value))
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            assert trailing(call) >= RETRY
        assert counters.snapshot().requests_turned_away == 3
        assert caplog.text.count(str(path)) == 1  # logged once, not with each request
        path.write_text(before)
        clock.now += 1
        assert send(channel, **authorization("Bearer alpha")) == b""


@pytest.mark.parametrize("content", [None, "", "# none yet\n", "x" * 1_100_000])
def test_an_unusable_file_is_refused_at_start(path: Path, content: str | None) -> None:
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ReceiverError, match=f"bearer tokens in {path}: .*one token a line"):
        receiver(BearerTokens(path=path)).start()


def test_refused_requests_do_not_fill_the_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    one = receiver(BearerTokens(path=path), counters=counters)
    with serving(one) as address, plain(address) as channel:
        for _ in range(5):
            refused(channel, **authorization("Bearer guess"))
    assert counters.snapshot().requests_unauthenticated == 5
    assert len(caplog.records) == 1


def test_no_token_is_in_a_repr_a_log_line_or_a_reply(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    clock = Clock()
    tokens = BearerTokens(path=path, clock=clock)
    with serving(receiver(tokens)) as address, plain(address) as channel:
        path.write_text("gamma\n")
        clock.now += 1
        call = refused(channel, **authorization("Bearer guess"))
    shown = call.details() + caplog.text + repr(tokens) + repr(BearerTokens(token="gamma"))  # noqa: S106 - a test's
    for secret in ("alpha", "beta", "gamma", "guess"):
        assert secret not in shown
