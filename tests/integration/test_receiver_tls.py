"""TLS of the receiver, over real channels and with certificates made for each test."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from kit.receiver import (
    Authority,
    Clock,
    Files,
    Submitted,
    encrypted,
    expired_authority,
    plain,
    refused,
    send,
    serving,
)

from exporter.errors import ReceiverError
from exporter.receiver import Certificates, Receiver


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "theirs")


def receiver(files: Files, **options: Any) -> Receiver:
    return Receiver(
        Submitted(),
        endpoint="127.0.0.1:0",
        tls=Certificates(files.cert_file, files.key_file, **options),
    )


def copy(source: Files, target: Files) -> None:
    shutil.copy(source.cert_file, target.cert_file)
    shutil.copy(source.key_file, target.key_file)


def test_a_client_that_trusts_the_authority_is_served(ours: Authority) -> None:
    with serving(receiver(ours.issue("server"))) as address, encrypted(address, ours) as channel:
        assert send(channel) == b""


def test_a_client_that_trusts_another_authority_sends_nothing(
    ours: Authority, theirs: Authority
) -> None:
    with serving(receiver(ours.issue("server"))) as address, encrypted(address, theirs) as channel:
        call = refused(channel)
    assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert "CERTIFICATE_VERIFY_FAILED" in call.details()


def test_plain_text_is_refused(ours: Authority) -> None:
    with serving(receiver(ours.issue("server"))) as address, plain(address) as channel:
        assert refused(channel).code() is grpc.StatusCode.UNAVAILABLE


def test_tls_works_on_a_unix_socket(ours: Authority, tmp_path: Path) -> None:
    files = ours.issue("server")
    tls = Certificates(files.cert_file, files.key_file)
    one = Receiver(Submitted(), endpoint=f"unix://{tmp_path}/otlp.sock", tls=tls)
    with serving(one) as address, encrypted(address, ours, name="localhost") as channel:
        assert send(channel) == b""


def test_with_a_client_authority_each_client_needs_a_certificate_of_it(
    ours: Authority, theirs: Authority
) -> None:
    with serving(receiver(ours.issue("server"), client_ca_file=theirs.file)) as address:
        with encrypted(address, ours, theirs.issue("agent", "agent-7")) as channel:
            assert send(channel) == b""
        for stranger in (
            None,
            ours.issue("stranger", "agent-7"),
            theirs.issue("former", "agent-6", days=-1),
        ):
            with encrypted(address, ours, stranger) as channel:
                assert refused(channel).code() is grpc.StatusCode.UNAVAILABLE


def test_a_replaced_certificate_is_shown_to_the_next_client(
    ours: Authority, theirs: Authority
) -> None:
    clock, files = Clock(), ours.issue("server")
    with serving(receiver(files, reload_interval_seconds=30, clock=clock)) as address:
        copy(theirs.issue("new"), files)
        with encrypted(address, ours) as channel:
            assert send(channel) == b""  # not checked yet
        clock.now += 30
        with encrypted(address, theirs) as channel:
            assert send(channel) == b""
        with encrypted(address, ours) as channel:
            assert refused(channel).code() is grpc.StatusCode.UNAVAILABLE


def test_a_replaced_authority_verifies_the_next_client(ours: Authority, theirs: Authority) -> None:
    clock, accepted = Clock(), ours.file.with_name("accepted.pem")
    shutil.copy(ours.file, accepted)
    one = receiver(ours.issue("server"), client_ca_file=accepted, clock=clock)
    with serving(one) as address:
        shutil.copy(theirs.file, accepted)
        clock.now += 60
        with encrypted(address, ours, theirs.issue("agent")) as channel:
            assert send(channel) == b""
        with encrypted(address, ours, ours.issue("former")) as channel:
            assert refused(channel).code() is grpc.StatusCode.UNAVAILABLE


def test_a_new_certificate_is_used_only_with_its_key(
    ours: Authority, theirs: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock, files, new = Clock(), ours.issue("server"), theirs.issue("new")
    with serving(receiver(files, clock=clock)) as address:
        shutil.copy(new.cert_file, files.cert_file)
        clock.now += 60
        with encrypted(address, ours) as channel:
            assert send(channel) == b""
        assert "stays in use" in caplog.text
        assert str(files.key_file) in caplog.text
        shutil.copy(new.key_file, files.key_file)
        clock.now += 60
        with encrypted(address, theirs) as channel:
            assert send(channel) == b""


@pytest.mark.parametrize(
    ("days", "named"), [(-1, "expired"), (-0.001, "expired")], ids=["yesterday", "just now"]
)
def test_an_expired_certificate_is_refused_at_start(
    ours: Authority, days: float, named: str
) -> None:
    files = ours.issue("server", days=days)
    with pytest.raises(ReceiverError, match=rf"{files.cert_file}.*{named}.*renew"):
        receiver(files).start()


def test_a_key_of_another_certificate_is_refused_at_start(ours: Authority) -> None:
    files, other = ours.issue("server"), ours.issue("other")
    mixed = Files(files.cert_file, other.key_file)
    with pytest.raises(ReceiverError, match=f"{other.key_file}.*{files.cert_file}.*made together"):
        receiver(mixed).start()


def test_an_encrypted_key_is_refused_at_start(ours: Authority) -> None:
    files = ours.issue("server")
    key = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    files.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ReceiverError, match=f"{files.key_file}: it is encrypted; decrypt it"):
        receiver(files).start()


@pytest.mark.parametrize("broken", ["cert_file", "key_file", "client_ca_file"])
@pytest.mark.parametrize("how", ["missing", "a folder", "no PEM", "empty"])
def test_an_unusable_file_is_named(ours: Authority, broken: str, how: str) -> None:
    files = ours.issue("server")
    paths = {
        "cert_file": files.cert_file,
        "key_file": files.key_file,
        "client_ca_file": ours.file,
    }
    path = paths[broken]
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "missing":
        path.write_text("not a certificate\n" if how == "no PEM" else "")
    with pytest.raises(ReceiverError, match=f"cannot use TLS: .*{path}.*; give "):
        receiver(files, client_ca_file=ours.file).start()


def test_expired_authorities_are_refused_at_start(ours: Authority, tmp_path: Path) -> None:
    files, former = ours.issue("server"), tmp_path / "former.pem"
    expired_authority(former)
    with pytest.raises(ReceiverError, match=f"{former}: expired on .*in use now"):
        receiver(files, client_ca_file=former).start()


def test_no_key_is_in_a_repr_or_an_error(ours: Authority) -> None:
    files = ours.issue("server")
    body = files.key_file.read_text().splitlines()[1]
    tls = Certificates(files.cert_file, files.key_file)
    assert "GMT" in tls.check()
    assert body not in repr(tls)
    files.cert_file.write_text(files.key_file.read_text())
    with pytest.raises(ReceiverError) as caught:
        tls.check()
    assert body not in str(caught.value)
