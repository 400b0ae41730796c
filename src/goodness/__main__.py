"""``python -m goodness`` is ``goodness``."""

from __future__ import annotations

from goodness.cli import main

if __name__ == "__main__":
    main()
