"""An open interaction model: listens, watches, reads, speaks and writes in micro-turns of 200 ms."""
