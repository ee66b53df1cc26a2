# Everything that a person types; `make` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The Python that makes .venv: the first of these that is 3.11 or newer, or PYTHON=... alone.
PYTHON ?= python3 python3.13 python3.12 python3.11
BIN := .venv/bin
# Written last, so that an install that was cut short is never taken for a whole one.
INSTALLED := .venv/.installed
INSTALL_LOG := .venv/install.log
# What only the benchmark of the loader needs: sees all of .venv, which it leaves as it is.
PEERS := .venv-peers
PEERS_INSTALLED := $(PEERS)/.installed
# Where `make cluster` keeps its files; sockets want a short path.
CLUSTER := $(CURDIR)/.cluster

.PHONY: help demo ablations test gpu lint format bench-shards bench-loader bench-data kill-shards kills bench-saving bench-tracking bench-scaling parity chaos cluster cluster-down clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## the whole pipeline on handwritten digits: shard, train twice, compare
	@say() { printf '\n$$ %s\n' "$$*"; "$$@"; }
	export PATH="$(CURDIR)/$(BIN):$$PATH"
	say python data_prep/digits.py .demo/digits
	say python data_prep/shard.py .demo/digits
	printf '\n$$ python -m pipeline.dtype configs/digits.yaml\n'
	dtype=$$(python -m pipeline.dtype configs/digits.yaml)
	launch="python slurm/launch.py --cluster local configs/digits.yaml engine.dtype=$$dtype"
	say $$launch name=digits-pooling-$$dtype
	say $$launch name=digits-identity-$$dtype model.metaformer.token_mixers=identity
	say python -m pipeline.compare digits-pooling-$$dtype digits-identity-$$dtype
	printf '\nto see the curves in MLflow: $(BIN)/python -m pipeline.tracking open\n'

ablations: $(INSTALLED)  ## the paper's Table 5 in small, on handwritten digits (10 minutes)
	@say() { printf '\n$$ %s\n' "$$*"; "$$@"; }
	export PATH="$(CURDIR)/$(BIN):$$PATH"
	base=configs/miniature.yaml
	say python data_prep/digits.py .demo/digits
	say python data_prep/shard.py .demo/digits
	say python slurm/launch.py --cluster local --base $$base configs/ablations/*.yaml
	say python -m pipeline.compare --paper table5 --base $$base --svg .demo/ablations.svg
	printf '\nto see the curves in MLflow: %s\n' "python -m pipeline.tracking sync runs/miniature-*"

test: $(INSTALLED)  ## run the tests
	@$(BIN)/python -m pytest

cluster: $(INSTALLED)  ## a Slurm cluster of eight nodes on this machine, with accounting
	@$(BIN)/python -m tests.slurm.cluster up --folder "$(CLUSTER)"

cluster-down: $(INSTALLED)  ## stop all of that cluster and delete its files
	@$(BIN)/python -m tests.slurm.cluster down --folder "$(CLUSTER)"

# With PHOTOS=FOLDER, class folders of JPEGs, these take the place of made ones. On a machine without
# network whose Python has the packages: make -o .venv/.installed gpu BIN=/path/to/its/bin
# Such a machine has packages in versions, and pytest plugins, that no lock has chosen: the plugins
# stay out, and only this project's own warnings are errors.
gpu: $(INSTALLED)  ## prove and measure all that a GPU does: tests, training, loading (9 minutes)
	@failed=
	run() {
	    local began=$$SECONDS
	    printf '\n$$ %s\n' "$$*"
	    "$$@" || failed=1
	    echo "$$((SECONDS - began)) s"
	}
	photos=($${PHOTOS:+--photos "$$PHOTOS"})
	export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
	warnings=$$'default\nerror:::(pipeline|tests)\\b'
	run $(BIN)/python -m pytest -m gpu -rP --durations=5 -o "filterwarnings=$$warnings" tests/gpu
	run $(BIN)/python -m tests.benchmarks.gpu "$${photos[@]}"
	run $(BIN)/python -m tests.benchmarks.gpu.loading "$${photos[@]}"
	[ -z "$$failed" ]

lint: $(INSTALLED)  ## ruff, pyright and the import rules
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright

# All need PHOTOS=FOLDER, class folders of JPEGs, and write tests/benchmarks/results.
bench-shards: $(INSTALLED)  ## sharding beside its peers and limits, and its growth (12 minutes)
	@: $${PHOTOS:?set PHOTOS to a folder with class folders of JPEGs}
	$(BIN)/python tests/benchmarks/sharding.py passthrough $$PHOTOS --images 50000
	$(BIN)/python tests/benchmarks/sharding.py decode $$PHOTOS --images 6000
	$(BIN)/python tests/benchmarks/scale.py folders
	$(BIN)/python tests/benchmarks/scale.py archive

bench-loader: $(INSTALLED) $(PEERS_INSTALLED)  ## the loader beside FFCV, DALI, timm and torchvision (20 minutes)
	@: $${PHOTOS:?set PHOTOS to a folder with class folders of JPEGs}
	$(BIN)/python tests/benchmarks/loader/contest.py $$PHOTOS --peers $(PEERS)

bench-data: $(INSTALLED)  ## reading, a rank's start and the loader's memory (15 minutes)
	@: $${PHOTOS:?set PHOTOS to a folder with class folders of JPEGs}
	$(BIN)/python tests/benchmarks/reading.py $$PHOTOS
	$(BIN)/python tests/benchmarks/start.py
	$(BIN)/python tests/benchmarks/memory.py $$PHOTOS --epochs 60

kill-shards: $(INSTALLED)  ## kill sharding 20 times at random; its shards must not differ (1 minute)
	@: $${PHOTOS:?set PHOTOS to a folder with class folders of JPEGs}
	$(BIN)/python tests/benchmarks/kills.py $$PHOTOS

kills: $(INSTALLED)  ## kill trainings 120 times at random; they must end to the last bit alike (10 minutes)
	@$(BIN)/python tests/benchmarks/training_kills.py

bench-saving: $(INSTALLED)  ## what saving and restoring M48 costs, beside the disk's limit (3 minutes)
	@$(BIN)/python tests/benchmarks/saving.py

bench-tracking: $(INSTALLED)  ## what MLflow costs a training, well or not; comparing 100 runs (10 minutes)
	@$(BIN)/python tests/benchmarks/tracking.py
	$(BIN)/python tests/benchmarks/compare.py

bench-scaling: $(INSTALLED)  ## step times of one and two ranks beside their forecast (5 minutes)
	@$(BIN)/python tests/benchmarks/scaling/contest.py

parity: $(INSTALLED)  ## training beside plain PyTorch: ZeRO stages, dtypes, ranks (20 minutes)
	@$(BIN)/python tests/benchmarks/parity/harness.py

chaos: $(INSTALLED)  ## kill, stop and preempt trainings on a Slurm cluster; they must end as if nobody had (20 minutes)
	@$(BIN)/python -m tests.slurm.chaos

format: $(INSTALLED)  ## put the code in its format and fix what can be fixed
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## delete the demos' images, shards and runs, and caches; other runs stay
	@rm -rf .demo shards/digits runs/digits-pooling-* runs/digits-identity-* runs/miniature-*
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock
	@python=
	for candidate in $(PYTHON); do
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	        python=$$candidate
	        break
	    fi
	done
	if [ -z "$$python" ]; then
	    echo "error: no Python 3.11 or newer among: $(PYTHON);" \
	        "install one, or name it: make PYTHON=/path/to/python3.11" >&2
	    exit 2
	fi
	if ! "$$python" -c 'import ensurepip' 2>/dev/null; then
	    echo "error: $$python has no ensurepip; install its venv package (Debian, Ubuntu: python3-venv)" >&2
	    exit 2
	fi
	# A .venv whose Python is gone or that has no pip is made anew; another is completed.
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
	    rm -rf .venv
	    "$$python" -m venv .venv
	fi
	rm -f $@
	total=$$(grep -c == $<)
	echo "installing $$total packages into .venv: about 7 GB, 2-3 minutes on a fast line"
	if ! $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -r $< 2>&1 \
	    | tee $(INSTALL_LOG) \
	    | awk -v total=$$total '
	        /^(Collecting|Requirement already satisfied)/ { if (++n % 25 == 0) print "  " n " of " total " fetched" }
	        /^Building wheels/ { print "  building deepspeed" }
	        /^Installing collected/ { print "  unpacking" }
	        { fflush() }'
	then
	    echo "error: the install failed; the end of $(INSTALL_LOG):" >&2
	    tail -n 15 $(INSTALL_LOG) >&2
	    echo "run the same command again to continue" >&2
	    exit 1
	fi
	touch $@

$(PEERS_INSTALLED): pyproject.toml | $(INSTALLED)
	@if ! pkg-config --exists opencv4 libturbojpeg || ! command -v g++ >/dev/null; then
	    echo "error: FFCV is built from source and needs g++, pkg-config, OpenCV and libturbojpeg" \
	        "(Debian: apt-get install g++ pkg-config libopencv-dev libturbojpeg0-dev); to go without" \
	        "FFCV: $(BIN)/python tests/benchmarks/loader/contest.py PHOTOS" >&2
	    exit 2
	fi
	rm -rf $(PEERS)
	$(BIN)/python -m venv $(PEERS)
	where='import sysconfig; print(sysconfig.get_path("purelib"))'
	$(BIN)/python -c "$$where" >"$$($(PEERS)/bin/python -c "$$where")/project.pth"
	group='import tomllib; print(*tomllib.load(open("$<", "rb"))["project"]["optional-dependencies"]["peers"])'
	echo "building FFCV in $(PEERS): about a minute"
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -q $$($(BIN)/python -c "$$group")
	touch $@
