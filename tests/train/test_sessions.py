"""Rows of sessions: every target stands where it is decided, sounds and texts are as streaming would have them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microturn.errors import InputError
from microturn.language.tokenizer import default_tokenizer
from microturn.media.mel import log_mel, normalise_mel
from microturn.model.flow import SILENT_MEL
from microturn.model.lanes import initial_lane_state, lanes
from microturn.model.outputs import ACTS, SAY_WEIGHT, OutputVocabulary
from microturn.model.pointing import letters_at
from microturn.model.spelling import (
    ALPHABET,
    BEGINNING,
    FIRST_LETTER,
    NOTHING,
    renamed,
    spelt,
    word_letters,
)
from microturn.model.turns import End, Kind, Sound, Source
from microturn.scenario.practice import DONE, PRACTICE, REHEARSED, RESULTS, SPELLING, WATCHING, make_scenario
from microturn.scenario.scenario import HEAR_LAG_MS, Scenario
from microturn.session.session import Session
from microturn.train.augment import AugmentConfig
from microturn.train.batch import Head, MelTargets, Row, collate
from microturn.train.sessions import FLOW_EVERY, Packer, SessionRows, sounds, spread
from microturn.train.voice import speaking
from microturn.turn import TURN_MS, TURN_SAMPLES, TextIn, TextSource, TurnInput
from tests.parity.small import small_model
from tests.train.tiny import WORDS, echo, materials

TOKENIZER = default_tokenizer()
OUTPUTS = OutputVocabulary(TOKENIZER.vocab_size)
FAMILIES = (
    *(f"{REHEARSED}{family}" for family in ("say", "time", "cue", "free", "idle", "string", "count", "delegate")),
    PRACTICE,
    SPELLING,
    RESULTS,
)


def packed(scenario: Scenario, augment: AugmentConfig | None = None, seed: int = 0) -> Row:
    return Packer(TOKENIZER, 2, augment).row(scenario, np.random.default_rng(seed))


def pixels(row: Row) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([patch.pixels for patch in row.patches])


def spoken(scenario: Scenario, augment: AugmentConfig | None = None, seed: int = 0) -> tuple[Row, MelTargets]:
    row = Packer(TOKENIZER, 2, augment).spoken_row(scenario, np.random.default_rng(seed))
    assert row.mel is not None and not row.targets
    return row, row.mel


def told(row: Row, head: Head) -> list[tuple[int, int, float]]:
    targets = row.targets[head]
    return list(zip(targets.at_P.tolist(), targets.value_P.tolist(), targets.weight_P.tolist(), strict=True))


def check_said(row: Row) -> None:
    """What is told at each place is what comes next: a word to say, or how the turn ended."""
    tokens = row.tokens.tolist()
    ends = 0
    for at, value, weight in told(row, Head.SAY):
        turn = tokens[at][3]
        assert tokens[at][0] in (Kind.NOW, Kind.SAY, Kind.ACT)
        if OUTPUTS.act <= value < OUTPUTS.listen:
            assert tokens[at + 1][:4] == [Kind.ACT, Source.SELF, value - OUTPUTS.act, turn] and weight == 1.0
        elif value < OUTPUTS.vocab_size:
            kind, source, payload, unit, _ = tokens[at + 1]
            assert (kind, source, payload, unit, weight) == (Kind.SAY, Source.SELF, value, turn, SAY_WEIGHT)
        else:
            assert weight == 1.0 and turn == ends, "every turn has one end, the last that is told in it"
            ends += 1
            assert at + 1 == len(tokens) or tokens[at + 1][3] == turn + 1
            if ends < row.num_turns:
                now = next(token for token in tokens[at + 1 :] if token[0] == Kind.NOW)
                assert now[2] == (End.SPEAK if value == OUTPUTS.speak else End.LISTEN)
    assert ends == row.num_turns
    assert len(row.targets[Head.SAY].at_P) == ends + sum(token[0] in (Kind.SAY, Kind.ACT) for token in tokens)


@given(st.integers(0, 10_000), st.booleans())
def test_every_target_is_what_comes_next(seed: int, augmented: bool) -> None:
    row = packed(echo(seed, 14), AugmentConfig() if augmented else None, seed=seed)
    check_said(row)
    assert sum(value == OUTPUTS.speak for _, value, _ in told(row, Head.SAY)) == 2


@pytest.mark.assistant
@pytest.mark.parametrize("family", FAMILIES)
def test_every_target_of_every_family_is_what_comes_next(family: str) -> None:
    for seed in range(3):
        scenario = make_scenario(family, seed, "train", None)
        check_said(packed(scenario, AugmentConfig(), seed=seed))
        plain = packed(scenario)
        check_said(plain)
        for kind, labels in ((Kind.HEAR, scenario.hear_labels()), (Kind.SAY, scenario.say_labels())):
            words = [token for said in labels.values() for word in said for token in TOKENIZER.encode_word(word)]
            assert plain.tokens[plain.tokens[:, 0] == kind, 2].tolist() == words


def test_a_word_is_said_at_the_now_of_its_turn() -> None:
    scenario = echo(3)
    (utterance,) = scenario.said
    row = packed(scenario)
    (word,) = TOKENIZER.encode_word(utterance.speech.words[0].text)
    ((at, _, _),) = [target for target in told(row, Head.SAY) if target[1] == word]
    assert row.tokens[at].tolist()[::3] == [Kind.NOW, utterance.turn]
    heard = row.tokens[row.tokens[:, 0] == Kind.HEAR]
    assert heard[:, 2].tolist() == [word]
    assert heard[0, 3] == int((scenario.heard[0].end_ms + HEAR_LAG_MS) // TURN_MS)


def test_texts_come_with_their_sources_and_wait_for_room() -> None:
    words = list(WORDS) * 4
    texts: dict[int, tuple[TextIn, ...]] = {
        2: (TextIn(TextSource.TYPED, " ".join(words)),),
        3: (TextIn(TextSource.JOB, "red"),),
    }
    row = packed(replace(echo(0), texts=texts))
    given = row.tokens[row.tokens[:, 0] == Kind.TEXT_IN]
    ids = [token for word in [*words, "red"] for token in TOKENIZER.encode_word(word)]
    assert given[:, 2].tolist() == ids
    assert given[:, 1].tolist() == [Source.TYPED] * (len(ids) - 1) + [Source.JOB]
    assert given[:, 3].tolist() == [2] * 16 + [3] * (len(ids) - 16)


@pytest.mark.assistant
def test_acts_and_what_jobs_bring_are_part_of_a_batch() -> None:
    """An act stands after the word that goes with it, and stays with it when both are late."""
    scenarios = [make_scenario(f"{REHEARSED}delegate", seed, "train", None) for seed in range(4)]
    for augment in (None, AugmentConfig(late_probabilities=(0.5, 0.3))):
        rows = [packed(scenario, augment, seed=seed) for seed, scenario in enumerate(scenarios)]
        for row, scenario in zip(rows, scenarios, strict=True):
            kinds = row.tokens[:, 0]
            acts = np.flatnonzero(kinds == Kind.ACT)
            assert [ACTS[act] for act in row.tokens[acts, 2]] == list(scenario.act_labels().values())
            assert (kinds[acts - 1] == Kind.SAY).all() and (kinds[acts - 2] == Kind.NOW).all()
            brought = [
                text.text for texts in scenario.texts.values() for text in texts if text.source is TextSource.JOB
            ]
            from_jobs = row.tokens[(kinds == Kind.TEXT_IN) & (row.tokens[:, 1] == Source.JOB), 2]
            assert from_jobs.tolist() == TOKENIZER.encode(" ".join(brought))
        width = max(len(row.tokens) for row in rows)
        batch = collate("decide", rows, width, max(row.num_turns for row in rows))
        flat = batch.turns.kind_BT.flatten()
        told_acts = (batch.targets[Head.SAY].value_P >= OUTPUTS.act) & (
            batch.targets[Head.SAY].value_P < OUTPUTS.listen
        )
        assert (flat[batch.targets[Head.SAY].at_P[told_acts] + 1] == Kind.ACT).all() and told_acts.sum() >= 4


def test_what_does_not_fit_goes_on_in_the_next_turn() -> None:
    assert spread({0: "abcde", 1: "f"}, 2, 4) == [["a", "b"], ["c", "d"], ["e", "f"], []]
    assert spread({1: "abc"}, 2, 2) == [[], ["a", "b"]]


def test_sounds_are_those_of_words() -> None:
    """VOICE where a word sounds shortly before the turn's end, GAP only where nothing arrived."""
    scenario = replace(echo(1), gaps=frozenset({7}))
    (word,) = scenario.heard
    expected = np.full(scenario.num_turns, Sound.QUIET, np.int64)
    expected[int(word.start_ms // TURN_MS)], expected[7] = Sound.VOICE, Sound.GAP
    assert sounds(scenario, np.random.default_rng(0), vary=False).tolist() == expected.tolist()


def test_gaps_that_are_drawn_spare_words_and_may_be_long() -> None:
    scenario = echo(1, 80)
    (word,) = scenario.heard
    longest = 0
    for seed in range(100):
        drawn = sounds(scenario, np.random.default_rng(seed), vary=True)
        assert drawn[int(word.start_ms // TURN_MS)] != Sound.GAP
        longest = max(longest, int((drawn == Sound.GAP).sum()))
    assert longest > 30


@pytest.mark.assistant
@pytest.mark.parametrize("family", FAMILIES)
def test_given_words_are_no_gap(family: str) -> None:
    """Rehearsals are heard, and practice is typed with and without a microphone."""
    found = {int(sound) for seed in range(4) for sound in packed(make_scenario(family, seed, "train", None)).sound}
    assert Sound.QUIET in found
    assert (Sound.GAP in found) == (family == PRACTICE)
    assert (Sound.VOICE in found) == (family != PRACTICE)


@pytest.mark.parametrize(
    "augment", [None, AugmentConfig(mishear_probability=0.0, late_probabilities=(), instructed_probability=0.0)]
)
def test_the_sound_of_a_turn_is_told_after_its_last_token(augment: AugmentConfig | None) -> None:
    scenario = echo(2)
    row, mel = spoken(scenario, augment)
    words = packed(scenario, augment)
    assert (row.tokens == words.tokens).all()
    ends = [(at, value) for at, value, _ in told(words, Head.SAY) if value >= OUTPUTS.vocab_size]
    assert mel.at_S.tolist() == [at for at, value in ends if value == OUTPUTS.speak]
    sound = normalise_mel(log_mel(scenario.said[0].speech.pcm)).reshape(2, 20, 80)
    np.testing.assert_allclose(mel.mel_SFM.numpy(), sound, atol=1e-5)
    before = np.stack([np.full((20, 80), SILENT_MEL), sound[0]])
    off = np.abs(mel.last_mel_SFM.numpy() - before)
    assert off.max() < 1e-5 if augment is None else 0.05 < off.mean() < 0.15


def test_the_velocity_is_told_on_some_turns_with_noise_of_its_own() -> None:
    parts = [spoken(echo(seed), seed=seed)[1] for seed in range(40)]
    assert sum(len(mel.flow_V) for mel in parts) == pytest.approx(80 / FLOW_EVERY, abs=10)
    times, noise = (np.concatenate([vars(mel)[name].numpy() for mel in parts]) for name in ("time_V", "noise_VFM"))
    assert times.min() >= 0 and times.max() < 1 and len(set(times.tolist())) == len(times)
    assert noise.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.assistant
def test_speaking_practice_says_every_kind_of_word_with_its_age() -> None:
    """The flow head is given what streaming gives it: the newest words, and how long the last one has lasted."""
    scenario = speaking(np.random.default_rng(0), 12, 20_000)
    row, mel = spoken(scenario)
    said = [word for utterance in scenario.said for word in utterance.speech.words]
    assert len(scenario.said) == 12 and len(mel.at_S) == sum(utterance.num_turns for utterance in scenario.said)
    batch = collate("speak", [row], len(row.tokens), row.num_turns)
    known, _ = lanes(batch.turns, initial_lane_state(1, 1))
    at = mel.at_S
    letters, ages = word_letters(spelt(TOKENIZER), known.model_BTK[0, at], known.age_BTK[0, at])
    assert ages.tolist() == [age + 1 for utterance in scenario.said for age in range(utterance.num_turns)]
    place = 0
    for word, utterance in zip((word.text for word in said), scenario.said, strict=True):
        for _ in range(utterance.num_turns):
            codes = [code for code in letters[place].tolist() if code != NOTHING]
            assert codes[0] == BEGINNING
            spelling = "".join(ALPHABET[code - FIRST_LETTER] for code in codes[1:])
            assert word.startswith(spelling), "in its first turn a long word's last letters are not there yet"
            place += 1
        assert spelling == word or utterance.num_turns == 1


def test_pictures_are_watched_with_a_phase_each() -> None:
    scenario = make_scenario(WATCHING, 4, "train", None)
    row = packed(scenario)
    assert row.targets.keys() == {Head.PHASES}
    assert {row.tokens[at, 3]: phase for at, phase, _ in told(row, Head.PHASES)} == scenario.phases
    assert (row.tokens[row.targets[Head.PHASES].at_P.numpy(), 0] == Kind.NOW).all()
    assert len(row.patches) == 4 * len(scenario.frames)
    assert (row.tokens[[patch.at for patch in row.patches], 0] == Kind.PATCH).all()
    for last, patches in pairwise(pixels(row).reshape(-1, 4, 40, 40, 6)):
        np.testing.assert_array_equal(patches[..., 3:], last[..., :3])


def test_augmented_videos_keep_their_phases_and_change_their_pictures() -> None:
    scenario = make_scenario(WATCHING, 4, "train", None)
    plain = packed(scenario)
    config = AugmentConfig(lost_pictures_probability=0.0)
    changed = [packed(scenario, config, seed=seed) for seed in range(4)]
    assert all(told(row, Head.PHASES) == told(plain, Head.PHASES) for row in changed)
    assert any((pixels(row) != pixels(plain)).any() for row in changed)


@pytest.mark.assistant
@pytest.mark.parametrize("name", [WATCHING, REHEARSED + "count"])
def test_no_end_of_a_repetition_is_told_where_its_picture_is_lost(name: str) -> None:
    config = AugmentConfig(lost_pictures_probability=1.0, lost_pictures=1.0, late_probabilities=(0.5, 0.3))
    ends = lost = 0
    for seed in range(8):
        scenario = make_scenario(name, seed, "train", None)
        row = packed(scenario, config, seed)
        shown = {int(row.tokens[patch.at, 3]) for patch in row.patches}
        if scenario.phases:
            over = {int(row.tokens[at, 3]) for at, phase, _ in told(row, Head.PHASES) if phase == DONE}
        else:
            over = {int(turn) for turn in row.tokens[row.tokens[:, 0] == Kind.SAY, 3]}
        ends, lost = ends + len(over), lost + len(scenario.frames) - len(shown)
        assert over <= shown
    assert ends > 20 and lost > 100


def test_what_training_reads_of_the_sound_is_what_a_session_hears() -> None:
    """Words, whether somebody speaks, and gaps."""
    model = small_model()
    rng = np.random.default_rng(0)
    scenario = echo(3, num_turns=12)
    scenario = replace(
        scenario,
        user=rng.normal(0.0, 0.1, 12 * TURN_SAMPLES).astype(np.float32) * (np.arange(12 * TURN_SAMPLES) % 9000 < 5000),
        gaps=frozenset({4, 5}),
    )
    row = Packer(model.tokenizer, model.config.patch_rows, None).row(scenario, rng, model.network.hearing)
    inputs = scenario.user.reshape(12, TURN_SAMPLES)
    session = Session.open(model)
    heard = [session.step(TurnInput(None if turn in scenario.gaps else inputs[turn])).hear for turn in range(12)]
    words = [row.tokens[(row.tokens[:, 0] == Kind.HEAR) & (row.tokens[:, 3] == turn), 2] for turn in range(12)]
    assert [model.tokenizer.decode(ids.tolist()) for ids in words] == heard and sum(map(bool, heard)) > 3
    assert row.sound[[4, 5]].tolist() == [Sound.GAP] * 2 and {*row.sound.tolist()} - {Sound.GAP}
    assert row.levels is not None and not row.levels[[4, 5]].any()
    check_said(row)


def test_sessions_with_the_users_sound_need_somebody_who_hears() -> None:
    with pytest.raises(InputError, match="need a hearing stack"):
        SessionRows(shares={WATCHING: 1.0}, hears=True).open(materials())(np.random.default_rng(0), 1)


@pytest.mark.assistant
def test_instructions_change_nothing_that_is_told() -> None:
    scenario = make_scenario(REHEARSED + "say", 3, "train", None)
    calm = AugmentConfig(mishear_probability=0.0, extra_probability=0.0, late_probabilities=())
    without = packed(scenario, replace(calm, instructed_probability=0.0))
    instructed = packed(scenario, replace(calm, instructed_probability=1.0))
    is_instruction = (instructed.tokens[:, 0] == Kind.TEXT_IN) & (instructed.tokens[:, 1] == Source.INSTRUCTIONS)
    assert is_instruction.sum() >= 3
    assert (instructed.tokens[~is_instruction][:, [0, 1, 2, 3]] == without.tokens[:, [0, 1, 2, 3]]).all()
    assert [value for _, value, _ in told(instructed, Head.SAY)] == [value for _, value, _ in told(without, Head.SAY)]


@pytest.mark.assistant
@pytest.mark.parametrize("seed", range(6))
def test_words_to_spell_are_spelt_under_other_names_of_the_letters(seed: int) -> None:
    """What is told is pointed at, and in training is not what the word is always spelt by."""
    scenario = make_scenario(SPELLING, seed, "train", None)
    plain, row = packed(scenario), packed(scenario, AugmentConfig(), seed=seed)
    assert plain.renamed == 0 < row.renamed
    batch = collate("decide", [plain], len(plain.tokens), plain.num_turns)
    known, _ = lanes(batch.turns, initial_lane_state(1, 1))
    tokens = {FIRST_LETTER + at: TOKENIZER.encode_word(letter)[0] for at, letter in enumerate(ALPHABET[:26])}
    moved = {tokens[at]: tokens[int(renamed(torch.tensor(at), torch.tensor(row.renamed)))] for at in tokens}
    said = [place for place in told(plain, Head.SAY) if place[1] < OUTPUTS.vocab_size]
    assert len(said) > 10
    for at, value, _ in said:
        after = known.after(torch.tensor([at]))
        letters = letters_at(spelt(TOKENIZER), after.user_RK, after.num_said_R)
        assert value in {tokens.get(letter) for letter in letters[0].tolist()}
    assert [moved[value] for _, value, _ in said] == [
        value for _, value, _ in told(row, Head.SAY) if value < OUTPUTS.vocab_size
    ]
