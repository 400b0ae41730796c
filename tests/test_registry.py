from __future__ import annotations

import inspect

import pytest

from goodness.config import axes
from goodness.errors import InputError
from goodness.loggers import LOGGERS
from goodness.readout import READOUTS
from goodness.registry import Registry

AXES = [*axes().values(), READOUTS, LOGGERS]
ENTRIES = [
    pytest.param(axis, name, id=f"{axis.kind}-{name}") for axis in AXES for name in axis.names()
]


@pytest.mark.parametrize(("axis", "name"), ENTRIES)
def test_every_choice_is_described_and_resolves_with_its_defaults(axis, name):
    first_line = inspect.cleandoc(axis[name].__doc__).splitlines()[0]

    assert first_line.endswith(".")
    assert axis.resolve(name) == axis.resolve({"name": name})
    assert axis.resolve(axis.resolve(name)) == axis.resolve(name)


def test_names_are_sorted_and_cannot_be_taken_twice():
    registry = Registry("thing")
    registry.register("two")(object)
    registry.register("one")(object)

    assert list(registry) == registry.names() == ["one", "two"]
    with pytest.raises(InputError, match="two things are called 'one'"):
        registry.register("one")(object)
    assert all(axis.names() for axis in AXES)


def test_options_are_checked_and_converted():
    registry = Registry("thing")

    @registry.register("one")
    def one(place, *, size: int = 2, names: list[str] = ()):
        return place, size, list(names)

    assert registry.resolve({"name": "one", "size": "3"})["size"] == 3
    assert registry.make({"name": "one", "size": 4, "names": ["a"]}, "here") == ("here", 4, ["a"])
    with pytest.raises(InputError, match=r"thing\.size: .*\(got 'x'\)"):
        registry.resolve({"name": "one", "size": "x"})
    with pytest.raises(InputError, match="unknown thing 'on'; did you mean 'one'"):
        registry.resolve("on")
    with pytest.raises(InputError, match=r"did you mean 'thing\.size'"):
        registry.resolve({"name": "one", "sise": 1})
    with pytest.raises(InputError, match="the thing needs a name"):
        registry.resolve({"size": 1})


def test_a_module_that_cannot_be_imported_fails_every_look_up_until_it_can(tmp_path, monkeypatch):
    package = tmp_path / "half_a_registry"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broken.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("thing", "half_a_registry")

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            registry.names()
    (package / "broken.py").unlink()
    assert registry.names() == []
