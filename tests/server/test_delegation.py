"""What the model delegates, without a socket: a task goes out with its package, and what comes back comes in."""

from __future__ import annotations

import base64
import io
import time
import wave
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from microturn.background import job
from microturn.background.job import Budget, State, is_correction
from microturn.background.office import Office
from microturn.background.offline import OfflineAgent
from microturn.background.package import ContextPackage, decode_package
from microturn.background.results import Markdown, Spoken
from microturn.background.tools import Tools
from microturn.server import delegation as rules
from microturn.server.delegation import Delegated, JobBrought, JobMoved, RecordedJob
from microturn.server.live import Live
from microturn.turn import TURN_SAMPLES, Act, TextIn, TextSource, TurnInput
from tests.server.conftest import FakeHost, service
from tests.server.jobs import HOSTILE, Scripted, Talk
from tests.server.test_live import error_of, send, started, take, turn_of


@pytest.fixture
def agent() -> Scripted:
    return Scripted()


@pytest.fixture
def office(agent: Scripted) -> Iterator[Office]:
    office = Office(agent, Budget(seconds=1.0, characters=20_000))
    yield office
    office.close()


def talk_of(office: Office | None, **session: Any) -> Talk:
    return Talk(started(Live(service(24 * 3_600_000, office), FakeHost()), **session))


@pytest.fixture
def talk(office: Office) -> Talk:
    return talk_of(office)


def state_of(talk: Talk, name: str) -> tuple[str, str]:
    """How a job ended, and why."""
    over = talk.until(lambda: talk.over(name))
    return over["state"], over.get("reason", "")


def test_a_request_is_answered_by_the_offline_agent() -> None:
    office = Office(OfflineAgent(Tools(now=lambda: datetime(2026, 11, 28, 12))))
    try:
        talk = talk_of(office)
        (answer,) = send(talk.live, "session.update", session={})
        assert answer["session"]["delegation"] is None
        talk.turn("how many days")
        talk.turn("until")
        name = talk.delegate("christmas")
        [created] = [event for event in talk.told if "delegation" in event]
        running = next(event for event in talk.told if event["type"] == "session.job.state")
        assert created["delegation"]["target"] == "responses" and created["offset_ms"] == 600
        task = {"task": "how many days until christmas", "job_id": name}
        assert created["delegation"]["microturn"] == task
        assert (running["type"], running["state"], running["job_id"]) == ("session.job.state", "running", name)
        assert state_of(talk, name) == ("done", "")
        assert talk.results(name) == [{"type": "spoken", "text": "It is twenty seven days until christmas."}]
        assert " ".join(talk.texts) == "it is twenty seven days until christmas"
        # A correction that finds its job over is a request of its own, which knows those before.
        for change, words in (("make that halloween", "until halloween"), ("no i meant new year", "until new year")):
            second = talk.delegate(change)
            assert state_of(talk, second) == ("done", "") and words in talk.results(second)[0]["text"]
    finally:
        office.close()


def test_what_is_handed_over(talk: Talk, agent: Scripted) -> None:
    """The words since the model last acted or spoke: heard and typed, late ones too, but none that were answered."""
    talk.turn("hello")
    talk.turn(speaking=True, say=" hi")
    for _ in range(3):
        talk.turn()
    talk.turn("find")
    take(talk.live, turn_of(talk.num_turns, given=TurnInput(None, texts=(TextIn(TextSource.TYPED, "a b"),))))
    talk.num_turns += 1
    # It says that it will see to it, and then delegates; the last word is written late.
    talk.turn(speaking=True, say=" one")
    talk.turn("bread", speaking=True, say=" moment")
    name = talk.delegate("")
    assert [one["delegation"]["microturn"]["task"] for one in talk.told if "delegation" in one] == ["find a b bread"]
    assert state_of(talk, name)[0] == "done"
    (package,) = agent.packages
    assert [(line.who, line.text, line.typed) for line in package.lines] == [
        ("user", "hello", False),
        ("model", "hi", False),
        ("user", "find bread", False),
        ("user", "a b", True),
        ("model", "one moment", False),
    ]
    # Nothing was said since: there is nothing to hand over.
    assert talk.turn(act=Act.DELEGATE) == [] and len(agent.packages) == 1


def test_words_that_were_answered_long_ago_are_no_task(talk: Talk) -> None:
    talk.turn("hello")
    talk.turn(speaking=True)
    for _ in range(30):
        talk.turn()
    assert talk.turn(act=Act.DELEGATE) == []


def test_a_package_holds_what_was_heard_seen_and_played(office: Office, agent: Scripted) -> None:
    talk = talk_of(office, instructions="be brief", audio={"format": {"type": "audio/pcm", "rate": 16000}})
    for word in ("one", "two", "three"):
        talk.turn(speaking=True, say=f" {word}")
    send(talk.live, "session.playback.ack", heard_until_ms=500, dropped=True)
    rng = np.random.default_rng(0)
    sound = (rng.integers(-3000, 3000, TURN_SAMPLES) / 32767).astype(np.float32)
    for number in range(80):
        shade = (np.add.outer(np.arange(480), np.arange(640)) + number).astype(np.uint8)
        frame = np.repeat(shade[..., None], 3, axis=2) if number % 5 == 0 else None
        take(talk.live, turn_of(talk.num_turns, given=TurnInput(sound, frame)))
        talk.num_turns += 1
    talk.turn("wait")
    name = talk.delegate("for it")
    talk.until(lambda: agent.packages)
    (package,) = agent.packages
    assert (package.job, package.task, package.at_ms) == (name, "wait for it", 85 * 200)
    assert (package.lines[0].text, package.lines[0].unheard) == ("one two", "three")
    assert package.instructions == ("be brief",)
    assert package.sound is not None and package.sound.end_ms - package.sound.start_ms == 15_000
    with wave.open(io.BytesIO(package.sound.wav)) as file:
        assert file.getnframes() == 75 * TURN_SAMPLES
    assert [one.media_type for one in package.pictures] == ["image/jpeg"] * 3
    assert package.pictures[-1].at_ms > package.pictures[0].at_ms
    assert decode_package(package.encode()) == package
    context = talk.live.delegation._context
    on_the_loop_ms, in_all_ms = [], []
    for _ in range(3):
        started_s = time.thread_time()
        pack = context.packer(name, "wait for it", talk.live.playback, (), ())
        on_the_loop_ms.append((time.thread_time() - started_s) * 1000)
        assert len(pack().encode()) > 700_000
        in_all_ms.append((time.thread_time() - started_s) * 1000)
    assert min(on_the_loop_ms) < 2 and min(in_all_ms) < 20


def test_what_the_user_says_over_sound_that_is_dropped_was_said(office: Office, agent: Scripted) -> None:
    talk = talk_of(office)
    for word in ("one", "two", "three"):
        talk.turn(speaking=True, say=f" {word}")
    talk.turn("stop")
    send(talk.live, "session.playback.ack", heard_until_ms=500, dropped=True)
    talk.delegate("that")
    talk.until(lambda: agent.packages)
    said, stop = agent.packages[0].lines
    assert (said.text, said.unheard) == ("one two", "three")
    assert (stop.who, stop.text, stop.unheard) == ("user", "stop that", "")


CORRECTIONS = (
    "no make that tuesday",
    "Actually, in meters",
    "make it seven",
    "i meant the other one",
    "sorry not monday",
    "wait, I mean July",
)
REQUESTS = ("how far is it", "what about tuesday", "please find my notes on bread", "nothing", "notes on no one", "")


def test_what_begins_as_a_correction() -> None:
    assert [one for one in CORRECTIONS if not is_correction(one)] == []
    assert [one for one in REQUESTS if is_correction(one)] == []


def test_a_correction_reaches_the_job_that_runs(talk: Talk, agent: Scripted) -> None:
    name = talk.delegate("wait for monday")
    talk.until(lambda: talk.texts)
    second = talk.delegate("make that tuesday")
    created = talk.told[-1]
    assert created["delegation"]["microturn"] == {"task": "make that tuesday", "job_id": name}
    talk.until(lambda: agent.corrections)
    agent.go_on = True
    assert state_of(talk, name) == ("done", "") and talk.states(second) == []
    assert agent.corrections == ["make that tuesday"] and len(agent.packages) == 1


def test_what_is_said_after_a_question_is_its_answer(talk: Talk, agent: Scripted) -> None:
    """Whether or not the model delegates it; what was said before is none, and other words are no answer to it."""
    for by_act in (False, True):
        agent.corrections.clear()
        agent.go_on = False
        name = talk.delegate("ask send it")
        talk.turn("hello")
        agent.go_on = True
        talk.until(lambda: " ".join(talk.texts).endswith("shall i send it"))
        assert talk.results(name) == [{"type": "question", "text": "shall I send it?"}]
        talk.turn(speaking=True, say=" shall i send it")
        talk.turn("yes")
        if by_act:
            assert not [one for one in talk.turn("please", act=Act.DELEGATE) if "delegation" in one]
        else:
            talk.turn()
            assert agent.corrections == []
            talk.turn("please")
        assert state_of(talk, name) == ("done", "")
        assert agent.corrections == ["yes please"]
        talk.texts.clear()
        assert state_of(talk, talk.delegate("something else")) == ("done", "")


def test_what_was_said_before_a_second_question_is_no_answer_to_it(
    talk: Talk, agent: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answered the first one in time."""
    monkeypatch.setattr(job, "ANSWER_SECONDS", 0.01)
    talk.delegate("insist")
    talk.until(lambda: talk.texts == ["shall i send it"])
    talk.turn("yes")
    time.sleep(0.1)
    monkeypatch.setattr(job, "ANSWER_SECONDS", 10.0)
    agent.go_on = True
    assert talk.live.delegation._desk is not None
    while not talk.live.delegation._desk._news:
        time.sleep(0.005)
    for _ in range(2 * rules.ANSWER_PAUSE_TURNS):
        talk.turn()
    talk.turn("no")
    talk.until(lambda: agent.corrections)
    assert agent.corrections == ["no"]


def test_a_correction_takes_the_place_of_an_answer_that_is_on_its_way_in(talk: Talk) -> None:
    name = talk.delegate("long")
    talk.until(lambda: talk.results(name) and talk.live.delegation.running[0].has_ended)
    second = talk.delegate("no make that short")
    assert [one["state"] for one in talk.told if one["type"] == "session.job.state"] == [
        "running",
        "cancelled",
        "running",
    ]
    assert state_of(talk, second) == ("done", "")
    assert len(talk.texts) < 10 and talk.texts[-1] == "done with make that short"


def test_two_jobs_are_kept_apart_and_the_newest_is_cancelled(talk: Talk, agent: Scripted) -> None:
    first = talk.delegate("wait for one")
    second = talk.delegate("wait for two")
    talk.until(lambda: talk.texts == ["first", "first"])
    (cancelled,) = talk.turn(act=Act.CANCEL)
    assert (cancelled["job_id"], cancelled["state"]) == (second, "cancelled")
    agent.go_on = True
    assert state_of(talk, first) == ("done", "")
    assert talk.texts == ["first", "first", "done with for one"]
    assert len(talk.results(second)) == 1 and talk.numbers == ["1", "2", "1"]
    # The packages tell of the other jobs.
    assert [[(one.job, one.state) for one in package.jobs] for package in agent.packages] == [[], [(first, "running")]]
    assert talk.turn(act=Act.CANCEL) == []


def test_what_a_cancelled_job_has_said_and_nobody_heard_is_dropped(talk: Talk) -> None:
    name = talk.delegate("flood")
    talk.until(lambda: len(talk.texts) >= 3)
    assert talk.turn(act=Act.CANCEL)[0]["state"] == "cancelled"
    told = talk.results(name)
    for _ in range(50):
        talk.turn()
        time.sleep(0.002)
    assert talk.results(name) == told and len(talk.texts) <= 5
    assert talk.over(name)


@pytest.mark.parametrize(
    ("task", "state", "reason"),
    [
        ("fail", "failed", "the shop is closed"),
        ("break", "failed", "something went wrong"),
        ("hang", "failed", "it took too long"),
        ("huge", "failed", "the answer grew too long"),
    ],
)
def test_a_job_that_goes_wrong_says_why(talk: Talk, agent: Scripted, task: str, state: str, reason: str) -> None:
    good = talk.delegate("sums")
    bad = talk.delegate(task)
    assert state_of(talk, bad) == (state, reason)
    assert state_of(talk, good) == ("done", "")
    assert " ".join(talk.texts).endswith(f"that failed {reason}")
    assert all("secret" not in text for text in talk.texts)


def test_a_flood_is_taken_in_a_piece_a_turn_and_then_ends(talk: Talk) -> None:
    name = talk.delegate("flood")
    talk.turn()
    assert state_of(talk, name) == ("failed", "the answer grew too long")
    assert all(len(text.encode()) <= rules.PIECE_BYTES for text in talk.texts)
    said = " ".join(talk.texts).removesuffix("that failed the answer grew too long")
    assert 3_900 < len(said) <= rules.MAX_SPOKEN_CHARACTERS + 20
    # One piece a turn, and only where nothing else waits: what is typed never waits behind it.
    taken = [one for one in talk.told if one["type"] == "session.job.result"]
    assert len(taken) < 20_000 / 500 + 1


def test_typed_text_does_not_wait_behind_what_a_job_says(talk: Talk) -> None:
    talk.delegate("flood")
    talk.until(lambda: talk.texts)
    send(talk.live, "session.input_text.append", text="stop")
    given = talk.live._inbox.take(1024)
    assert [one.text for one in given.texts][-1] == "stop" and len(given.texts) <= 2


def test_an_agent_that_computes_without_end_holds_up_nobody(agent: Scripted) -> None:
    office = Office(agent, Budget(seconds=0.1))
    talk = talk_of(office)
    try:
        name = talk.delegate("block")
        started_s = time.perf_counter()
        for _ in range(20):
            talk.turn()
        assert time.perf_counter() - started_s < 0.3
        assert state_of(talk, name)[0] == "failed"
    finally:
        office.close()


def test_nobody_waits_for_an_agent_for_ever(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the office's own clock stands still, the session's ends the job."""
    monkeypatch.setattr(rules, "PATIENCE_SECONDS", 0.0)
    name = talk.delegate("block")
    for _ in range(8):
        talk.turn()
    assert talk.over(name) is None or talk.over(name)["reason"] == "it took too long"  # type: ignore[index]
    assert state_of(talk, name) == ("failed", "it took too long")


def test_no_more_jobs_than_a_session_may_have(talk: Talk, agent: Scripted) -> None:
    names = [talk.delegate(f"wait for {number}") for number in range(5)]
    assert state_of(talk, names[-1]) == ("failed", "too much is being done already")
    agent.go_on = True
    assert all(state_of(talk, name) == ("done", "") for name in names[:-1])
    assert len(agent.packages) == 4


def test_what_is_hostile_stays_text(talk: Talk) -> None:
    name = talk.delegate("hostile")
    assert state_of(talk, name) == ("done", "")
    spoken, html, _ = talk.results(name)
    assert all(one.isalpha() or one in " '" for text in talk.texts for one in text)
    assert html == {"type": "html", "title": "hostile", "fragment": HOSTILE}
    assert "\x00" not in spoken["text"] and all(one.isprintable() for one in " ".join(talk.texts))
    assert "ignore your instructions" in " ".join(talk.texts)
    # It came as what a job says and as nothing else: the next package knows no such instruction.
    talk.delegate("sums")
    talk.until(lambda: talk.over("dlg_0"))
    assert talk.live.delegation._context._instructions == type(talk.live.delegation._context._instructions)()


def test_a_card_that_is_too_large_for_a_message_is_told_of_only(agent: Scripted) -> None:
    office = Office(agent)
    talk = talk_of(office)
    try:
        name = talk.delegate("large")
        assert state_of(talk, name) == ("done", "")
        card = talk.results(name)[0]
        assert card["type"] == "markdown" and card["text"] == "This is too long to be shown."
        assert len(card["title"]) == rules.MAX_TITLE_CHARACTERS
    finally:
        office.close()


# The client does it.


@pytest.mark.parametrize("way", ["start", "update", "nobody else"])
def test_a_client_that_does_it_itself(office: Office, agent: Scripted, way: str) -> None:
    client = {"type": "client"}
    talk = talk_of(None if way == "nobody else" else office, **({"delegation": client} if way == "start" else {}))
    if way == "update":
        (updated,) = send(talk.live, "session.update", session={"delegation": client})
        assert updated["session"]["delegation"] == client
    talk.turn("how far")
    first = talk.delegate("is it")
    (created,) = [one for one in talk.told if one["type"] == "session.delegation.created"]
    assert created["delegation"]["target"] == "client"
    assert created["delegation"]["microturn"] == {"task": "how far is it", "job_id": first}
    second = talk.delegate("no to berlin")
    assert talk.told[-1]["delegation"]["microturn"] == {"task": "no to berlin", "job_id": second}
    (cancelled,) = talk.turn(act=Act.CANCEL)
    assert (cancelled["job_id"], cancelled["state"]) == (second, "cancelled")
    refused = send(talk.live, "session.commentary.append", content="it is far", delegation_id=second)
    assert (error_of(refused)["code"], error_of(refused)["param"]) == ("delegation_cancelled", "delegation_id")
    send(talk.live, "session.commentary.append", content="it is near", delegation_id=first)
    talk.turn()
    assert talk.texts == ["it is near"] and agent.packages == []
    send(talk.live, "session.thinking.append", content="42 km, as I said.", delegation_id=first)
    send(talk.live, "session.instructions.append", content="Be brief!", delegation_id=first)
    assert [(one.source, one.text) for one in talk.live._inbox.take(1024).texts] == [
        (TextSource.JOB, "1 forty two kilometers as i said"),
        (TextSource.INSTRUCTIONS, "Be brief!"),
    ]
    for _ in range(2):
        refused = send(talk.live, "session.commentary.append", content="x" * 3000, delegation_id=first)
    assert error_of(refused)["code"] == "text_too_long"


def test_what_a_client_has_answered_is_over_when_another_begins() -> None:
    talk = talk_of(None)
    first = talk.delegate("how far is it")
    send(talk.live, "session.commentary.append", content="it is near", delegation_id=first)
    talk.turn()
    second = talk.delegate("how late is it")
    send(talk.live, "session.commentary.append", content="noon", delegation_id=second)
    talk.turn()
    third = talk.delegate("and now")
    assert [one["job_id"] for one in talk.turn(act=Act.CANCEL)] == [third]
    assert talk.turn(act=Act.CANCEL) == []
    # What was not all is a job again, and none of those that run has its number.
    fourth = talk.delegate("what else")
    send(talk.live, "session.commentary.append", content="and far", delegation_id=first)
    talk.turn()
    send(talk.live, "session.commentary.append", content="nothing", delegation_id=fourth)
    talk.turn()
    assert talk.texts == ["it is near", "noon", "and far", "nothing"] and talk.numbers == ["1", "1", "2", "1"]


def test_a_client_that_wants_packages_gets_them(office: Office) -> None:
    talk = talk_of(office, delegation={"type": "client"}, microturn={"packages": True})
    take(talk.live, turn_of(0))
    talk.num_turns = 1
    talk.turn("how far")
    name = talk.delegate("is it")
    made = talk.until(lambda: [one for one in talk.told if one["type"] == "session.delegation.package"])[0]
    assert made["delegation_id"] == name
    package = msgspec.convert(made["package"], ContextPackage)
    assert (package.task, package.lines[0].text) == ("how far is it", "how far is it")
    wav = base64.b64decode(made["package"]["sound"]["wav"])
    assert wav.startswith(b"RIFF") and made["offset_ms"] >= 400


# After a kill.


def test_what_a_killed_server_did_is_told_again_and_not_done_again(office: Office, agent: Scripted) -> None:
    done: list[tuple[int, Delegated | JobMoved | JobBrought]] = [
        (1, Delegated("dlg_1", "dlg_1", "sums", False)),
        (1, JobMoved("dlg_1", State.RUNNING, "sums")),
        (2, JobBrought("dlg_1", 0, Markdown("sums", "4"))),
        (2, JobMoved("dlg_1", State.DONE)),
        (3, Delegated("dlg_3", "dlg_3", "wait", False)),
        (3, JobMoved("dlg_3", State.RUNNING, "wait")),
        (4, JobBrought("dlg_3", 0, Spoken("first."))),
    ]
    talk = talk_of(office)
    lines = [msgspec.json.encode(RecordedJob(turn, what)) for turn, what in done]
    talk.live.delegation.restore(lines, 5)
    talk.num_turns = 2
    told = talk.turn() + talk.turn(" ", Act.DELEGATE)[1:] + talk.turn()
    assert [one["type"].removeprefix("session.") for one in told] == [
        "job.result",
        "job.state",
        "delegation.created",
        "job.state",
        "job.result",
    ]
    assert agent.packages == []
    # From here on it is live: the job that was running is over, and the session is told.
    assert state_of(talk, "dlg_3") == ("failed", "the server was restarted")
    assert " ".join(talk.texts) == "that failed the server was restarted"
    assert talk.live.delegation.state_of("dlg_1") is State.DONE
    name = talk.delegate("sums")
    assert state_of(talk, name) == ("done", "") and len(agent.packages) == 1


def test_a_session_that_is_over_leaves_no_job_behind(talk: Talk, agent: Scripted) -> None:
    talk.delegate("wait for it")
    talk.until(lambda: talk.texts)
    talk.live.delegation.close()
    deadline_s = time.monotonic() + 5
    while not agent.num_ended:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
