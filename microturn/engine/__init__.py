"""All live sessions on one clock: what arrives between two ticks becomes one turn of every session."""
