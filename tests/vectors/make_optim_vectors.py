"""Make optim.npz: the trajectories of PyTorch's optimizers on fixed gradients.

Run it with a Python that has PyTorch (CPU is enough) and NumPy; rnnlab is not needed:

    python tests/vectors/make_optim_vectors.py

Everything is float64 and seeded. ``start/weight`` and ``start/bias`` are the parameters, ``grads/weight`` and
``grads/bias`` the gradients of every step, some of them large, some 0. ``<case>/weight`` and ``<case>/bias`` hold the
parameters after each step.
"""

import pathlib

import numpy as np
import torch

STEPS = 25
CASES = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "sgd_momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd_nesterov": (torch.optim.SGD, {"lr": 0.03, "momentum": 0.8, "nesterov": True}),
    "sgd_l2": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01}),
    "rmsprop_momentum": (torch.optim.RMSprop, {"lr": 0.02, "alpha": 0.9, "eps": 1e-6, "momentum": 0.7}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.1}),
    "adagrad_eps": (torch.optim.Adagrad, {"lr": 0.2, "eps": 1e-2}),
    "adam": (torch.optim.Adam, {"lr": 0.01}),
    "adam_betas": (torch.optim.Adam, {"lr": 0.02, "betas": (0.5, 0.9), "eps": 1e-3}),
    "adam_l2": (torch.optim.Adam, {"lr": 0.02, "weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01}),
    "adamw_decay": (torch.optim.AdamW, {"lr": 0.02, "betas": (0.8, 0.99), "weight_decay": 0.3}),
}


def main():
    rng = np.random.default_rng(0)
    start = {"weight": rng.normal(size=(3, 4)), "bias": rng.normal(size=5)}
    grads = {name: rng.normal(size=(STEPS, *value.shape)) for name, value in start.items()}
    for g in grads.values():
        g[7] *= 1e3
        g[11] = 0
    stored = {f"start/{name}": value for name, value in start.items()}
    stored |= {f"grads/{name}": value for name, value in grads.items()}
    for case, (make, options) in CASES.items():
        params = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
        optimizer = make(params.values(), **options)
        trace = {name: [] for name in params}
        for step in range(STEPS):
            for name, p in params.items():
                p.grad = torch.tensor(grads[name][step])
            optimizer.step()
            for name, p in params.items():
                trace[name].append(p.detach().numpy().copy())
        stored |= {f"{case}/{name}": np.array(values) for name, values in trace.items()}
    np.savez_compressed(pathlib.Path(__file__).parent / "optim.npz", **stored)


if __name__ == "__main__":
    main()
