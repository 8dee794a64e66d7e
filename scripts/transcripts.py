"""Sessions of a family in words: what was said and typed to the model, what it heard, what it ought to say and said.

    .venv/bin/python scripts/transcripts.py FAMILY SESSIONS [WEIGHTS] [given]

Times are seconds of the session. With ``given`` the words are given in place of the sound. The last line tells of how
many events all words were heard or came in text, and how many of those were answered: what the ear loses, and what is
lost behind it.
"""

import sys

from microturn.bench.events import lane_words, said_runs, score_session
from microturn.bench.suite import sessions_of
from microturn.bench.systems import model_system
from microturn.model.microturn import use_one_thread
from microturn.turn import TURN_MS


def main(family: str, num_sessions: int, weights: str, words_given: bool) -> None:
    """Print every session, then the sum."""
    use_one_thread()
    num_events = num_heard = num_answered = num_right = 0
    for played in model_system(weights, None).play(sessions_of(family, num_sessions, words_given=words_given)):
        scenario, runs = played.scenario, said_runs(played.outputs)
        typed = [f"{turn * TURN_MS / 1000:.1f} {text.text}" for turn, texts in scenario.texts.items() for text in texts]
        written = [word.text for word in lane_words((output.turn, output.hear) for output in played.outputs)]
        known = {*written, *(word for text in typed for word in text.split())}
        matches = score_session(scenario.events, scenario.num_turns, runs).matches
        print(f"session {played.session}")
        print("  spoken: ", " ".join(word.text for word in scenario.heard))
        if typed:
            print("  in text:", "; ".join(typed))
        print("  heard:  ", " ".join(written))
        print("  due:    ", "; ".join(f"{event.at_ms / 1000:.1f} {event.words}" for event in scenario.events))
        print("  said:   ", "; ".join(f"{(run.first_turn + 1) * TURN_MS / 1000:.1f} {run.text}" for run in runs))
        print(f"  right:   {len(matches)} of {len(scenario.events)}")
        answered = {id(match.event) for match in matches}
        for event in scenario.events:
            is_heard, is_right = set(event.words.split()) <= known, id(event) in answered
            num_events, num_heard = num_events + 1, num_heard + is_heard
            num_answered, num_right = num_answered + is_right, num_right + (is_heard and is_right)
    print(f"{num_events} events, {num_answered} answered; words known of {num_heard}, {num_right} of them answered")


main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "nano", "given" in sys.argv[4:])
