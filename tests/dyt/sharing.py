"""What two processes that share a model's parameters do, for test__sharded: jobs of `together`."""

import os
import socket
import tempfile
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

import dyt


def together(job, *arguments, count=2):
    """What the first of ``count`` processes finds; ``job`` is called in each of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.pt"
        multiprocessing.spawn(_join, (count, port, found, job, arguments), count)
        return torch.load(found, weights_only=True)


def _join(rank, count, port, found, job, arguments):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    at = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=at, rank=rank, world_size=count)
    result = job(*arguments)
    if rank == 0:
        torch.save(result, found)
    distributed.destroy_process_group()


def model(recipe=None):
    """A small LLaMA, converted; two equal calls give two equal models."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.device("cpu"):
        made = LlamaForCausalLM(LlamaConfig(**small, intermediate_size=48, vocab_size=50))
    for name, parameter in made.named_parameters():
        if "norm" in name:  # a trained norm has weights of its own
            nn.init.uniform_(parameter, 0.5, 1.5)
    return dyt.convert(made, "dyt", recipe=recipe)


def shared(made):
    for layer in made.model.layers:
        fully_shard(layer)
    return fully_shard(made)


def batches(count=3):
    random = torch.Generator().manual_seed(1)
    return [torch.randint(50, (4, 16), generator=random) for _ in range(count)]


def calibrated(goal, recipe, is_shared, rows=100):
    """The parameters of the layers, and how the fits went."""
    made = shared(model(recipe)) if is_shared else model(recipe)
    fits = dyt.calibrate(made, batches(), goal=goal, rows=rows)
    values = {
        name: whole(value)
        for name, value in made.named_parameters()
        if "norm" in name or "scale" in name
    }
    assert not is_shared or all(hasattr(v, "full_tensor") for v in made.parameters())
    fitted = {fit.name: (fit.alpha, fit.r2, fit.rows) for fit in fits.fits}
    return {"values": values, "fits": fitted, "scale": fits.embedding_scale}


def probed(is_shared, variant="dyt"):
    """What a probe sees of a step, and the layers' alphas."""
    made = model() if variant == "dyt" else dyt.revert(model())
    made = shared(made) if is_shared else made
    with dyt.probe(made, every=1) as seen:
        made(batches(1)[0]).logits.square().mean().backward()
    sites = {
        name: (site.kind, site.saturation, site.alpha, site.input_std, site.grad_ratio)
        for name, site in seen.sites.items()
    }
    return {"sites": sites, "alphas": dyt.alphas(made)}


def refused():
    """What calibrate says of an embedding without a factor; and whether all is as before."""
    made = shared(model())
    before = {name: whole(value).clone() for name, value in made.named_parameters()}
    said = ""
    try:
        dyt.calibrate(made, batches(1), goal="start")
    except ValueError as error:
        said = str(error)
    after = dict(made.named_parameters())
    return {"said": said, "same": all(torch.equal(before[k], whole(after[k])) for k in before)}


def whole(value):
    value = value.detach()
    return value.full_tensor() if hasattr(value, "full_tensor") else value
