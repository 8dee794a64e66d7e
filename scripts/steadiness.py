"""Is the voice steady? The level of its words, and its wave at the edges of turns, beside the synthesis that taught it.

    .venv/bin/python scripts/steadiness.py [WEIGHTS] [SENTENCES]

Of the sentences of ``bench open --part spoken``, said word by word. The level of a word is the RMS of its samples:
told are the spread over all words, within one word (the same word in several sentences), and what our words are louder
than their synthesis. A click is a bend of the wave: the mean second difference at the samples around a turn's edge over
that of all others; 1 where nothing is to be heard of edges.
"""

import sys
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from microturn.bench.spoken import sentences, voiced
from microturn.model.microturn import use_one_thread
from microturn.model.weights import load
from microturn.scenario.script import assistant_speech
from microturn.turn import TURN_SAMPLES, Pcm

EDGE_SAMPLES = 8


def level_db(pcm: Pcm) -> float:
    """RMS in dB, silence at -60."""
    return 10.0 * float(np.log10(np.square(pcm).mean() + 1e-6))


def bends(pcm: Pcm) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Second differences around the edges of turns, and all others."""
    bend = np.abs(np.diff(pcm, 2, prepend=pcm[:2]))
    place = (np.arange(len(bend)) + EDGE_SAMPLES // 2) % TURN_SAMPLES
    is_edge = place < EDGE_SAMPLES
    is_edge[: TURN_SAMPLES // 2] = False  # where the sentence begins
    return bend[is_edge], bend[~is_edge]


def main(weights: str, num_sentences: int) -> None:
    use_one_thread()
    model = load(weights)
    ours, theirs = defaultdict(list), defaultdict(list)
    edges: dict[str, list[float]] = {"ours": [], "synthesis": []}
    for text in sentences()[:num_sentences]:
        said = {"ours": voiced(model, text), "synthesis": assistant_speech(text).pcm}
        for name, pcm in said.items():
            at_edge, elsewhere = bends(pcm)
            edges[name].append(float(at_edge.mean() / elsewhere.mean()))
        first = 0
        for word in text.split():
            last = first + len(assistant_speech(word).pcm)
            ours[word].append(level_db(said["ours"][first:last]))
            theirs[word].append(level_db(said["synthesis"][first:last]))
            first = last
    for name, levels in (("ours", ours), ("synthesis", theirs)):
        every = np.concatenate(list(levels.values()))
        again = [np.array(one) - np.mean(one) for one in levels.values() if len(one) > 1]
        within = np.concatenate(again)
        print(
            f"{name}: {len(every)} words, level {every.mean():.1f} dB, spread {every.std():.1f} dB, of the same word"
            f" {within.std():.1f} dB; at turn edges {np.mean(edges[name]):.2f} of the bends elsewhere"
        )
    louder = np.concatenate([np.array(ours[word]) - np.array(theirs[word]) for word in ours])
    steady = float((np.abs(louder - louder.mean()) <= 3.0).mean())
    print(
        f"ours over synthesis: {louder.mean():+.1f} dB, spread {louder.std():.1f} dB; {steady:.0%} within 3 dB of that"
    )


main(sys.argv[1] if len(sys.argv) > 1 else "nano", int(sys.argv[2]) if len(sys.argv) > 2 else 50)
