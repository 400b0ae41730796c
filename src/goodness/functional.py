"""The mathematics as pure functions of tensors; the modules of the axes only hold the state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from goodness.devices import wide

T = TypeVar("T")


def pooled_squares(h: Tensor, size: int) -> Tensor:
    """Spatial goodness: each channel's mean square over the cells of a ``size`` x ``size`` grid.

    ASGE (arXiv 2509.12394): g = flatten(adaptive_avg_pool(h^2, P x P)).

    Args:
        h: activations (N, C, H, W).
        size: cells per side, P, 1 <= P <= min(H, W).

    Returns:
        (N, C * P * P), non-negative, channel-major.

    >>> pooled_squares(torch.tensor([[[[1.0, 3.0], [1.0, 1.0]]]]), 1)
    tensor([[3.]])
    """
    height, width = h.shape[-2:]
    if height % size == 0 and width % size == 0:
        pooled: Tensor = _PooledSquares.apply(h, size)
    else:
        pooled = F.adaptive_avg_pool2d(h.square(), size)
    return pooled.flatten(1)


class _PooledSquares(torch.autograd.Function):
    """Mean squares over equal cells; keeps the activations alone, not their squares.

    The gradient is 2 h g / cell, with the cell's g spread over it: one pass over the map.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(h)
        ctx.save_for_forward(h)
        ctx.size = size
        return F.avg_pool2d(h.square(), (h.shape[2] // size, h.shape[3] // size))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (h,) = ctx.saved_tensors
        size = gradient.shape[-1]
        cell = h.shape[2] // size, h.shape[3] // size
        scaled = gradient * (2 / (cell[0] * cell[1]))
        # In the order of memory: (N, P, a, P, b, C) * (N, P, 1, P, 1, C), or with C in front.
        last = _channels_lie_last(h)
        if last:
            h, scaled = h.permute(0, 2, 3, 1), scaled.permute(0, 2, 3, 1)
        rows = 1 if last else 2
        cells = h.unflatten(rows + 1, (size, cell[1])).unflatten(rows, (size, cell[0]))
        product = cells * scaled.unsqueeze(rows + 1).unsqueeze(rows + 3)
        product = product.flatten(rows + 2, rows + 3).flatten(rows, rows + 1)
        return product.permute(0, 3, 1, 2) if last else product, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (h,) = ctx.saved_tensors
        return F.avg_pool2d(2 * h * tangent, (h.shape[2] // ctx.size, h.shape[3] // ctx.size))


def class_goodness(h: Tensor, weight: Tensor, bias: Tensor, rectified: bool = False) -> Tensor:
    """The mean square of every class's map, which a 1 x 1 convolution makes.

    Scalable Forward-Forward (arXiv 2501.03176): s_k = mean over (H, W) of q_k^2, q = conv(h). Its
    gradient is written out: with channels last, that of the weight as a product of matrices takes
    a fifth of the time of a convolution's.

    Args:
        h: (N, C, H, W).
        weight: (K, C, 1, 1).
        bias: (K,).
        rectified: whether the gradient by ``h`` is to be zero wherever ``h`` is not positive, which
            saves the ReLU behind which ``h`` stands a pass of its own.

    Returns:
        (N, K), non-negative.
    """
    result: Tensor = _ClassGoodness.apply(h, weight, bias, rectified)
    return result


class _ClassGoodness(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, rectified: bool) -> Tensor:
        q = F.conv2d(h, weight, bias)
        ctx.rectified = rectified
        ctx.save_for_backward(h, weight, q)
        ctx.save_for_forward(h, weight, q)
        return q.square().mean((2, 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        h, weight, q = ctx.saved_tensors
        slope = q * (gradient * (2 / (q.shape[2] * q.shape[3])))[:, :, None, None]
        one, none = [1, 1], [0, 0]
        wanted = [ctx.needs_input_grad[0], False, False]
        given, _, _ = torch.ops.aten.convolution_backward(
            slope, h, weight, None, one, none, one, False, none, 1, wanted
        )
        if ctx.rectified and given is not None:
            torch.ops.aten.threshold_backward.grad_input(given, h, 0, grad_input=given)
        rows = slope.permute(0, 2, 3, 1).flatten(1, 2)
        # Image by image: one product with so few rows would run on a single core.
        own = torch.bmm(rows.transpose(1, 2), h.permute(0, 2, 3, 1).flatten(1, 2)).sum(0)
        return given, own.reshape(weight.shape), rows.sum((0, 1)), None

    @staticmethod
    def jvp(
        ctx: Any, h_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, _: None
    ) -> Tensor:
        h, weight, q = ctx.saved_tensors
        tangent = torch.zeros_like(q)
        if h_t is not None:
            tangent = tangent + F.conv2d(h_t, weight)
        if weight_t is not None:
            tangent = tangent + F.conv2d(h, weight_t)
        if bias_t is not None:
            tangent = tangent + bias_t[:, None, None]
        return (2 * q * tangent).mean((2, 3))


def goodness_grid(channels: int, reference: int, alpha: float, height: int, width: int) -> int:
    """ASGE's adaptive grid: P = clamp(round(alpha * reference / channels), 1, min(height, width)).

    Narrow blocks get a fine grid, so that C * P stays near ``alpha * reference``.

    >>> [goodness_grid(c, 512, 1.0, 32, 32) for c in (64, 128, 256, 512)]
    [8, 4, 2, 1]
    """
    # Half rounds up, as in the field's formulas; Python's round() would send 2.5 to 2.
    wanted = math.floor(alpha * reference / channels + 0.5)
    return max(1, min(wanted, height, width))


def rms_normalise(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Each sample divided by its root mean square over (C, H, W); scale only, no centring.

    Args:
        x: (N, C, H, W).
        eps: added to the root, so that an all-zero sample stays zero.

    Returns:
        (N, C, H, W) with mean square 1 per sample.
    """
    flat = in_memory_order(x)
    # In half precision squares overflow, and eps is nothing.
    root = torch.linalg.vector_norm(flat, dim=1, dtype=_at_least_single(x)) / flat.shape[1] ** 0.5
    return (x / (root + eps).reshape(-1, *(1,) * (x.dim() - 1))).to(x.dtype)


def group_normalise(x: Tensor, groups: int, eps: float = 1e-8) -> Tensor:
    """Each sample's groups of channels divided by their own root mean squares.

    Args:
        x: (N, C, H, W).
        groups: how many, see `group_matrix`; at most C.
        eps: added to the roots.

    Returns:
        (N, C, H, W) with mean square 1 per sample and group.
    """
    h = x.to(_at_least_single(x))
    matrix = group_matrix(x.shape[1], groups).to(h)
    power = h.square().mean((2, 3)) @ matrix
    member = (matrix > 0).to(h)
    root = (power @ member.T).clamp_min(torch.finfo(h.dtype).tiny).sqrt()
    return (h / (root + eps)[:, :, None, None]).to(x.dtype)


def group_standardise(x: Tensor, groups: int, eps: float = 1e-5) -> Tensor:
    """Each sample's groups of channels with mean 0 and variance 1 over channels and positions.

    `torch.nn.functional.group_norm` without scale and shift, for groups that may differ by a
    channel.

    Args:
        x: (N, C, H, W).
        groups: how many, see `group_matrix`; at most C.
        eps: added to the variances.
    """
    if x.shape[1] % groups == 0:
        return F.group_norm(x, groups, eps=eps)
    h = x.to(_at_least_single(x))
    matrix = group_matrix(x.shape[1], groups).to(h)
    member = (matrix > 0).to(h).T
    centred = h - (h.mean((2, 3)) @ matrix @ member)[:, :, None, None]
    variance = centred.square().mean((2, 3)) @ matrix @ member
    return (centred / (variance + eps).sqrt()[:, :, None, None]).to(x.dtype)


def standardise_rows(x: Tensor, eps: float = 1e-10) -> Tensor:
    """Each sample with mean 0 and standard deviation 1 (unbiased) over (C, H, W).

    Args:
        x: (N, ...); samples of a single value become 0.
        eps: added to the standard deviation.
    """
    flat = x.flatten(1).to(_at_least_single(x))
    deviation = flat.std(1, correction=min(1, flat.shape[1] - 1), keepdim=True)
    return ((flat - flat.mean(1, keepdim=True)) / (deviation + eps)).reshape(x.shape).to(x.dtype)


def _at_least_single(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def layer_normalise(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Each sample with mean 0 and variance 1 over (C, H, W), without scale and shift.

    torch's own layer norm would copy a map whose channels lie last, there and back.

    Args:
        x: (N, C, H, W).
        eps: added to the variance.

    Returns:
        (N, C, H, W), laid out as ``x`` is.
    """
    flat = in_memory_order(x)
    return _like(x, F.layer_norm(flat, flat.shape[1:], eps=eps))


def in_memory_order(x: Tensor) -> Tensor:
    """Each sample's values as they lie in memory.

    Args:
        x: (N, ...); a map (N, C, H, W) may have its channels last.

    Returns:
        (N, D): a view, but of a tensor with gaps or another order, which is copied.
    """
    return (x.permute(0, 2, 3, 1) if _channels_lie_last(x) else x).flatten(1)


def _like(x: Tensor, flat: Tensor) -> Tensor:
    """The inverse of `in_memory_order`."""
    if not _channels_lie_last(x):
        return flat.reshape(x.shape)
    channels, height, width = x.shape[1:]
    return flat.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def _channels_lie_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def orthogonalised(matrix: Tensor, iterations: int) -> Tensor:
    """A matrix with its singular values brought near 1, by Newton-Schulz iterations (Muon).

    X <- q(X X^T) X with q(G) = a I + b G + c G^2, X the matrix divided by its norm, and the
    coefficients 3.4445, -4.7750, 2.0315 of Jordan et al. (2024), which bring singular values
    between 0.7 and 1.2 within five iterations. Since all q commute, the product of them is found
    from the Gram matrix of the smaller side and applied to X once: of a kernel whose other side is
    nine times as long that takes half the time.

    Args:
        matrix: (m, n).
        iterations: how many, at least 1.

    Returns:
        (m, n).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.float()
    x = x / x.norm().clamp_min(1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    gram = x @ x.T
    product: Tensor | None = None
    for left in reversed(range(iterations)):
        q = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        q.diagonal().add_(a)
        product = q if product is None else q @ product
        if left:
            gram = q @ q @ gram
    x = x if product is None else product @ x
    return (x.T if tall else x).to(matrix.dtype)


def effective_rank(matrix: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli, EUSIPCO 2007).

    Args:
        matrix: (m, n); its Gram matrix of the smaller side is decomposed.

    Returns:
        From 1 to min(m, n), reached where all singular values are equal; 0 for a zero matrix.

    >>> round(effective_rank(torch.eye(3)), 3)
    3.0
    """
    rows, columns = matrix.shape
    thin = wide(matrix if rows > columns else matrix.T)
    values = torch.linalg.eigvalsh(thin.T @ thin).clamp_min(0).sqrt()
    # Of a singular value below the root of the precision nothing is left in its square.
    values = values[values > 1e-7 * values.max()]
    if len(values) == 0:
        return 0.0
    share = values / values.sum()
    return math.exp(float(-(share * share.log()).sum()))


def dropout(x: Tensor, p: float) -> Tensor:
    """A fraction ``p`` of the values set to zero, the others divided by 1 - p.

    On a CPU torch's own draws a double for every value, which takes as long as a convolution. Here
    a byte is drawn; how many of its values drop an activation is drawn once per call, so that
    every activation is dropped with probability p.

    Args:
        x: (N, ...).
        p: 0 <= p < 1.
    """
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropping = int(256 * p + torch.rand(()).item())
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    keep = torch.empty(x.numel(), dtype=x.dtype)
    if dropping < 256:
        torch.ge(draws.view(torch.uint8)[: x.numel()], dropping, out=keep)
    else:  # more than a byte can be compared with
        keep.zero_()
    # In the order of memory: one pass over both.
    flat = in_memory_order(x)
    keep = keep.mul_(1 / (1 - p)).reshape(flat.shape)
    differentiable = torch.is_grad_enabled() and x.requires_grad
    return _like(x, flat * keep if differentiable else keep.mul_(flat))


def stretch(items: Sequence[T], count: int) -> list[T]:
    """A list made for one depth of network, for another depth: each place takes the nearest item.

    >>> stretch([20, 20, 100, 100], 6)
    [20, 20, 20, 100, 100, 100]
    """
    last = len(items) - 1
    return [items[math.floor(i * last / max(count - 1, 1) + 0.5)] for i in range(count)]


def group_matrix(channels: int, groups: int) -> Tensor:
    """Averages channels over contiguous groups, one per class, as evenly as they divide.

    Returns:
        (channels, groups), each column sums to 1.

    >>> group_matrix(4, 2)
    tensor([[0.5000, 0.0000],
            [0.5000, 0.0000],
            [0.0000, 0.5000],
            [0.0000, 0.5000]])
    """
    member = F.one_hot(torch.arange(channels) * groups // channels, groups).float()
    return member / member.sum(0)


def class_shares(y: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """How much of each image is of each class: one-hot of labels, soft labels as they are.

    Args:
        y: labels (N,), int64; or soft ones (N, K), rows that add up to 1.
        num_classes: K.
        dtype: of the result.

    Returns:
        (N, K).
    """
    return (F.one_hot(y, num_classes) if y.dim() == 1 else y).to(dtype)


def at_labels(values: Tensor, y: Tensor) -> Tensor:
    """Each image's value, of those (K,) of the classes; of soft labels (N, K) the mean. (N,)."""
    return values[y] if y.dim() == 1 else y.to(values.dtype) @ values


def margin_loss(scores: Tensor, y: Tensor, margin: float, smoothing: float = 0.0) -> Tensor:
    """log(1 + sum over wrong classes of exp(s_k - s_y + margin)): cross-entropy if margin is 0.

    Args:
        scores: (N, K).
        y: (N,); or (N, K), soft labels, whose loss is the mean of those of the classes.
        margin: how far the true class has to lead.
        smoothing: share of the target, 0 to 1, that is spread evenly over all classes.

    Returns:
        (N,), non-negative.
    """
    if y.dim() == 2:
        # A row of losses, one for each class as the true one, of which soft labels take the mean.
        classes = scores.shape[1]
        top = scores.detach().amax(1, keepdim=True)
        powers = (scores - top).exp()
        others = (powers.sum(1, keepdim=True) - powers).clamp(min=0)
        total = (math.exp(margin) * others + powers).log() + top
        spread = scores.mean(1, keepdim=True) + margin * (1 - 1 / classes)
        return ((total - (1 - smoothing) * scores - smoothing * spread) * y).sum(1)
    lead = margin * (1 - F.one_hot(y, scores.shape[1]).to(scores.dtype))
    return F.cross_entropy(scores + lead, y, reduction="none", label_smoothing=smoothing)


def sparsemax_loss(scores: Tensor, y: Tensor) -> Tensor:
    """-z_y + 1/2 sum over the support of (z_k^2 - tau^2) + 1/2 (Martins and Astudillo, 2016).

    Args:
        scores: z, (N, K).
        y: (N,); or (N, K), soft labels, whose loss is the mean of those of the classes.

    Returns:
        (N,), non-negative; the gradient by z is sparsemax(z) - onehot(y).
    """
    tau = _sparsemax_threshold(scores)
    # Only the classes above the threshold count.
    inside = scores > tau
    squares = (scores.square() - tau.square()) * inside
    true = scores.gather(1, y[:, None]).squeeze(1) if y.dim() == 1 else (scores * y).sum(1)
    return 0.5 * squares.sum(1) + 0.5 - true


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the probability simplex that is nearest to each row (N, K).

    >>> sparsemax(torch.tensor([[1.0, 0.5, -2.0]]))
    tensor([[0.7500, 0.2500, 0.0000]])
    """
    return (scores - _sparsemax_threshold(scores)).clamp(min=0)


def _sparsemax_threshold(scores: Tensor) -> Tensor:
    """The tau at which max(0, z - tau) adds up to 1 in each row, (N, 1)."""
    ordered = scores.sort(dim=1, descending=True).values
    ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    sums = ordered.cumsum(1)
    support = (1 + ranks * ordered > sums).sum(1, keepdim=True)
    return (sums.gather(1, support - 1) - 1) / support


def similarity_matrix(v: Tensor, eps: float = 1e-8) -> Tensor:
    """Cosine similarities between rows after each row's own mean is taken off it.

    Nøkland and Eidnes (arXiv 1901.06656).

    Args:
        v: (N, D).
        eps: added to the norms.

    Returns:
        (N, N), from -1 to 1.
    """
    centred = v - v.mean(1, keepdim=True)
    unit = centred / (centred.norm(dim=1, keepdim=True) + eps)
    return (unit @ unit.T).clamp(-1, 1)


def supervised_contrast(features: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al., arXiv 2004.11362, L_out), one view per image.

    Args:
        features: (N, D), made unit length here.
        y: (N,).
        temperature: divides the cosines.

    Returns:
        (N,); 0 for a row without another of its class in the batch.
    """
    unit = F.normalize(features, dim=1)
    logits = unit @ unit.T / temperature
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    log_p = logits - logits.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    positive = (y[:, None] == y) & ~itself
    count = positive.sum(1)
    return -log_p.masked_fill(~positive, 0).sum(1) / count.clamp(min=1)
