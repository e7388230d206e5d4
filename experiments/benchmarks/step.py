"""Time of a training step of two ResNet-18 here and in PyTorch, side by side on the CPU.

    pip install torch
    python experiments/benchmarks/step.py

The step is a whole one: forward, the TCMax loss of a concatenation head, backward, SGD with
momentum and weight decay, in float32, on the same batch and from the same weights; the first losses
must agree. Rounds take turns and are waited for; those with compiling are not counted. CPU seconds
are those of all threads of this process. Results: experiments/results/benchmark_step.md.
"""

import argparse
import functools
import math
import statistics
import time

import jax
import numpy as np
import torch
from torch import nn
from torch.nn.functional import relu

from tcmax_jax import methods
from tcmax_jax.models import MultimodalClassifier, resnet18
from tcmax_jax.models.convert import resnet_variables
from tcmax_jax.models.fusion import ConcatHead
from tcmax_jax.training.environment import describe_environment
from tcmax_jax.training.optimizer import SGD
from tcmax_jax.training.parallel import KINDS
from tcmax_jax.training.state import init_state
from tcmax_jax.training.step import train_step, training_key

CLASSES = 6
CHANNELS = {"audio": 1, "visual": 3}
# Examples, height and width of the spectrogram, frames of an example, height and width of a frame.
SIZES = {
    "small": (16, (128, 128), 1, (96, 96)),
    "crema_d": (8, (128, 862), 3, (224, 224)),
}
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 1e-4


class Block(nn.Module):
    """A basic block with torchvision's names."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or before != channels:
            conv = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x):
        """Maps [N, C, H, W]."""
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """The network without its classifier layer."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        for stage, width in enumerate((64, 128, 256, 512), start=1):
            before, stride = (64, 1) if stage == 1 else (width // 2, 2)
            blocks = nn.Sequential(Block(before, width, stride), Block(width, width, 1))
            setattr(self, f"layer{stage}", blocks)

    def forward(self, x):
        """Maps [B, T, C, H, W] to the mean over time and space [B, 512]."""
        y = self.pool(relu(self.bn1(self.conv1(x.flatten(0, 1)))))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return y.unflatten(0, x.shape[:2]).mean((1, 3, 4))


def torch_loss(encoders, heads, inputs, labels):
    """Returns the mean TCMax loss of an additive head over all tuples."""
    parts = [heads[m](encoders[m](inputs[m])) for m in CHANNELS]
    own = sum(parts)[torch.arange(len(labels)), labels]
    over_tuples = sum(torch.logsumexp(x, 0) - math.log(len(labels)) for x in parts)
    return torch.logsumexp(over_tuples, 0) - math.log(CLASSES) - own.mean()


def torch_step(inputs, labels, channels_last):
    """Returns (encoders, heads, function that takes a step and returns its loss)."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    encoders = nn.ModuleDict({m: ResNet18(c) for m, c in CHANNELS.items()}).to(memory_format=layout)
    heads = nn.ModuleDict({m: nn.Linear(512, CLASSES, bias=m == "audio") for m in CHANNELS})
    parameters = [*encoders.parameters(), *heads.parameters()]
    optimizer = torch.optim.SGD(parameters, RATE, MOMENTUM, weight_decay=DECAY)
    inputs = {m: torch.from_numpy(x.transpose(0, 1, 4, 2, 3).copy()) for m, x in inputs.items()}
    labels = torch.from_numpy(labels).long()

    def step():
        optimizer.zero_grad()
        loss = torch_loss(encoders, heads, inputs, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return encoders, heads, step


def jax_step(inputs, labels, encoders, heads):
    """Returns a function that takes a step from the weights of torch and returns its loss."""
    networks = {m: resnet18() for m in CHANNELS}
    model = MultimodalClassifier(networks, ConcatHead(tuple(networks), CLASSES))
    config = SGD(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY, bound_decrease=False)
    optimizer = config.make(config.rate(epochs=1, steps_per_epoch=1))
    method = methods.TCMax().make()
    state = init_state(model, optimizer, method, len(labels), inputs, jax.random.key(0))
    params, batch_stats = dict(state.params), dict(state.batch_stats)
    for m in CHANNELS:
        arrays = {name: x.detach().numpy() for name, x in encoders[m].state_dict().items()}
        variables = resnet_variables(arrays)
        params[f"encoders_{m}"] = variables["params"]
        batch_stats[f"encoders_{m}"] = variables["batch_stats"]
    params["head"] = head_params(heads)
    state = jax.device_get(state._replace(params=params, batch_stats=batch_stats))
    over = KINDS["pmap"]()
    step = functools.partial(train_step, model=model, optimizer=optimizer, method=method)
    mapped = over.train_step(step)
    state, key = over.replicate((state, training_key(0)))
    where, index = np.ones(len(labels), bool), np.arange(len(labels), dtype=np.int32)
    batch = over.put({"inputs": inputs, "label": labels, "where": where, "index": index})

    def run():
        nonlocal state
        state, metrics = mapped(state, batch, key)
        return over.scalars(metrics)["loss"]

    return run


def head_params(heads):
    """Returns the parameters of the concatenation head from the two linear layers of torch."""
    kernels = {m: {"kernel": heads[m].weight.detach().numpy().T} for m in CHANNELS}
    return {**kernels, "bias": heads["audio"].bias.detach().numpy()}


def measure(size, rounds, channels_last):
    """Returns {name: (median seconds, median CPU seconds) of a step} after comparing losses."""
    number, spectrogram, frames, frame = SIZES[size]
    rng = np.random.default_rng(0)
    shapes = {"audio": (1, *spectrogram), "visual": (frames, *frame)}
    inputs = {
        m: rng.normal(size=(number, *shapes[m], c)).astype(np.float32) for m, c in CHANNELS.items()
    }
    labels = rng.integers(0, CLASSES, number).astype(np.int32)
    encoders, heads, of_torch = torch_step(inputs, labels, channels_last)
    steps = {"tcmax_jax": jax_step(inputs, labels, encoders, heads), "torch": of_torch}
    times = {name: [] for name in steps}
    for count in range(rounds + 2):
        losses = {}
        for name, step in steps.items():
            begin, cpu = time.perf_counter(), time.process_time()
            losses[name] = step()
            spent = time.perf_counter() - begin, time.process_time() - cpu
            if count >= 2:
                times[name].append(spent)
        if not count:
            np.testing.assert_allclose(losses["tcmax_jax"], losses["torch"], rtol=1e-4)
    return {name: tuple(map(statistics.median, zip(*x, strict=True))) for name, x in times.items()}


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--channels_last", action="store_true", help="the layout of torch")
    options = parser.parse_args()
    environment = describe_environment(jax.devices())
    print(f"jax {environment['jax']}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    results = measure(options.size, options.rounds, options.channels_last)
    for name, (wall, cpu) in results.items():
        print(f"{name:<10}{wall:>8.3f} s a step{cpu:>8.3f} CPU s")
    ratios = (x / y for x, y in zip(results["tcmax_jax"], results["torch"], strict=True))
    print("ratio     " + "".join(f"{x:>8.2f}          " for x in ratios))


if __name__ == "__main__":
    main()
