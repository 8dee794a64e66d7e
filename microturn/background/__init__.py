"""The second mind: answers that take longer than a turn, worked out beside the conversation (docs/background.md)."""
