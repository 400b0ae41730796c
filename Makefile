.PHONY: check format test readme

check:
	ruff check .
	ruff format --check .
	mypy
	python tools/readme.py --check

format:
	ruff check --fix .
	ruff format .

test:
	pytest

readme:
	python tools/readme.py
