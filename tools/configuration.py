"""Write docs/configuration.md: every configuration key, from what `goodness.config` says of it.

python tools/configuration.py [--check]
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from goodness.config import KEYS, SECTIONS, SHORT_FORMS, Config, axes
from goodness.loggers import LOGGERS
from goodness.methods import METHODS
from goodness.readout import READOUTS
from goodness.registry import Registry, options
from links import linked

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

Every key of a run. The same keys stand in a YAML file (`goodness train --config run.yaml`), in
`--set key=value`, as options, as keywords of `goodness.fit`, `goodness.build` and
`goodness.localize`, and in a run's `config.json`. Later ones win: default, the method's value, its
value for the data, config file, `--set`, option.

- A **part** is a choice with options: `objective: {name: classifier, pool: 2}`, or its name alone,
  `--set objective.pool=2` or `--objective classifier`. Options that are not given keep the
  method's value where the choice knows them.
- ✱: at least one method has a value of its own, see `goodness train --method NAME --dry-run`.
- ↻: `--resume` may change it; all other keys are those of the run.
- Relative paths are kept as absolute ones, so that a run can be used from another folder.
"""
TITLES = {
    "method": "Method: what makes one method another",
    "model": "Model: the network and how it is cut",
    "data": "Data",
    "run": "Run: how long, and from which seed",
    "training": "Training: from gradients to updates",
    "machine": "Machine: where and how fast",
}
SECTION_TITLES = {
    "augment": "Augmentation",
    "early_stopping": "Early stopping",
    "checkpoint": "Checkpoints",
}
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "on or off"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def page() -> str:
    """The whole page."""
    schema = Config.model_json_schema()["properties"]
    lines = [HEAD]
    for scope, title in TITLES.items():
        lines += [
            f"## {title}",
            "",
            "| key | option | value | default | |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(name, schema) for name, key in KEYS.items() if key.scope == scope]
        lines.append("")
    for section, title in SECTION_TITLES.items():
        lines += [f"## {title}", "", "| key | value | default | |", "|---|---|---|---|"]
        fields = SECTIONS[section].model_json_schema()["properties"]
        for name, field in SECTIONS[section].model_fields.items():
            shown = "" if field.default is None else _shown(field.default)
            cells = [f"`{section}.{name}`", _value(fields[name]), shown, field.description]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Parts", ""]
    for registry in (*axes().values(), READOUTS, LOGGERS):
        lines += [f"### {registry.kind}", "", "| name | options | |", "|---|---|---|"]
        lines += [_choice(registry, name) for name in registry]
        lines.append("")
    return linked("\n".join(lines))


def _row(name: str, schema: dict[str, Any]) -> str:
    key = KEYS[name]
    if name in SHORT_FORMS:
        cells = [f"`{key.option}`", "number", f"short for `{key.part}.{name}`"]
    else:
        default = Config.model_fields[name].default
        unset = default is PydanticUndefined or default is None
        own = any(name in METHODS[method].values for method in METHODS)
        option = f"{key.option}`, `--no-{key.option[2:]}" if key.kinds[0] is bool else key.option
        cells = [
            f"`{option}`" if option else "",
            ("part" if key.option else "parts") if dict in key.kinds else _value(schema[name]),
            ("" if unset else f"{_shown(default)} ") + ("✱" if own else ""),
        ]
    text = key.text + (" ↻" if key.resume else "")
    return f"| {' | '.join(f'{cell}'.strip() for cell in (f'`{name}`', *cells, text))} |"


def _shown(default: Any) -> str:
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _value(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(_value(each) for each in schema["anyOf"] if each.get("type") != "null")
    if words := schema.get("enum", [schema[key] for key in ("const",) if key in schema]):
        return ", ".join(f"`{word}`" for word in words)
    if schema.get("type") == "array":
        items = schema.get("prefixItems", [schema.get("items", {})])
        return "list of " + ", ".join(dict.fromkeys(_value(item) for item in items))
    bounds = " and ".join(
        f"{sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema
    )
    return f"{KINDS.get(schema.get('type', ''), 'mapping')} {bounds}".strip()


def _choice(registry: Registry[Any], name: str) -> str:
    text = (inspect.getdoc(registry[name]) or "").partition("\n")[0]
    known = ", ".join(f"`{key}={default}`" for key, (_, default) in options(registry[name]).items())
    return f"| `{name}` | {known} | {text} |"


def main() -> int:
    """Write the page, or only tell whether it is fresh."""
    text = page()
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/configuration.md is stale: run 'make readme'", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
