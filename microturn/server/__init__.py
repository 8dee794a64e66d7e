"""The network's side of live sessions: protocols as state machines, a socket around them, and who may come in."""
