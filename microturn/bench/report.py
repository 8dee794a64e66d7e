"""The benchmark's results: a table for people, JSON for machines, and each bar beside its figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from microturn.bench.cost import CostResult
from microturn.bench.heard import NOTHING_SAID, SEEN_ENGINE, UNSEEN_ENGINE, HeardScore
from microturn.bench.long import LongResult
from microturn.bench.people import (
    COMMAND_WORDS,
    DIGITS,
    NATIVE_SENTENCES,
    OTHER_SENTENCES,
    WAKE_WORDS,
    NoiseResult,
    PeopleResult,
    PeopleResults,
)
from microturn.bench.sound import SoundScore
from microturn.bench.suite import FamilyFigures, FamilyResult, HeardResult

MEMORY_GROWTH = 1.02
"""Resident memory of minute 60 over that of minute 1, up to which memory is called flat."""
VOICES_RIGHT = {SEEN_ENGINE: 93.0, UNSEEN_ENGINE: 70.0}
"""Bars of the words heard right of synthesised voices, in percent."""
PEOPLE_RIGHT = {COMMAND_WORDS: 90.0, DIGITS: 95.0, WAKE_WORDS: 98.0, NATIVE_SENTENCES: 60.0, OTHER_SENTENCES: 60.0}
"""Bars of the words heard right of real people, in percent."""
UNSAID = 8.0
"""Bar of the words written that nobody said, in speech, in percent of the words said."""
UNSAID_PER_MINUTE = 1.0
"""The same where nobody speaks."""
_SCORE_COLUMNS = ("words", "right", "said by nobody")


@dataclass
class Results:
    """Everything that was measured in one run; parts that were not are empty."""

    system: str
    num_sessions: int
    families: list[FamilyResult] = field(default_factory=list)
    heard: list[HeardResult] = field(default_factory=list)
    people: PeopleResults | None = None
    cost: CostResult | None = None
    long: LongResult | None = None


@dataclass(frozen=True)
class Bar:
    """A figure and what it has to reach: at least ``limit``, or at most. ``unit`` is ``%``, ``ms``, ``x``, ..."""

    figure: str
    value: float | None
    limit: float
    unit: str
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether the figure reaches the bar; a figure that could not be measured does not."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def bars(results: Results) -> list[Bar]:
    """The bars of everything that was measured."""
    own = {result.family: result for result in results.families if result.system == results.system}
    found: list[Bar] = []
    for family, limit in (("say", 90.0), ("time", 85.0), ("cue", 85.0)):
        if family in own:
            value = _percent(own[family].by_lane.events.event_accuracy)
            found.append(Bar(f"{family}: event accuracy", value, limit, "%", True))
    if "count" in own and own["count"].by_lane.counts is not None:
        counts = own["count"].by_lane.counts
        found.append(Bar("count: off by at most one", _percent(counts.off_by_one_accuracy), 90.0, "%", True))
        found.append(Bar("count: exact", _percent(counts.exact_accuracy), 75.0, "%", True))
    if "idle" in own:
        found.append(Bar("idle: words a minute", own["idle"].by_lane.events.words_per_minute, 0.2, "", False))
    sounds = [result.sound for result in own.values() if result.sound is not None]
    if sounds:
        found.append(Bar("audible: recognised, against synthesis", audible_ratio(sounds), 0.85, "x", True))
    for family in ("say", "cue"):
        if family in own:
            found.append(Bar(f"{family}: reaction, median", own[family].by_lane.events.reaction_ms, 400.0, "ms", False))
    return [*found, *_heard_bars(results), *_people_bars(results), *_time_bars(results)]


def _heard_bars(results: Results) -> list[Bar]:
    rows = [(f"heard: {result.group}", result.score, VOICES_RIGHT.get(result.group)) for result in results.heard]
    return [*_right_bars(rows), *_unsaid_bar("heard", [result.score for result in results.heard])]


def _people_bars(results: Results) -> list[Bar]:
    if results.people is None:
        return []
    own = [result for result in results.people.groups if result.system == results.system]
    rows = [(f"people: {result.group}", result.score, PEOPLE_RIGHT.get(result.group)) for result in own]
    return [
        *_right_bars(rows),
        *_unsaid_bar("people", [result.score for result in own]),
        *(
            Bar(f"words a minute in {result.sound}", result.words_per_minute, UNSAID_PER_MINUTE, "", False)
            for result in results.people.noises
        ),
    ]


def _right_bars(rows: Iterable[tuple[str, HeardScore, float | None]]) -> list[Bar]:
    return [
        Bar(name, _percent(score.share_right), limit, "%", True) for name, score, limit in rows if limit is not None
    ]


def _unsaid_bar(name: str, scores: Sequence[HeardScore]) -> list[Bar]:
    if not scores:
        return []
    total = sum(scores, NOTHING_SAID)
    return [Bar(f"{name}: written, but said by nobody", _percent(total.unsaid_share), UNSAID, "%", False)]


def _time_bars(results: Results) -> list[Bar]:
    found: list[Bar] = []
    cost, long = results.cost, results.long
    if cost is not None:
        label = f"minute {cost.minutes:g} against minute 1"
        found += [
            Bar("compute of a turn, p50", cost.p50_ms, 30.0, "ms", False),
            Bar("compute of a turn, p99", cost.p99_ms, 80.0, "ms", False),
            Bar(f"compute, {label}", cost.ratio, 1.05, "x", False),
            Bar(f"memory, {label}", cost.last_minute_mb / cost.first_minute_mb, MEMORY_GROWTH, "x", False),
        ]
    if long is not None:
        label = f"last {long.config.edge_minutes:g} of {long.config.minutes:g} minutes: points lost"
        found.append(Bar(label, long.points_lost, 5.0, "", False))
    return found


def audible_ratio(sounds: Sequence[SoundScore]) -> float | None:
    """Share understood of all that was said over the share understood of its synthesis."""
    ours = sum(sound.num_runs * sound.understood for sound in sounds)
    synthesis = sum(sound.num_runs * sound.understood_synthesis for sound in sounds)
    return ours / synthesis if synthesis else None


def to_dict(results: Results) -> dict[str, object]:
    """Everything, with the bars, as plain values: shares in [0, 1], times in ms."""
    return {
        "system": results.system,
        "num_sessions": results.num_sessions,
        "families": [
            {**asdict(result), "audible_ratio": result.sound.ratio if result.sound else None}
            for result in results.families
        ],
        "heard": [{"group": result.group, **_score_to_dict(result.score)} for result in results.heard],
        "people": None if results.people is None else _people_to_dict(results.people),
        "cost": None if results.cost is None else {**asdict(results.cost), "ratio": results.cost.ratio},
        "long": None if results.long is None else {**asdict(results.long), "points_lost": results.long.points_lost},
        "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars(results)],
    }


def _people_to_dict(people: PeopleResults) -> dict[str, object]:
    return {
        "groups": [{**asdict(result), "score": _score_to_dict(result.score)} for result in people.groups],
        "noises": [{**asdict(result), "words_per_minute": result.words_per_minute} for result in people.noises],
    }


def _score_to_dict(score: HeardScore) -> dict[str, object]:
    return {**asdict(score), "share_right": score.share_right, "unsaid_share": score.unsaid_share}


def print_tables(results: Results, console: Console) -> None:
    """The tables of what was measured, then the bars."""
    if results.families:
        console.print(_family_table(results.families))
    if results.heard:
        console.print(_heard_table(results.heard))
    if results.people is not None:
        console.print(_people_table(results.people.groups, results.system))
        console.print(_noise_table(results.people.noises))
    if results.cost is not None:
        cost = results.cost
        console.print(
            f"A turn with sound and a picture: p50 {cost.p50_ms:.1f} ms, p99 {cost.p99_ms:.1f} ms over {cost.num_turns}"
            f" turns.\nMinute 1: {cost.first_minute_ms:.1f} ms, {cost.first_minute_mb:.0f} MB;"
            f" minute {cost.minutes:g}: {cost.last_minute_ms:.1f} ms, {cost.last_minute_mb:.0f} MB."
        )
    if results.long is not None:
        long = results.long
        console.print(
            f"{long.config.num_sessions} sessions of {long.config.minutes:g} minutes, event accuracy: first"
            f" {long.config.edge_minutes:g} minutes {_share(long.first.event_accuracy)} of {long.first.num_events},"
            f" last {_share(long.last.event_accuracy)} of {long.last.num_events}."
        )
    table = Table(title="Bars", title_justify="left")
    table.add_column("figure")
    table.add_column("reached", justify="right")
    table.add_column("bar", justify="right")
    table.add_column("")
    for bar in bars(results):
        reached = "-" if bar.value is None else f"{bar.value:.2f} {bar.unit}".rstrip()
        sign = ">=" if bar.at_least else "<="
        verdict = "[green]holds[/green]" if bar.holds else "[red]does not hold[/red]"
        table.add_row(bar.figure, reached, f"{sign} {bar.limit:g} {bar.unit}".rstrip(), verdict)
    console.print(table)


def _family_table(results: Sequence[FamilyResult]) -> Table:
    table = Table(title="Held-out sessions, from the say lane and from the sound alone", title_justify="left")
    columns = (
        "family", "system", "events", "event accuracy", "session accuracy", "extra words/min", "words/min", "reaction",
        "off by one", "exact", "count error", "audible",
    )  # fmt: skip
    for name in columns:
        table.add_column(name, justify="left" if name in ("family", "system") else "right")
    last = ""
    for result in results:
        if last and result.family != last:
            table.add_section()
        last = result.family
        table.add_row(result.family, result.system, *_figure_cells(result.by_lane), "")
        if result.by_sound is not None:
            sound = result.sound
            ratio = "-" if sound is None or sound.ratio is None else f"{sound.ratio:.2f} x"
            table.add_row("", f"{result.system} (sound alone)", *_figure_cells(result.by_sound), ratio)
    return table


def _figure_cells(figures: FamilyFigures) -> list[str]:
    events, counts = figures.events, figures.counts
    return [
        str(events.num_events),
        _share(events.event_accuracy),
        _share(events.session_accuracy),
        f"{events.extra_words_per_minute:.2f}",
        f"{events.words_per_minute:.2f}",
        "-" if events.reaction_ms is None else f"{events.reaction_ms:.0f} ms",
        "-" if counts is None else _share(counts.off_by_one_accuracy),
        "-" if counts is None else _share(counts.exact_accuracy),
        "-" if counts is None else f"{counts.normalised_error:.2f}",
    ]


def _heard_table(results: Sequence[HeardResult]) -> Table:
    table = Table(title="Words heard right of synthesised voices", title_justify="left")
    for name in ("voices", *_SCORE_COLUMNS, "bar"):
        table.add_column(name, justify="left" if name == "voices" else "right")
    for result in results:
        table.add_row(result.group, *_score_cells(result.score), _bar_cell(VOICES_RIGHT.get(result.group)))
    return table


def _people_table(results: Sequence[PeopleResult], system: str) -> Table:
    table = Table(
        title="Words heard right of real people whom training does not know",
        caption="Words: those of the lexicon and other common ones. Nobody noted who says the wake words: what is held"
        " out there is files, not people.",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("people", "system", "clips", "speakers", *_SCORE_COLUMNS, "bar"):
        table.add_column(name, justify="left" if name in ("people", "system") else "right")
    for result in results:
        speakers = "?" if result.num_people is None else str(result.num_people)
        cells = [result.system, str(result.num_clips), speakers, *_score_cells(result.score)]
        if result.system == system:
            table.add_section()
            table.add_row(result.group, *cells, _bar_cell(PEOPLE_RIGHT.get(result.group)))
        else:
            table.add_row("", *cells)
    return table


def _noise_table(results: Sequence[NoiseResult]) -> Table:
    table = Table(title="Words written while nobody speaks", title_justify="left")
    for name in ("sound", "seconds", "words", "words/min", "bar"):
        table.add_column(name, justify="left" if name == "sound" else "right")
    for result in results:
        rate = f"{result.words_per_minute:.2f}"
        table.add_row(result.sound, f"{result.seconds:.0f}", str(result.words), rate, f"<= {UNSAID_PER_MINUTE:g}")
    return table


def _score_cells(score: HeardScore) -> list[str]:
    return [str(score.words), _share(score.share_right), _share(score.unsaid_share)]


def _bar_cell(limit: float | None) -> str:
    return "" if limit is None else f">= {limit:g} %"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100.0 * value:.1f} %"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value
