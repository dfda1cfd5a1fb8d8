"""The recipes by name: how the norms of a model are swapped and started, each with its source.

A recipe chooses the sites and their alpha, and what else of the model changes with them. Four fit
every model: "swap-only" changes nothing but the norms, "calibrated" is completed by
`dyt.calibrate`, "gradual" by that and by `dyt.set_progress`, and "paper" does what the papers did
to the model's architecture::

    dyt.convert(model, "dyt", recipe="paper")
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from dyt._audit.audit import audit
from dyt._audit.sites import NormSite
from dyt.parts import ScaledDropout, ScaledEmbedding

__all__ = [
    "CALIBRATED",
    "CONVNEXT",
    "DIT",
    "DNA",
    "FACTOR",
    "GPT2",
    "GRADUAL",
    "LLAMA",
    "RECIPES",
    "SWAP_ONLY",
    "VIT",
    "WAV2VEC2",
    "Recipe",
    "paper",
    "resolve",
]

HALF = 0.5  # alpha everywhere but in LLMs, in both papers


def _any_site(site: NormSite) -> bool:
    return True


def _any_model(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    return None


def _nothing_else(model: nn.Module) -> Mapping[nn.Module, nn.Module]:
    return {}


@dataclass(frozen=True)
class Recipe:
    """How norms are swapped and started, for one architecture or for all.

    Example:
        >>> import torch, dyt
        >>> final = dyt.Recipe(
        ...     "final-only", alpha=lambda site: 1.0, source="an example",
        ...     takes=lambda site: site.role == "final",
        ... )
        >>> model = torch.nn.ModuleDict({"norm": torch.nn.LayerNorm(8)})
        >>> dyt.convert(model, "dyt", recipe=final)["norm"].alpha.item()
        1.0
    """

    name: str
    # alpha of each site at the start; None in a recipe of layers without one
    alpha: Callable[[NormSite], float] | None
    source: str
    takes: Callable[[NormSite], bool] = _any_site  # which of the replaceable sites are swapped
    # (model, its replaceable sites) -> what the model lacks for this recipe; None if it fits
    misfit: Callable[[nn.Module, Sequence[NormSite]], str | None] = _any_model
    # model -> other modules to replace together with the norms, each with its replacement
    around: Callable[[nn.Module], Mapping[nn.Module, nn.Module]] = _nothing_else
    # Whether `dyt.calibrate` must follow the swap, on training data: a recipe itself has no data.
    # Its goal is "start", of gradual recipes and trained models "norm".
    calibrated: bool = False
    # Shares of training between which one site after another changes from its norm to its layer
    # (`dyt.Gradual`), as `dyt.set_progress` tells; None: all change at once, by the swap.
    gradual: tuple[float, float] | None = None


# width -> (alpha of the norm before attention, alpha of every other norm): arXiv 2503.10622,
# tables 10 (5120) and 11
_LLAMA_ALPHA = {
    1024: (1.0, 1.0),
    2048: (1.0, 0.5),
    4096: (0.8, 0.2),
    5120: (0.6, 0.15),
    8192: (0.2, 0.05),
}


def _llama_alpha(site: NormSite) -> float:
    """The tables' entry at the nearest width; narrower models take that of 1024."""
    features = site.features or min(_LLAMA_ALPHA)
    width = min(_LLAMA_ALPHA, key=lambda known: abs(known - features))
    attention, rest = _LLAMA_ALPHA[width]
    return attention if site.role == "attention" else rest


def _token_embeddings(model: nn.Module) -> list[nn.Embedding]:
    """Plain embeddings of tokens, not of positions; a subclass may scale its output already."""
    return [
        module
        for name, module in model.named_modules()
        if type(module) is nn.Embedding and not re.search("pos|type", name.rpartition(".")[2])
    ]


def _not_llama(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    roles = {site.role for site in sites if site.kind == "rms"}
    if not {"attention", "feed-forward"} <= roles:
        return "an RMS norm before each attention and each feed-forward part"
    if len(_token_embeddings(model)) != 1:
        return "one torch.nn.Embedding of tokens"
    return None


def _scale_embedding(model: nn.Module) -> dict[nn.Module, nn.Module]:
    (embedding,) = _token_embeddings(model)
    return {embedding: ScaledEmbedding(embedding, math.sqrt(embedding.embedding_dim))}


def _unit_embedding(model: nn.Module) -> dict[nn.Module, nn.Module]:
    (embedding,) = _token_embeddings(model)
    spread = 1.0 if embedding.weight.is_meta else embedding.weight.std().item()
    return {embedding: ScaledEmbedding(embedding, 1 / spread)}


def _gpt2(model: nn.Module) -> list[nn.Module]:
    """Where token and position embeddings are summed, then dropped out, by GPT-2's names."""
    kinds = {"wte": nn.Embedding, "wpe": nn.Embedding, "drop": nn.Dropout}
    return [
        module
        for module in model.modules()
        if all(type(module._modules.get(name)) is kind for name, kind in kinds.items())
    ]


def _not_gpt2(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    lacks = "embeddings wte of tokens and wpe of positions, and a dropout drop of their sum"
    return None if len(_gpt2(model)) == 1 else lacks


def _scale_sum(model: nn.Module) -> dict[nn.Module, nn.Module]:
    (parent,) = _gpt2(model)
    tokens, drop = parent._modules["wte"], parent._modules["drop"]
    assert isinstance(tokens, nn.Embedding)
    assert isinstance(drop, nn.Dropout)
    scaled = ScaledDropout(drop, math.sqrt(tokens.embedding_dim))
    return {drop: scaled.to(tokens.weight.device, tokens.weight.dtype)}


def _one(site: NormSite) -> float:
    return 1.0


def _no_site(site: NormSite) -> bool:
    return False


def _not_embedded(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    return None if len(_token_embeddings(model)) == 1 else "one torch.nn.Embedding of tokens"


def _not_dit(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    widths = {site.features for site in sites if site.kind == "layer" and not site.affine}
    modulated = any(
        isinstance(module, nn.Linear)
        and module.in_features in widths
        and module.out_features == 6 * module.in_features
        for module in model.modules()
    )
    return None if modulated else "adaLN: LayerNorms without weight, six modulations for a block"


def _restart_zeroed(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """Linear layers that start at zero, each with one that starts as DiT's others do.

    On the meta device nothing is replaced: there are no values to recognize them by.
    """
    return {
        module: _xavier(module)
        for module in model.modules()
        if type(module) is nn.Linear and not module.weight.is_meta and not module.weight.any()
    }


def _xavier(old: nn.Linear) -> nn.Linear:
    new = nn.Linear(
        old.in_features,
        old.out_features,
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    nn.init.xavier_uniform_(new.weight)
    new.weight.requires_grad_(old.weight.requires_grad)
    if old.bias is not None:
        nn.init.zeros_(new.bias)
        new.bias.requires_grad_(old.bias.requires_grad)
    return new.train(old.training)


_WAV2VEC2_SITES = re.compile(
    r"(^|\.)(encoder\.layers\.\d+\.(final_)?layer_norm|encoder\.layer_norm"
    r"|feature_projection\.layer_norm)$"
)


def _of_wav2vec2(site: NormSite) -> bool:
    return any(_WAV2VEC2_SITES.search(name) for name in site.names)


def _not_wav2vec2(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
    projected = any(
        name.endswith("feature_projection.layer_norm") for s in sites for name in s.names
    )
    layers = any(".layers." in name for s in filter(_of_wav2vec2, sites) for name in s.names)
    return None if projected and layers else "feature_projection.layer_norm and encoder.layers"


def _without(*prefixes: str) -> Callable[[nn.Module, Sequence[NormSite]], str | None]:
    """A misfit: none of the model's classes is named as one of ``prefixes``."""

    def misfit(model: nn.Module, sites: Sequence[NormSite]) -> str | None:
        named = any(type(module).__name__.startswith(prefixes) for module in model.modules())
        return None if named else f"a class called {' or '.join(f'{p}...' for p in prefixes)}"

    return misfit


def _half(site: NormSite) -> float:
    return HALF


SWAP_ONLY = Recipe("swap-only", _half, "arXiv 2503.10622: 0.5 everywhere but in LLMs")
CALIBRATED = Recipe(
    "calibrated",
    _half,
    "this project: alpha and one scalar each for weight and bias from one batch, so that each "
    "layer returns what its norm would; embeddings scaled to unit variance",
    calibrated=True,
)
GRADUAL = Recipe(
    "gradual",
    _half,
    "arXiv 2409.13710: one norm after another gives way while a trained model is fine-tuned, first "
    "those of feed-forward parts, then those of attention, the final one last; layers fitted to "
    "the trained norms as in calibrated, and the gate of arXiv 2602.10408, between a tenth and six "
    "tenths of training",
    calibrated=True,
    gradual=(0.1, 0.6),
)
LLAMA = Recipe(
    "llama",
    _llama_alpha,
    "arXiv 2503.10622, LLaMA, tables 10 and 11: alpha by width, larger before attention, and "
    "one learnable scalar after the embedding, started at sqrt(width)",
    misfit=_not_llama,
    around=_scale_embedding,
)
DIT = Recipe(
    "dit",
    _half,
    "arXiv 2503.10622, DiT: alpha 0.5, also for norms without weight; adaLN and the output layer "
    "do not start at zero",
    misfit=_not_dit,
    around=_restart_zeroed,
)
WAV2VEC2 = Recipe(
    "wav2vec2",
    _half,
    "arXiv 2503.10622, wav2vec 2.0: the encoder's norms and the one before the feature "
    "projection; the feature extractor keeps its own",
    takes=_of_wav2vec2,
    misfit=_not_wav2vec2,
)
GPT2 = Recipe(
    "gpt2",
    _one,
    "arXiv 2512.10938, GPT-2: one learnable scalar on the sum of token and position embeddings, "
    "started at sqrt(width); alpha 1.0 before attention, before the feed-forward part and at the "
    "end, the defaults of the published code, which takes three: the paper's are searched for",
    misfit=_not_gpt2,
    around=_scale_sum,
)
VIT = Recipe(
    "vit",
    _half,
    "arXiv 2503.10622, ViT: every LayerNorm, alpha 0.5",
    misfit=_without("VisionTransformer", "ViT"),
)
CONVNEXT = Recipe(
    "convnext",
    _half,
    "arXiv 2503.10622, ConvNeXt: every LayerNorm, alpha 0.5",
    misfit=_without("ConvNeXt", "ConvNext"),
)
DNA = Recipe(
    "dna",
    _half,
    "arXiv 2503.10622, HyenaDNA: every LayerNorm; Caduceus: every RMSNorm; alpha 0.5",
    misfit=_without("Hyena", "Caduceus"),
)
FACTOR = Recipe(
    "factor",
    _half,
    "this project, a control: every norm stays, and the embedding gets the learnable factor that "
    "other recipes add, started where it scales the weights to unit variance",
    takes=_no_site,
    misfit=_not_embedded,
    around=_unit_embedding,
)
# The first that fits is the paper's; those that look at structure come before names.
_PUBLISHED = (DIT, WAV2VEC2, LLAMA, GPT2, VIT, CONVNEXT, DNA)


def paper(model: nn.Module) -> Recipe:
    """The published recipe for ``model``'s architecture; if there is none, as "swap-only"."""
    sites = [site for site in audit(model) if site.replaceable]
    for recipe in _PUBLISHED:
        if recipe.misfit(model, sites) is None:
            return recipe
    return Recipe("paper", _half, "none for this architecture: alpha 0.5, as in swap-only")


# What `dyt.convert` and suites take by name: a recipe, or a choice of one by model.
RECIPES: Mapping[str, Recipe | Callable[[nn.Module], Recipe]] = MappingProxyType(
    {recipe.name: recipe for recipe in (SWAP_ONLY, CALIBRATED, GRADUAL, FACTOR, *_PUBLISHED)}
    | {"paper": paper}
)


def resolve(
    recipe: str | Recipe | Callable[[nn.Module], Recipe],
    model: nn.Module,
    sites: Sequence[NormSite],
) -> Recipe:
    """The recipe that a name, a recipe or a function of the model means, checked.

    Args:
        recipe: a name in `RECIPES`, a recipe, or a function that returns one for a model.
        model: the model to convert.
        sites: its replaceable norms.

    Raises:
        ValueError: an unknown name, or a recipe for another architecture.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            known = ", ".join(map(repr, RECIPES))
            raise ValueError(f"recipe must be one of {known}, or a Recipe; got {recipe!r}")
        recipe = RECIPES[recipe]
    chosen = recipe if isinstance(recipe, Recipe) else recipe(model)
    lacks = chosen.misfit(model, sites)
    if lacks is not None:
        raise ValueError(
            f"recipe {chosen.name!r} is for another architecture: {type(model).__name__} lacks "
            f'{lacks}; "paper" picks by model, "swap-only" fits every one'
        )
    return chosen
