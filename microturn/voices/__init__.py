"""Voices: synthesisers, one file an engine, real people, the voice bank, and who says which word and sound when."""
