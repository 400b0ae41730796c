from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from goodness.export.answering import INPUT, Answering
from goodness.extras import needs

if TYPE_CHECKING:
    from onnx import ModelProto


def to_bytes(answering: Answering) -> bytes:
    """An ONNX model, checked by onnx; input ``images``, outputs ``scores`` and ``exits``.

    The batch may have any size. What a program needs to know is in ``metadata_props`` as JSON:
    ``classes``, ``mean``, ``std``, ``readout`` and others, see `Answering.metadata`.

    Raises:
        InputError: onnx or onnxscript is not installed.
    """
    onnx, _ = needs("onnx", "onnx", "onnxscript")
    import torch

    # Without `verbose=False` it reports its steps on standard output.
    program = torch.onnx.export(
        answering.program(),
        dynamic_shapes=answering.any_batch,
        input_names=[INPUT],
        output_names=answering.outputs,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _forget_sources(model)
    onnx.helper.set_model_props(model, answering.metadata())
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _forget_sources(model: ModelProto) -> None:
    """Leave out the lines of source, with paths on this machine, that every node came from."""
    graph = model.graph
    parts: Iterable[Any] = (graph, *graph.node, *graph.value_info, *graph.initializer)
    for part in (*parts, *graph.input, *graph.output, *model.functions):
        del part.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
