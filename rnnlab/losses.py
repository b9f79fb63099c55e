"""Losses: each returns the mean over unmasked entries and its gradient.

A mask is True (or 1) where an entry counts; masked entries may hold anything, NaN included, and get a gradient of
exactly zero. Complex predictions flow through, so that complex steps can be taken.
"""

from __future__ import annotations

from typing import Any

from rnnlab.backend import Array, namespace

__all__ = ["binary_cross_entropy", "cross_entropy", "mean_absolute_error", "mean_squared_error"]

Loss = tuple[Any, Array]


def cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> Loss:
    """Softmax cross entropy in nats: the mean of ``-log softmax(logits)[target]``.

    With ``p = softmax(logits)`` and n entries that count, ``dlogits = (p - onehot(target)) / n``.

    Parameters
    ----------
    logits : Array, shape (..., K)
        Unnormalized log-probabilities.
    targets : Array of integers, shape (...)
        Classes from 0 to K-1; negative ones do not count from the end.
    mask : Array, shape (...), optional
        Which entries count.

    Returns
    -------
    loss : scalar
    dlogits : Array, shape (..., K)

    Raises
    ------
    ValueError
        Shapes do not fit, a target is no class, or the mask leaves nothing.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> loss, dlogits = rl.losses.cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> round(float(loss), 4), dlogits
    (0.6931, array([[ 0.5, -0.5]]))
    """
    xp = namespace(logits=logits, targets=targets, mask=mask)
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"targets must have shape {logits.shape[:-1]}, logits' without the last; got {targets.shape}")
    if targets.dtype.kind not in "iu":
        raise ValueError(f"targets must be integers; got dtype {targets.dtype}")
    keep, count = _entries(xp, mask, targets, logits.real.dtype)
    shape, K = logits.shape, logits.shape[-1]
    logits, targets, keep = logits.reshape(-1, K), targets.reshape(-1), keep if keep is None else keep.reshape(-1)
    if keep is not None:
        targets = xp.where(keep, targets, 0)
        logits = xp.where(keep[:, None], logits, xp.zeros((), logits.dtype))
    _check_classes(xp, targets, K)

    # exp(logits - max) cannot overflow; the max of the real parts lets a complex step through.
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    p = xp.exp(shifted)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    entry = xp.arange(targets.size)
    losses = xp.log(total[:, 0]) - shifted[entry, targets]
    dlogits = p
    dlogits[entry, targets] -= 1
    if keep is not None:
        losses = losses * keep
        dlogits *= keep[:, None]
    dlogits /= count
    return losses.sum() / count, dlogits.reshape(shape)


def binary_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> Loss:
    """Binary cross entropy of logits, in nats: the mean of ``softplus(a) - a * target``.

    This is ``-target*log(p) - (1-target)*log(1-p)`` with ``p = sigmoid(a)``, written so that neither a large nor a
    small logit overflows; ``dlogits = (p - target) / n``.

    Parameters
    ----------
    logits : Array, shape (...)
    targets : Array, shape (...)
        From 0 to 1.
    mask : Array, optional
        Which entries count: of the shape of ``targets``, or of its leading axes.

    Returns
    -------
    loss : scalar
    dlogits : Array, shape (...)

    Raises
    ------
    ValueError
        Shapes do not fit, or the mask leaves nothing.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> loss, dlogits = rl.losses.binary_cross_entropy(np.array([0.0, 1e4]), np.array([1.0, 1.0]))
    >>> round(float(loss), 4), dlogits
    (0.3466, array([-0.25,  0.  ]))
    """
    xp, a, targets, keep, count = _elementwise(logits, targets, mask, "logits", "targets")
    positive = a.real > 0
    magnitude = xp.where(positive, a, -a)
    e = xp.exp(-magnitude)
    losses = xp.log1p(e) + (xp.where(positive, a, xp.zeros_like(a)) - a * targets)
    p = xp.where(positive, 1 / (1 + e), e / (1 + e))
    return _mean(losses, p - targets, keep, count)


def mean_squared_error(prediction: Array, target: Array, mask: Array | None = None) -> Loss:
    """The mean of ``(prediction - target)^2``; ``dprediction = 2 (prediction - target) / n``.

    Parameters
    ----------
    prediction, target : Array, shape (...)
    mask : Array, optional
        Which entries count: of the shape of ``target``, or of its leading axes.

    Returns
    -------
    loss : scalar
    dprediction : Array, shape (...)

    Raises
    ------
    ValueError
        Shapes do not fit, or the mask leaves nothing.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> loss, dprediction = rl.losses.mean_squared_error(np.array([1.0, 5.0]), np.array([3.0, 5.0]))
    >>> float(loss), dprediction
    (2.0, array([-2.,  0.]))
    """
    _, prediction, target, keep, count = _elementwise(prediction, target, mask, "prediction", "target")
    error = prediction - target
    return _mean(error * error, 2 * error, keep, count)


def mean_absolute_error(prediction: Array, target: Array, mask: Array | None = None) -> Loss:
    """The mean of ``|prediction - target|``; ``dprediction = sign(prediction - target) / n``.

    Parameters
    ----------
    prediction, target : Array, shape (...)
    mask : Array, optional
        Which entries count: of the shape of ``target``, or of its leading axes.

    Returns
    -------
    loss : scalar
    dprediction : Array, shape (...)
        0 at the kink, where prediction equals target, as in PyTorch.

    Raises
    ------
    ValueError
        Shapes do not fit, or the mask leaves nothing.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> loss, dprediction = rl.losses.mean_absolute_error(np.array([1.0, 5.0]), np.array([3.0, 5.0]))
    >>> float(loss), dprediction
    (1.0, array([-0.5,  0. ]))
    """
    xp, prediction, target, keep, count = _elementwise(prediction, target, mask, "prediction", "target")
    error = prediction - target
    sign = xp.sign(error.real).astype(error.dtype)  # sign * error is |error|, and analytic beside the kink
    return _mean(sign * error, sign, keep, count)


def _elementwise(prediction: Array, target: Array, mask: Array | None, *names: str) -> tuple[Any, ...]:
    """Check the arguments and silence masked entries: ``(xp, prediction, target, keep, count)``."""
    xp = namespace(**{names[0]: prediction, names[1]: target, "mask": mask})
    if prediction.shape != target.shape:
        raise ValueError(f"{names[1]} must have the shape of {names[0]}, {prediction.shape}; got {target.shape}")
    target = target.astype(prediction.real.dtype, copy=False)
    keep, count = _entries(xp, mask, target, target.dtype)
    if keep is not None:
        prediction = xp.where(keep, prediction, xp.zeros((), prediction.dtype))
        target = xp.where(keep, target, xp.zeros((), target.dtype))
    return xp, prediction, target, keep, count


def _entries(xp: Any, mask: Array | None, target: Array, dtype: Any) -> tuple[Array | None, Any]:
    """Return the mask as booleans of the shape of ``target``, and how many entries count."""
    if mask is None:
        if target.size == 0:
            raise ValueError(f"the mean over no entries is not defined; got shape {target.shape}")
        return None, target.size
    if mask.shape != target.shape[: mask.ndim]:
        raise ValueError(f"mask must have shape {target.shape} or that of its leading axes; got {mask.shape}")
    keep = xp.broadcast_to((mask != 0).reshape(mask.shape + (1,) * (target.ndim - mask.ndim)), target.shape)
    count = keep.sum()
    if xp.__name__ != "numpy":  # a number would make the host wait, and an array of integers would widen float32
        return keep, count.astype(dtype)
    if count == 0:
        raise ValueError("mask must leave at least one entry; it masks all of them")
    return keep, int(count)


def _check_classes(xp: Any, targets: Array, K: int) -> None:
    # On a GPU looking at the values would make the host wait for the device, so this is the CPU's check.
    if xp.__name__ == "numpy" and targets.size and not (0 <= targets.min() and targets.max() < K):
        raise ValueError(f"targets must be from 0 to {K - 1}; got {targets.min()} to {targets.max()}")


def _mean(losses: Array, slopes: Array, keep: Array | None, count: Any) -> Loss:
    if keep is not None:
        losses, slopes = losses * keep, slopes * keep
    return losses.sum() / count, slopes / count
