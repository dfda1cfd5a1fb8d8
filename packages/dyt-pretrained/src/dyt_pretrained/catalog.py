"""Heads with budgets, the training preset and the data sets: data only, read without torch."""

from collections.abc import Mapping

from dyt_bench.plugin.domain import Dataset, Model, TrainingPreset
from dyt_pretrained import files
from dyt_pretrained.data.table import check_options

TRAININGS: Mapping[str, TrainingPreset] = {
    "default": TrainingPreset(
        summary="BERT's fine-tuning: AdamW, a tenth of the steps to the peak, linear to zero, "
        "clipping at 1, weight decay 0.01",
        source="arXiv 1810.04805, appendix A.2 and A.3",
        betas=(0.9, 0.999),
        weight_decay=0.01,
        schedule="linear",
        clip_norm=1.0,
    )
}


def _head(summary: str, steps: int = 300) -> Model:
    """On the text encoder that this package trains, where the suite gives no checkpoint.

    The rate suits its width of 64; `dyt_pretrained.proposal` has the rule for others.
    """
    return Model(
        summary=summary,
        library="transformers",
        native_norm="the checkpoint's",
        steps=steps,
        batch_size=32,
        learning_rate=5e-4,
        checkpoint=files.text_checkpoint,
    )


CLASSIFIERS: Mapping[str, Model] = {
    "sequence-classification": _head("a class for each text"),
    "token-classification": _head("a class for each word of a text"),
    "image-classification": Model(
        summary="a class for each image; without a checkpoint, on a ViT that knows five digits",
        library="transformers or timm",
        native_norm="the checkpoint's",
        steps=200,
        batch_size=32,
        learning_rate=1e-3,
        checkpoint=files.image_checkpoint,
    ),
}
REGRESSORS: Mapping[str, Model] = {"regression": _head("a number for each text")}
LANGUAGE_MODELS: Mapping[str, Model] = {
    "masked-lm": _head("tokens that are masked, 15 % of a text"),
    "causal-lm": _head("the next token of a text"),
}

_KJV = "Debian's bible-kjv-text 4.38, as text/NOTICE of dyt-llm says"

TABLES: Mapping[str, Dataset] = {
    "verses": Dataset(
        summary="verses of the King James Bible; with the book that each is from, and how long",
        source=_KJV,
        licence="public domain",
        files=files.verses,
    ),
    "table": Dataset(
        summary="your table: a row is a sample",
        source="path: TABLE.csv, .tsv, .jsonl or .parquet",
        licence="yours",
        files=files.table,
        takes_path=True,
        check_options=check_options,
        options={
            "label": "the column that is predicted",
            "text": "the columns that are read, separated by commas; by default all with text",
            "split": "the column that says train, or val or test, of each row",
            "length": "tokens of a text at most; by default 128",
        },
    ),
}
DATASETS: Mapping[str, Dataset] = {
    **TABLES,
    "digits": Dataset(
        summary="scans of the digits 5 to 9, 8x8, each anywhere in 16x16",
        source="sklearn.datasets.load_digits",
        licence="CC-BY-4.0",
        files=files.digits,
    ),
    "images": Dataset(
        summary="your images, a folder a class",
        source="path: CLASS/IMAGE.png, .jpg and others",
        licence="yours",
        files=files.images,
        takes_path=True,
    ),
}
