"""The wire's types: against those of the openai package, and with whatever else may come."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.live.client_event import ClientEvent

from microturn.server.wire import KNOWN, UNSUPPORTED, EventError, decode


def type_of(model: Any) -> str:
    """The ``type`` of one of the openai package's events."""
    return str(get_args(model.model_fields["type"].annotation)[0])


def test_every_event_of_the_openai_package_is_known_or_unsupported() -> None:
    union = get_args(ClientEvent)[0]
    types = {type_of(model) for model in get_args(union)}
    assert len(types) == 15
    assert types <= KNOWN | UNSUPPORTED
    assert not KNOWN & UNSUPPORTED


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("", "invalid_json", None),
        ("[]", "invalid_json", None),
        ("{}", "invalid_json", None),
        ('{"type": 3}', "invalid_json", None),
        ('{"type": "session.close"', "invalid_json", None),
        (b'{"type": "session.close\xff"}', "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ('{"type": "session.fly"}', "unknown_event", None),
        ('{"type": "response.create"}', "unsupported", None),
        ('{"type": "session.close", "now": true}', "unknown_parameter", "now"),
        ('{"type": "session.start"}', "missing_parameter", "session"),
        ('{"type": "session.start", "session": {}}', "missing_parameter", "session.model"),
        ('{"type": "session.start", "session": {"model": "a", "voice": 1}}', "unknown_parameter", "session.voice"),
        (
            '{"type": "session.start", "session": {"model": "a", "audio": {"format": {"rate": 44100}}}}',
            "invalid_value",
            "session.audio.format.rate",
        ),
        ('{"type": "session.input_audio.append", "audio": "***"}', "invalid_value", "audio"),
        ('{"type": "session.input_audio.append", "audio": 5}', "invalid_value", "audio"),
        ('{"type": "session.input_video.append", "image": "", "at_ms": -1}', "invalid_value", "at_ms"),
        ('{"type": "session.input_video.append", "image": "", "at_ms": 1e999}', "invalid_value", "at_ms"),
        ('{"type": "session.close", "event_id": 5}', "invalid_value", "event_id"),
    ],
)
def test_what_is_wrong_is_named(message: str | bytes, code: str, param: str | None) -> None:
    with pytest.raises(EventError) as found:
        decode(message)
    assert (found.value.code, found.value.param) == (code, param)


def test_an_error_names_the_event_that_caused_it() -> None:
    with pytest.raises(EventError) as found:
        decode('{"type": "session.input_audio.append", "event_id": "mine"}')
    assert found.value.client_event_id == "mine"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "session",
        "model",
        "audio",
        "format",
        "type",
        "rate",
        "content",
        "delegation_id",
        "text",
        "image",
        "at_ms",
        "input",
    ]
)
FIELDS = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=4), max_size=5)
EVENTS = st.builds(
    lambda kind, fields: json.dumps({**fields, "type": kind}),
    st.sampled_from(sorted(KNOWN | UNSUPPORTED)) | st.text(max_size=10),
    FIELDS,
)


@given(st.text() | st.binary() | EVENTS | JSON.map(json.dumps))
def test_anything_is_an_event_or_an_error(message: str | bytes) -> None:
    try:
        assert decode(message).__struct_config__.tag in KNOWN
    except EventError as error:
        assert str(error) and len(str(error)) < 1000
