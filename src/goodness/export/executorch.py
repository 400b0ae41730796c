from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from goodness.errors import InputError, reason
from goodness.export.answering import Answering
from goodness.extras import needs

MISSING = re.compile(r"\w+::[\w.]+")
DROPOUT = re.compile(r"random_\b|bernoulli|dropout")
"""What it draws by: `goodness.functional.dropout`, and torch's own."""
BROKEN = {"aten::max_pool2d_with_indices_backward.grad_input"}
"""Kernels of version 1.5 that are there and wrong: it adds to what its memory held before."""


class Lowered(NamedTuple):
    """A program for the ExecuTorch runtime's portable kernels."""

    content: bytes
    planned_bytes: int
    """Of the memory that it is given ahead: input, output and all between; not its weights."""
    operators: list[str]


def to_bytes(answering: Answering, batch: int = 1) -> bytes:
    """A program whose method ``forward`` takes exactly ``batch`` images.

    Each entry of `Answering.metadata` is a method without arguments that gives its JSON.

    Raises:
        InputError: executorch is not installed, or lacks an operator.
    """
    needs("executorch", "executorch.exir")
    return lowered(answering.program(batch), "the network", answering.metadata()).content


def lowered(
    program: torch.export.ExportedProgram, name: str, constants: Mapping[str, str] | None = None
) -> Lowered:
    """An exported program with planned memory.

    Args:
        program: of fixed shapes.
        name: for messages.
        constants: texts that methods of these names give.

    Raises:
        InputError: executorch is not installed, or its portable kernels lack an operator.
    """
    exir, library = needs(
        "executorch", "executorch.exir", "executorch.extension.pybindings.portable_lib"
    )
    # A backward graph has operators that the edge dialect does not know; the runtime's kernels do.
    checks = exir.EdgeCompileConfig(_check_ir_validity=False)
    try:
        edge = exir.to_edge(program, constant_methods=constants, compile_config=checks)
        made = edge.to_executorch()
    except RuntimeError as error:
        if "Missing out variants" not in str(error):
            raise InputError(f"{name} cannot be lowered to ExecuTorch: {reason(error)}") from None
        raise lacks(name, MISSING.findall(str(error))) from None
    plan = made.executorch_program.execution_plan[0]
    operators = sorted({".".join(filter(None, (op.name, op.overload))) for op in plan.operators})
    usable = set(library._get_operator_names()) - BROKEN
    if missing := sorted(set(operators) - usable):
        raise lacks(name, missing)
    return Lowered(bytes(made.buffer), sum(plan.non_const_buffer_sizes), operators)


def lacks(name: str, operators: Sequence[str]) -> InputError:
    """That a program needs operators which ExecuTorch does not have."""
    listed = ", ".join(dict.fromkeys(operators))
    hint = ""
    if "batch_norm" in listed:
        hint = (
            " (a batch norm that learns; where it is the model's, --set model.norm=layer has none)"
        )
    elif DROPOUT.search(listed):
        hint = " (dropout; --set boundary.dropout=0 has none)"
    return InputError(f"{name} needs {listed}, which ExecuTorch's portable kernels lack{hint}")
