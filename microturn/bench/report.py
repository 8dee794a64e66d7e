"""The benchmark's results: a table for people, JSON for machines, and each bar beside its figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from microturn.bench.cost import CostResult
from microturn.bench.delegation import DelegationScore
from microturn.bench.heard import (
    NOTHING_SAID,
    SEEN_ENGINE,
    UNSEEN_ENGINE,
    UNSEEN_STYLES,
    HeardResult,
    HeardScore,
)
from microturn.bench.people import (
    COMMAND_WORDS,
    DIGITS,
    NATIVE_SENTENCES,
    NEW_SENTENCES,
    OTHER_SENTENCES,
    WAKE_WORDS,
    NoiseResult,
    PeopleResult,
)
from microturn.bench.sound import SoundScore
from microturn.bench.spoken import POCKETSPHINX, SpokenScore
from microturn.bench.suite import FamilyFigures, FamilyResult, LongResult
from microturn.bench.yielding import SOON_MS, YieldScore

DELEGATION = {
    "handed_over": ("handed over when asked for", 90.0),
    "left": ("not handed over when not", 95.0),
    "followed": ("answered meanwhile", 85.0),
    "in_time": ("results: moment", 90.0),
    "changed": ("corrected or cancelled", 90.0),
}
"""By figure of ``DelegationScore``: its name and its bar, in percent."""
YIELDED = 90.0
"""Bar of the interruptions after which the model is soon silent, in percent."""
EVENTS_RIGHT = {"say": 85.0, "time": 80.0, "cue": 80.0}
"""Bars of the event accuracy of families, in percent."""
VOICES_RIGHT = {SEEN_ENGINE: 93.0, UNSEEN_STYLES: 90.0, UNSEEN_ENGINE: 70.0}
"""Bars of the words heard right of synthesised voices, in percent."""
PEOPLE_RIGHT = {COMMAND_WORDS: 90.0, DIGITS: 95.0, WAKE_WORDS: 98.0, NATIVE_SENTENCES: 60.0, OTHER_SENTENCES: 60.0}
"""Bars of the words heard right of real people, in percent."""
UNSAID = 8.0
"""Bar of the words written that nobody said, in speech, in percent of the words said."""
UNSAID_PER_MINUTE = 1.0
"""The same where nobody speaks."""
SCORE_COLUMNS = ("words", "right", "said by nobody", "bar")


@dataclass
class Results:
    """Everything that was measured in one run; parts that were not are empty."""

    system: str
    num_sessions: int
    families: list[FamilyResult] = field(default_factory=list)
    heard: list[HeardResult] = field(default_factory=list)
    people: list[PeopleResult] = field(default_factory=list)
    noises: list[NoiseResult] = field(default_factory=list)
    spoken: dict[str, SpokenScore] = field(default_factory=dict)
    """By recogniser."""
    cost: CostResult | None = None
    long: LongResult | None = None


@dataclass(frozen=True)
class Bar:
    """A figure and what it has to reach: at least ``limit``, or at most. ``unit`` is ``%``, ``ms``, ``x``, ..."""

    figure: str
    value: float | None
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure reaches the bar; a figure that could not be measured does not."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def bars(results: Results) -> list[Bar]:
    """The bars of everything that was measured."""
    own = {result.family: result for result in results.families if result.system == results.system}
    events = {family: result.by_lane.events for family, result in own.items()}
    found = [
        _share_bar(f"{family}: event accuracy", events[family].event_accuracy, limit)
        for family, limit in EVENTS_RIGHT.items()
        if family in events
    ]
    counts = own["count"].by_lane.counts if "count" in own else None
    if counts is not None:
        found.append(_share_bar("count: off by at most one", counts.off_by_one_accuracy, 80.0))
    delegation = own["delegate"].by_lane.delegation if "delegate" in own else None
    if delegation is not None:
        for name, (figure, limit) in DELEGATION.items():
            found.append(_share_bar(f"delegate: {figure}", getattr(delegation, name), limit))
    yielding = own["interrupt"].by_lane.yielding if "interrupt" in own else None
    if yielding is not None:
        found.append(_share_bar(f"interrupt: silent within {SOON_MS:.0f} ms", yielding.yielded, YIELDED))
    if "idle" in events:
        found.append(Bar("idle: words a minute", events["idle"].words_per_minute, 0.2))
    sounds = [result.sound for result in own.values() if result.sound is not None]
    if sounds:
        ratio = audible_ratio(sounds)
        found.append(Bar("audible: recognised, against synthesis", ratio, 0.9, "x", at_least=True))
    for family in ("say", "cue"):
        if family in events:
            found.append(Bar(f"{family}: reaction, median", events[family].reaction_ms, 400.0, "ms"))
    found += _word_bars("heard", results.system, results.heard, VOICES_RIGHT)
    found += _word_bars("people", results.system, results.people, PEOPLE_RIGHT)
    found += [
        Bar(f"words a minute in {noise.sound}", noise.words_per_minute, UNSAID_PER_MINUTE) for noise in results.noises
    ]
    if POCKETSPHINX in results.spoken:
        found.append(Bar("spoken: word errors, against synthesis", results.spoken[POCKETSPHINX].ratio, 1.5, "x"))
    return [*found, *_time_bars(results.cost, results.long)]


def _share_bar(figure: str, share: float | None, limit: float) -> Bar:
    return Bar(figure, None if share is None else 100.0 * share, limit, "%", at_least=True)


def _word_bars(
    part: str, system: str, results: Sequence[HeardResult | PeopleResult], limits: Mapping[str, float]
) -> list[Bar]:
    scores = {result.group: result.score for result in results if result.system == system}
    if not scores:
        return []
    right = [
        _share_bar(f"{part}: {group}", score.share_right, limits[group])
        for group, score in scores.items()
        if group in limits
    ]
    everything = sum((score for group, score in scores.items() if group != NEW_SENTENCES), NOTHING_SAID)
    unsaid = 100.0 * everything.unsaid_share  # new sentences are native ones, which are counted already
    return [*right, Bar(f"{part}: written, but said by nobody", unsaid, UNSAID, "%")]


def _time_bars(cost: CostResult | None, long: LongResult | None) -> list[Bar]:
    found: list[Bar] = []
    if cost is not None:
        label = f"minute {cost.minutes:g} against minute 1"
        found += [
            Bar("compute of a turn, p50", cost.p50_ms, 15.0, "ms"),
            Bar("compute of a turn, p99", cost.p99_ms, 80.0, "ms"),
            Bar(f"compute, {label}", cost.ratio, 1.05, "x"),
            Bar(f"memory, {label}", cost.last_minute_mb / cost.first_minute_mb, 1.02, "x"),
        ]
    if long is not None:
        label = f"last {long.config.edge_minutes:g} of {long.config.minutes:g} minutes: points lost"
        found.append(Bar(label, long.points_lost, 5.0))
    return found


def audible_ratio(sounds: Sequence[SoundScore]) -> float | None:
    """Share understood of all that was said over the share understood of its synthesis."""
    ours = sum(sound.num_runs * sound.understood for sound in sounds)
    synthesis = sum(sound.num_runs * sound.understood_synthesis for sound in sounds)
    return ours / synthesis if synthesis else None


def to_dict(results: Results) -> dict[str, object]:
    """Everything, with the bars, as plain values: shares in [0, 1], times in ms."""
    cost, long = results.cost, results.long
    people = [{**asdict(result), "score": _score_to_dict(result.score)} for result in results.people]
    noises = [{**asdict(result), "words_per_minute": result.words_per_minute} for result in results.noises]
    return {
        "system": results.system,
        "num_sessions": results.num_sessions,
        "families": [
            {**asdict(result), "audible_ratio": result.sound.ratio if result.sound else None}
            for result in results.families
        ],
        "heard": [
            {"group": result.group, "system": result.system, **_score_to_dict(result.score)} for result in results.heard
        ],
        "people": {"groups": people, "noises": noises} if noises else None,
        "spoken": {name: {**asdict(score), "ratio": score.ratio} for name, score in results.spoken.items()},
        "cost": cost and {**asdict(cost), "ratio": cost.ratio},
        "long": long and {**asdict(long), "points_lost": long.points_lost},
        "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars(results)],
    }


def _score_to_dict(score: HeardScore) -> dict[str, object]:
    return {**asdict(score), "share_right": score.share_right, "unsaid_share": score.unsaid_share}


def print_tables(results: Results, console: Console) -> None:
    """The tables of what was measured, then the bars."""
    cost, long = results.cost, results.long
    if results.families:
        console.print(_family_table(results.families))
    if any(result.by_lane.delegation for result in results.families):
        console.print(_delegation_table(results.families))
    for result in results.families:
        if result.by_lane.yielding is not None and result.system == results.system:
            console.print(_yield_line(result.by_lane.yielding))
    if results.heard:
        console.print(_heard_table(results.heard, results.system))
    if results.noises:
        console.print(_people_table(results.people, results.system))
        console.print(_noise_table(results.noises))
    for name, spoken in results.spoken.items():
        console.print(_spoken_line(name, spoken))
    if cost is not None:
        console.print(
            f"A turn with sound and a picture: p50 {cost.p50_ms:.1f} ms, p99 {cost.p99_ms:.1f} ms over {cost.num_turns}"
            f" turns.\nMinute 1: {cost.first_minute_ms:.1f} ms, {cost.first_minute_mb:.0f} MB;"
            f" minute {cost.minutes:g}: {cost.last_minute_ms:.1f} ms, {cost.last_minute_mb:.0f} MB."
        )
    if long is not None:
        console.print(
            f"{long.config.num_sessions} sessions of {long.config.minutes:g} minutes, event accuracy: first"
            f" {long.config.edge_minutes:g} minutes {_share(long.first.event_accuracy)} of {long.first.num_events},"
            f" last {_share(long.last.event_accuracy)} of {long.last.num_events}."
        )
    table = _table("Bars", ["figure"], ["reached", "bar"])
    table.add_column("")
    for bar in bars(results):
        reached = "-" if bar.value is None else f"{bar.value:.2f} {bar.unit}".rstrip()
        sign = ">=" if bar.at_least else "<="
        verdict = "[green]holds[/green]" if bar.holds else "[red]does not hold[/red]"
        table.add_row(bar.figure, reached, f"{sign} {bar.limit:g} {bar.unit}".rstrip(), verdict)
    console.print(table)


def _table(title: str, names: Iterable[str], figures: Iterable[str]) -> Table:
    """An empty table; figures stand at the right of their columns."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in names:
        table.add_column(name)
    for name in figures:
        table.add_column(name, justify="right")
    return table


def _family_table(results: Sequence[FamilyResult]) -> Table:
    columns = (
        "events", "event accuracy", "session accuracy", "extra words/min", "words/min", "reaction",
        "off by one", "exact", "count error", "audible",
    )  # fmt: skip
    title = "Held-out sessions, from the say lane and from the sound alone"
    table = _table(title, ["family", "system"], columns)
    last = results[0].family
    for result in results:
        if result.family != last:
            table.add_section()
        last = result.family
        table.add_row(result.family, result.system, *_figure_cells(result.by_lane), "")
        if result.by_sound is not None:
            ratio = None if result.sound is None else result.sound.ratio
            audible = "-" if ratio is None else f"{ratio:.2f} x"
            table.add_row("", f"{result.system} (sound alone)", *_figure_cells(result.by_sound), audible)
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


def _delegation_table(results: Sequence[FamilyResult]) -> Table:
    columns = ("handed over", "not handed over", "answered meanwhile", "results in time", "results right", "changes")
    table = _table("What is handed over, and what comes back", ["system"], columns)
    for result in results:
        for name, figures in ((result.system, result.by_lane), (f"{result.system} (sound alone)", result.by_sound)):
            if figures is not None and figures.delegation is not None:
                table.add_row(name, *_delegation_cells(figures.delegation))
    table.caption = "Shares of all that belong into a column, and how many these are."
    return table


def _delegation_cells(score: DelegationScore) -> list[str]:
    shares = (
        (score.handed_over, score.num_requests),
        (score.left, score.num_others),
        (score.followed, score.num_follow_ups),
        (score.in_time, score.num_results),
        (score.results_right, score.num_results),
        (score.changed, score.num_changes),
    )
    return [f"{_share(share)} of {count}" for share, count in shares]


def _heard_table(results: Sequence[HeardResult], system: str) -> Table:
    table = _table("Words heard right of synthesised voices", ["voices", "system"], SCORE_COLUMNS)
    for result in results:
        own = result.system == system
        if own:
            table.add_section()
        bar = _bar_cell(VOICES_RIGHT.get(result.group) if own else None)
        table.add_row(result.group if own else "", result.system, *_score_cells(result.score), bar)
    return table


def _people_table(results: Sequence[PeopleResult], system: str) -> Table:
    title = "Words heard right of real people whom training does not know"
    table = _table(title, ["people", "system"], ["clips", "speakers", *SCORE_COLUMNS])
    table.caption = (
        "Words: those of the lexicon and other common ones. Nobody noted who says the wake words: what is held"
        " out there is files, not people."
    )
    for result in results:
        speakers = "?" if result.num_people is None else str(result.num_people)
        own = result.system == system
        if own:
            table.add_section()
        bar = _bar_cell(PEOPLE_RIGHT.get(result.group) if own else None)
        cells = [result.system, str(result.num_clips), speakers, *_score_cells(result.score)]
        table.add_row(result.group if own else "", *cells, bar)
    return table


def _noise_table(results: Sequence[NoiseResult]) -> Table:
    table = _table("Words written while nobody speaks", ["sound"], ["seconds", "words", "words/min", "bar"])
    for result in results:
        rate = f"{result.words_per_minute:.2f}"
        table.add_row(result.sound, f"{result.seconds:.0f}", str(result.words), rate, f"<= {UNSAID_PER_MINUTE:g}")
    return table


def _spoken_line(recogniser: str, score: SpokenScore) -> str:
    ours, fluent, by_word = (
        _share(count / score.num_words) for count in (score.errors, score.errors_fluent, score.errors_by_word)
    )
    return (
        f"Unseen sentences, {score.num_words} words: {recogniser}, expecting any English, makes {ours} errors in our"
        f" voice, {fluent} in the synthesis of the sentence, {by_word} in the synthesis word by word."
    )


def _yield_line(score: YieldScore) -> str:
    after = "-" if score.silent_ms is None else f"{score.silent_ms:.0f} ms"
    return (
        f"{score.num_interruptions} times the user speaks into a long answer; at {score.num_speaking} the model did"
        f" speak: it is silent within {SOON_MS:.0f} ms after {_share(score.yielded)} of them, median {after}."
    )


def _score_cells(score: HeardScore) -> list[str]:
    return [str(score.words), _share(score.share_right), _share(score.unsaid_share)]


def _bar_cell(limit: float | None) -> str:
    return "" if limit is None else f">= {limit:g} %"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100.0 * value:.1f} %"
