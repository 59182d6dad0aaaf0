"""How the worlds' networks are trained: Muon and AdamW, bf16 with fp32 masters, and an average."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

LR = 2e-3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def say(folder: Path, stage: str, **figures: float) -> None:
    """Print figures, and add them to the log."""
    line = json.dumps({"stage": stage, **{k: round(v, 5) for k, v in figures.items()}})
    print(line, flush=True)
    with (folder / "log.jsonl").open("a") as log:
        log.write(line + "\n")


class Descent:
    """Muon for the matrices inside a network (convolutions flattened), AdamW for the rest."""

    def __init__(self, weights: dict[str, Tensor], ends: tuple[str, ...]) -> None:
        """`weights` are moved in place; names that start with one of `ends` are not inside."""
        inside, rest = {}, {}
        for name, weight in weights.items():
            matrix = weight.ndim > 1 and not name.startswith(ends)
            kind, shape = (inside, (len(weight), -1)) if matrix else (rest, weight.shape)
            kind[name] = nn.Parameter(weight.view(shape))  # the same memory
        self.parts = (
            (inside, torch.optim.Muon(inside.values(), 1e-3, 0.0, adjust_lr_fn="match_rms_adamw")),
            (rest, torch.optim.AdamW(rest.values(), 1e-3, (0.9, 0.98), weight_decay=0.0)),
        )

    def step(self, weights: dict[str, nn.Parameter], rate: float) -> None:
        """Move the weights by the gradients of those of the same names, which are taken away."""
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        for kind, optimizer in self.parts:
            for name, weight in kind.items():
                gradient = weights[name].grad
                assert gradient is not None
                weight.grad, weights[name].grad = gradient.float().view(weight.shape), None
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()

    def state(self) -> dict[str, Tensor]:
        return {
            f"{field}/{name}": value.float()
            for kind, optimizer in self.parts
            for name, weight in kind.items()
            for field, value in optimizer.state[weight].items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        for kind, optimizer in self.parts:
            for key, value in state.items():
                field, _, name = key.partition("/")
                if name in kind:
                    optimizer.state[kind[name]][field] = value


class Trainee:
    """A network in bf16 with fp32 masters, their optimizers and their running average."""

    def __init__(self, network: nn.Module, ends: tuple[str, ...], part: str = "") -> None:
        """`ends` begin the names of the first and last layers, whose matrices AdamW moves; only
        weights with `part` in their names are trained.
        """
        network = network.to(DEVICE)
        for name, weight in network.named_parameters():
            weight.requires_grad_(part in name)
        trained = {n: w for n, w in network.named_parameters() if w.requires_grad}
        self.masters = {n: w.detach().clone().float() for n, w in trained.items()}
        self.average = {n: w.clone() for n, w in self.masters.items()}
        self.network = network.to(torch.bfloat16)
        self.step = 0
        self.descent = Descent(self.masters, ends)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The network's weights that are trained."""
        return {n: w for n, w in self.network.named_parameters() if w.requires_grad}

    def learn(self, loss: Tensor, share: float) -> None:
        """One step at this share of the full learning rate."""
        loss.backward()
        self.step += 1
        weights = self.weights
        self.descent.step(weights, LR * share * min(1.0, self.step / 100))
        keep = min(0.998, 1 - 1 / (1 + self.step / 4))
        with torch.no_grad():
            for name, master in self.masters.items():
                weights[name].copy_(master)
                self.average[name].lerp_(master, 1 - keep)

    def begin(self, state: dict[str, Tensor]) -> None:
        """Begin with these weights."""
        self.network.load_state_dict(state, strict=False)
        for name, master in self.masters.items():
            for one in (master, self.average[name]):
                one.copy_(state[name])

    def save(self, file: Path) -> None:
        """Masters, average and optimizer states."""
        state = {f"master.{n}": w for n, w in self.masters.items()}
        state |= {f"average.{n}": w for n, w in self.average.items()}
        state |= self.descent.state()
        part = file.with_suffix(".part")
        save_file({**state, "step": torch.tensor(self.step)}, part)
        part.replace(file)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `save` wrote."""
        self.step = int(state.pop("step"))
        self.begin(under(state, "master."))
        for name, weight in under(state, "average.").items():
            self.average[name].copy_(weight)
        self.descent.restore(state)


def under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): w for n, w in state.items() if n.startswith(prefix)}


def initialized(network: nn.Module) -> nn.Module:
    """Torch's usual start for convolutions and linear layers, which the host leaves out."""
    for module in network.modules():
        for kind in (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm):
            if isinstance(module, kind):
                cast(Any, kind).reset_parameters(module)
    return network
