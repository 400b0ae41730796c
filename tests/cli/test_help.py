from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "kornia", "matplotlib", "sklearn", "numpy", "goodness.registry")


@pytest.mark.parametrize(
    "command",
    [[], ["train"], ["evaluate"], ["predict"], ["calibrate"], ["methods"], ["bench"], ["profile"]],
)
def test_help_is_quick_because_it_imports_nothing_heavy(command):
    program = (
        "import sys\n"
        "from goodness.cli import main\n"
        "try:\n"
        f"    main({[*command, '--help']!r})\n"
        "finally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Usage: goodness" in done.stdout
    assert done.stderr == "[]\n"


def test_a_shell_completes_commands_and_options(goodness, monkeypatch):
    monkeypatch.setenv("_GOODNESS_COMPLETE", "complete_bash")
    for words, expected in (
        ("goodness expo", "export"),
        ("goodness export run --form", "--format"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert goodness() == (0, f"{expected}\n", "")


def test_python_m_goodness_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "goodness", "trian"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "'train'" in done.stderr
    assert "Usage: goodness" in done.stderr


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_idle_threads_sleep_soon_unless_the_user_chose(chosen, expected):
    program = (
        "import os\n"
        "from goodness.cli import main\n"
        "try:\n"
        "    main(['--version'])\n"
        "finally:\n"
        "    print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environ = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**environ, **chosen}
    )
    assert done.stdout.splitlines()[-1] == str(expected)
