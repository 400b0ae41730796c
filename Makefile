.PHONY: attack check format test readme

check:
	ruff check .
	ruff format --check .
	mypy
	python tools/readme.py --check
	python tools/methods.py --check
	python tools/configuration.py --check
	python tools/history.py --check
	python tools/links.py --check

format:
	ruff check --fix .
	ruff format .

test:
	pytest

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
