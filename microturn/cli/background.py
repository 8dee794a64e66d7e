"""``microturn background``: hand one request to the background model, as a session would."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from microturn.cli import agent as options
from microturn.errors import BackgroundError, InputError

if TYPE_CHECKING:
    from microturn.background.job import Agent, Budget
    from microturn.background.package import ContextPackage
    from microturn.background.results import Result

MAX_REQUEST_CHARACTERS = 4_000


def background(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="What the user asks for.")],
    notes: options.Notes = None,
    background_url: options.Url = None,
    background_model: options.Model = None,
    key: options.Key = "",
    mcp: options.Mcp = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="The job ends after it.")] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a result.")] = False,
) -> None:
    """Answer REQUEST: print the text to be spoken, and the cards; wait for timers, for good if one repeats."""
    from microturn.background.job import Budget
    from microturn.background.package import build_package

    if not request.strip():
        raise InputError("REQUEST is empty")
    if len(request) > MAX_REQUEST_CHARACTERS:
        raise InputError(f"REQUEST has {len(request)} characters, at most {MAX_REQUEST_CHARACTERS} are taken")
    agent = options.agent_of(notes, background_url, background_model, key, mcp)
    package = build_package(job="command", task=request, at_ms=0)
    asyncio.run(_answer(agent, package, Budget(seconds=seconds), json))


async def _answer(agent: Agent, package: ContextPackage, budget: Budget, as_json: bool) -> None:
    from msgspec.structs import replace

    from microturn.background.job import Jobs, State
    from microturn.background.results import Question, Spoken, Timer, TimerCancelled

    began_s = time.monotonic()
    timers: list[Timer] = []
    jobs = Jobs(agent)
    job = jobs.start(package, budget)
    async for result in job:
        _print(result, as_json)
        if isinstance(result, Question):
            job.answer(await asyncio.to_thread(sys.stdin.readline) or "no")
        elif isinstance(result, Timer):
            timers.append(result)
        elif isinstance(result, TimerCancelled):
            timers = [one for one in timers if (one.label, one.due_ms) != (result.label, result.due_ms)]
    await jobs.close()
    if job.state is State.FAILED:
        raise BackgroundError(job.reason)
    while timers:
        timer = min(timers, key=lambda one: one.due_ms)
        await asyncio.sleep(began_s + timer.due_ms / 1000 - time.monotonic())
        _print(Spoken(timer.text), as_json)
        timers.remove(timer)
        if timer.every_ms is not None:
            timers.append(replace(timer, due_ms=timer.due_ms + timer.every_ms))


def _print(result: Result, as_json: bool) -> None:
    import msgspec

    sys.stdout.write((msgspec.json.encode(result).decode() if as_json else _printed(result)) + "\n")
    sys.stdout.flush()


def _printed(result: Result) -> str:
    import msgspec

    from microturn.background.results import Chart, Html, Markdown, Question, Spoken, Timer, TimerCancelled

    match result:
        case Spoken(text) | Question(text):
            return text
        case Markdown(title, text) | Html(title, text):
            return f"\n[{title}]\n{text}"
        case Chart(title, spec):
            return f"\n[{title}]\n{msgspec.json.encode(spec).decode()}"
        case Timer(label):
            return f"[timer: {label}]"
        case TimerCancelled(label):
            return f"[timer cancelled: {label}]"
    rows = ("\t".join(cell.replace("\n", " ") for cell in row) for row in (result.columns, *result.rows))
    return "\n".join((f"\n[{result.title}]", *rows))
