"""One image as every block sees it, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from goodness.analysis.explain import Explanation
from goodness.reports.figure import INK, plain, save_figure, short

MOST_CLASSES, BEST_CLASSES = 10, 8
"""Up to so many classes all have a bar; of more, so many of the best."""
MAPS = {"goodness": "goodness", "own_map": "own score's map", "readout_map": "readout's map"}
"""A block's maps, and what stands above them."""
SIGNED, UNSIGNED = "RdBu_r", "magma"
KEY = "red: for the answer, blue: against it; goodness: dark is little; every map on its own scale"
"""What the two colour maps say."""
ACCENT, REST = "#2a6f97", "#c9d6df"


def draw_explanation(
    explanation: Explanation, pixels: Tensor, classes: Sequence[str], path: Path
) -> None:
    """Draw the image, and per block its goodness map, class activation maps and class scores.

    For methods that write the label into the image a last row shows the image with every candidate
    label, and the goodness that the blocks together find in it.

    Args:
        explanation: of the image.
        pixels: the image as the network got it, uint8 (C, H, W).
        classes: the K names.
        path: the PNG to write.
    """
    blocks, shown = explanation.blocks, _shown(explanation)
    names = [short(classes[k], k) for k in shown]
    asks = explanation.candidates is not None
    figure = Figure(figsize=(11, 1.2 + 1.9 * (len(blocks) + asks)), layout="constrained")
    parts = figure.subfigures(
        2 if asks else 1, 1, height_ratios=[len(blocks), 1.1] if asks else None, squeeze=False
    )[:, 0]
    maps = [name for name in MAPS if any(getattr(block, name) is not None for block in blocks)]
    ratios = [1.0, *(1.0 for _ in maps), 1.6]
    axes = parts[0].subplots(
        len(blocks), len(ratios), squeeze=False, gridspec_kw={"width_ratios": ratios}
    )
    picture = _picture(pixels)
    for place, (row, block) in enumerate(zip(axes, blocks, strict=True)):
        _bare(row[0])
        if place == 0:
            _show_image(row[0], picture)
            row[0].set_title("image", color=INK, fontsize=10)
        else:
            row[0].set_axis_off()
        row[1].set_ylabel(block.name, color=INK, fontsize=10)
        for axis, name in zip(row[1:], maps, strict=False):
            _show_map(axis, picture, getattr(block, name), signed=name != "goodness")
        _show_belief(row[-1], block.scores, shown, names, explanation.answer)
        if place == 0:
            titles = [*(MAPS[name] for name in maps), "block's belief"]
            for axis, title in zip(row[1:], titles, strict=True):
                axis.set_title(title, color=INK, fontsize=10)
    if explanation.candidates is not None:
        _show_candidates(parts[1], explanation, shown, classes)
    name = plain(classes[explanation.answer])
    figure.suptitle(f"answer: {name} ({explanation.probability:.1%})", color=INK, fontsize=12)
    if any(block.goodness.numel() > 1 for block in blocks):
        figure.supxlabel(KEY, color=INK, fontsize=9)
    save_figure(figure, path, dpi=110)


def _shown(explanation: Explanation) -> list[int]:
    """The classes that every row shows: all in their order, or the best ones, the answer first.

    An explanation knows the network's final probability of the answer alone; the others are ranked
    by the blocks' mean belief.
    """
    scores = [block.scores for block in explanation.blocks if block.scores is not None]
    if not scores:
        return [explanation.answer]
    belief = torch.stack([one.float().softmax(0) for one in scores]).mean(0).cpu()
    if len(belief) <= MOST_CLASSES:
        return list(range(len(belief)))
    belief[explanation.answer] = torch.inf
    best: list[int] = belief.topk(BEST_CLASSES).indices.tolist()
    return best


def _picture(pixels: Tensor) -> np.ndarray[Any, Any]:
    """(C, H, W) in any range as (H, W) or (H, W, 3) from 0 to 1.

    Of other numbers of channels the last one is shown, where a learned label is.
    """
    values = pixels.float() if len(pixels) in (1, 3) else pixels[-1:].float()
    values = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-8)
    if len(values) == 1:
        return values[0].cpu().numpy()
    return values.permute(1, 2, 0).cpu().numpy()


def _bare(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _show_image(axis: Any, picture: np.ndarray[Any, Any]) -> None:
    axis.imshow(picture, cmap="gray", interpolation="nearest")


def _show_map(
    axis: Any, picture: np.ndarray[Any, Any], values: Tensor | None, signed: bool
) -> None:
    """A map over the faint image, in the colours of ``KEY``; of a single position its value."""
    _bare(axis)
    if values is None or values.numel() == 1:
        # The colour of a single position would look as if every pixel had been looked at.
        says = "none" if values is None else f"one position: {values.item():.3g}"
        axis.text(0.5, 0.5, says, ha="center", va="center", color="#999999", fontsize=9)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_aspect("equal")
        return
    height, width = picture.shape[:2]
    large = torch.nn.functional.interpolate(
        values[None, None].float(), size=(height, width), mode="bilinear", align_corners=False
    )[0, 0].cpu()
    grey = picture if picture.ndim == 2 else picture.mean(2)
    axis.imshow(grey, cmap="gray", interpolation="nearest", vmin=0, vmax=1.6)
    top = max(float(large.abs().max()), 1e-12)
    shown = {"cmap": SIGNED, "vmin": -top} if signed else {"cmap": UNSIGNED, "vmin": 0}
    axis.imshow(large.numpy(), vmax=top, alpha=0.65, interpolation="nearest", **shown)


def _show_belief(
    axis: Any, scores: Tensor | None, shown: Sequence[int], names: Sequence[str], answer: int
) -> None:
    """The softmax of a block's scores as bars."""
    if scores is None:
        axis.text(0.5, 0.5, "no scores of its own", ha="center", va="center", color="#999999")
        _bare(axis)
        return
    shares = scores.float().softmax(0).cpu()
    _bars(axis, [shares[k].item() for k in shown], shown, names, answer)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1))


def _bars(
    axis: Any, lengths: Sequence[float], shown: Sequence[int], names: Sequence[str], answer: int
) -> None:
    """Lying bars, the first on top: long names take no height from the images beside them."""
    axis.barh(range(len(shown)), lengths, color=[ACCENT if k == answer else REST for k in shown])
    axis.set_yticks(range(len(shown)), names)
    axis.invert_yaxis()
    axis.tick_params(length=0, labelsize=7, colors=INK)
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def _show_candidates(
    part: Any, explanation: Explanation, shown: Sequence[int], classes: Sequence[str]
) -> None:
    """The image with every candidate label, and the goodness that was found in it."""
    assert explanation.candidates is not None
    known = [block.scores for block in explanation.blocks if block.scores is not None]
    total = torch.stack([scores.float() for scores in known]).sum(0).cpu()
    axes = part.subplots(
        1, len(shown) + 1, squeeze=False, gridspec_kw={"width_ratios": [1] * len(shown) + [3]}
    )[0]
    for axis, k in zip(axes, shown, strict=False):
        _bare(axis)
        _show_image(axis, _picture(explanation.candidates[k]))
        colour = ACCENT if k == explanation.answer else INK
        axis.set_title(short(classes[k], k, 10), fontsize=8, color=colour)
    names = [short(classes[k], k) for k in shown]
    low = min(total[k].item() for k in shown)
    _bars(axes[-1], [total[k].item() - low for k in shown], shown, names, explanation.answer)
    axes[-1].set_title("goodness of all blocks, above the least", fontsize=8, color=INK)
    part.suptitle("the image with each candidate label", color=INK, fontsize=10)
