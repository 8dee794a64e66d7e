"""Scenarios: labelled sessions made by programs, one file a family, and practice for a single skill."""
