.PHONY: attack check format lock audit test test-fast test-slow coverage bench-smoke readme notebooks docs dist

check:
	ruff check .
	ruff format --check .
	mypy
	codespell
	python tools/readme.py --check
	python tools/methods.py --check
	python tools/configuration.py --check
	python tools/history.py --check
	python tools/links.py --check
	python tools/notebooks.py --check

format:
	ruff check --fix .
	ruff format .

# Newest releases that fit together on every system and Python. What torch needs for CUDA is left out: it names
# these releases itself, and torch for the CPU needs none of them.
lock:
	mkdir -p build
	uv pip compile --universal --upgrade --quiet --python-version 3.10 --extra dev --no-annotate --no-header \
		--no-emit-index-url pyproject.toml \
		| grep -vE '^(nvidia-|cuda-|triton)' > build/requirements-dev.lock
	mv build/requirements-dev.lock requirements-dev.lock

# Known holes in what the lock names.
audit:
	pip-audit --requirement requirements-dev.lock --no-deps --disable-pip

test test-fast:
	pytest

test-slow:
	pytest -m "slow or not slow"

coverage:
	pytest --cov --cov-report=term:skip-covered

bench-smoke:
	for script in $$(grep -l parse_args benchmarks/*.py); do python $$script --help > /dev/null || exit 1; done
	python -m goodness bench sff --model small-cnn --image-size 8 --channels 1 --batch-size 8 --steps 1
	python -m goodness profile --method sff --model small-cnn --image-size 8 --channels 1 --batch-size 8 --steps 1

# Minutes, shared by all attacks in tests/attacks.
MINUTES ?= 20

attack:
	python tests/attacks --minutes $(MINUTES)

readme:
	python tools/readme.py
	python tools/methods.py
	python tools/configuration.py
	python tools/history.py
	python tools/links.py

notebooks:
	python tools/notebooks.py

docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

dist:
	rm -rf dist
	python -m build
	twine check --strict dist/*
