"""Who may come in."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.datastructures import Headers

from microturn.errors import InputError
from microturn.server.access import Access, is_loopback, read_keys

KEY = "a-key-of-sixteen-letters"
OPEN = Access()
CLOSED = Access(
    frozenset({KEY, "another-key-0123456789"}), frozenset({"talk.example"}), frozenset({"https://app.example"})
)


def status(access: Access, path: str = "/v1/live/sessions", *subprotocols: str, **headers: str) -> int:
    refusal = access.refusal(path, Headers({"host": "localhost:8000", **headers}), subprotocols)
    return 200 if refusal is None else refusal[0]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:8000", "[::1]:8000", "192.168.1.5:80", "10.0.0.1"]
)
def test_addresses_and_localhost_are_known(host: str) -> None:
    assert status(OPEN, host=host) == 200


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "talk.example", "127.0.0.1.evil:80", "[::1", "a b"]
)
def test_other_names_are_not(host: str) -> None:
    assert status(OPEN, host=host) == 403


def test_a_name_can_be_allowed() -> None:
    assert status(CLOSED, "/", host="talk.example:443") == 200


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),
        ("http://localhost", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("https://app.example", 403),
    ],
)
def test_pages_of_other_sites_are_refused(origin: str, expected: int) -> None:
    assert status(OPEN, origin=origin) == expected


def test_an_origin_can_be_allowed() -> None:
    assert status(CLOSED, "/", origin="https://app.example") == 200
    assert status(CLOSED, "/", origin="https://app.example:444") == 403


@pytest.mark.parametrize("path", ["/v1/live/sessions", "/v1/models", "/metrics"])
def test_a_key_is_needed(path: str) -> None:
    assert status(CLOSED, path) == 401
    assert status(CLOSED, path, authorization=f"Bearer {KEY}x") == 401
    assert status(CLOSED, path, authorization=f"Basic {KEY}") == 401
    assert status(CLOSED, path, authorization="Bearer ") == 401
    assert status(CLOSED, path, authorization=f"Bearer {KEY}") == 200
    assert status(CLOSED, path, authorization=f"bearer  {KEY}") == 200
    assert status(CLOSED, path, "microturn", f"openai-insecure-api-key.{KEY}") == 200
    assert status(CLOSED, path, "microturn", "openai-insecure-api-key.") == 401


@pytest.mark.parametrize("path", ["/", "/main.js", "/samples/cue.wav", "/healthz", "/readyz"])
def test_the_page_and_its_health_need_none(path: str) -> None:
    assert status(CLOSED, path) == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("# only\n\n", "holds no key"),
        ("short\n", "key 1 must have"),
        (f"{KEY}\nwith spaces in between\n", "key 2"),
    ],
)
def test_a_file_of_keys_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_keys(path)


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# mine\n{KEY}\n\n")
    assert read_keys(path) == {KEY}
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.3.2.1", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.5", "example.org", ""]))
