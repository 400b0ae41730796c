"""Bytes of the tensors that are alive: on a CPU, where no allocator counts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make inside the context, as long as they live.

    What was alive before, weights and the batch log, is not counted. What an operation needs inside
    itself is not seen.

    Args:
        parameters: whose gradients are counted apart, once they are complete.
    """

    def __init__(self, parameters: Iterable[nn.Parameter] = ()) -> None:
        super().__init__()
        self.peak = 0
        """Most bytes alive at once, gradients included."""
        self.peak_activations = 0
        """Most bytes alive at once without complete gradients."""
        self._parameters = [p for p in parameters if p.requires_grad]
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._gradients: set[int] = set()
        self._before: set[int] = set()

    def __enter__(self) -> LiveBytes:
        self._before = {p.untyped_storage()._cdata for p in self._parameters}
        self._hooks = [p.register_post_accumulate_grad_hook(self._note) for p in self._parameters]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def _note(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._gradients.add(parameter.grad.untyped_storage()._cdata)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in _tensors((args, kwargs))}
        for leaf in _tensors(result):
            storage = leaf.untyped_storage()
            key = storage._cdata
            if key in self._before or (key in given and key not in self._live):
                continue  # a view of what was there before, or written in place
            self._live[key] = (StorageWeakRef(storage), storage.nbytes())
        gone = [key for key, (reference, _) in self._live.items() if reference.expired()]
        for key in gone:
            del self._live[key]
            self._gradients.discard(key)
        total = sum(size for _, size in self._live.values())
        complete = sum(self._live[key][1] for key in self._gradients if key in self._live)
        self.peak = max(self.peak, total)
        self.peak_activations = max(self.peak_activations, total - complete)
        return result

    def reset(self) -> None:
        """Forget the peaks."""
        self.peak = self.peak_activations = 0


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
