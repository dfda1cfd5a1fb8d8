"""Checkpoints that this package trains itself, made once and kept in the cache, and their data."""

import csv
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError, listed, quoted
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Task
from dyt_pretrained import files
from dyt_pretrained.data.images import FIELD, digit_images, digit_scans
from dyt_pretrained.data.molecules import TOKEN, to_read
from dyt_pretrained.data.verses import read_verses, to_learn

_WIDTH, _LAYERS, _HEADS = 64, 2, 4
_VOCABULARY = 1000  # tokens, with the five special ones
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LENGTH = 64  # tokens
_TEXT_STEPS, _TEXT_BATCH = 1000, 16
_MOLECULE_STEPS, _MOLECULE_BATCH = 1000, 16
_PATCH = 4  # pixels
_IMAGE_STEPS, _IMAGE_BATCH = 2000, 32
_RATE = 2e-3


def start_of(task: Task) -> Path:
    """The folder of the checkpoint that a task starts from: the user's, or an example's."""
    if task.checkpoint is not None:
        return task.checkpoint
    return image_encoder() if task.model == "image-classification" else text_encoder()


def text_encoder() -> Path:
    """The folder of a BERT of 2 layers of 64, trained on every second verse; made on first use."""
    (verses,) = files.verses(None)
    return derived(f"pretrained/text-{digest_files([verses])}", lambda to: _make_text(verses, to))


def molecule_encoder() -> Path:
    """The folder of a BERT of 2 layers of 64, trained on SMILES; made on first use.

    Raises:
        DataError: dyt-molecules or RDKit is not installed.
    """
    sources = files.molecules(None)
    return derived(f"pretrained/molecules-{digest_files(sources)}", lambda to: _make_smiles(to))


def image_encoder() -> Path:
    """The folder of a ViT of 2 layers of 64, trained to tell digits below 5 apart anywhere."""
    return derived(f"pretrained/images-{digest_files(files.digits(None))}", _make_images)


def _make_text(verses: Path, to: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.trainers import WordPieceTrainer

    texts = to_learn(verses)
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.decoder = decoders.WordPiece()
    trainer = WordPieceTrainer(vocab_size=_VOCABULARY, special_tokens=_SPECIAL, show_progress=False)
    words.train_from_iterator(texts, trainer)
    _make_encoder(words, texts, to, _TEXT_STEPS, _TEXT_BATCH)


def _make_smiles(to: Path) -> None:
    """Its tokens are atoms, bonds, brackets and ring closures."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.trainers import WordLevelTrainer

    smiles = to_read(*files.molecules(None))
    atoms = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    atoms.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), "isolated")
    atoms.decoder = decoders.Fuse()
    trainer = WordLevelTrainer(vocab_size=_VOCABULARY, special_tokens=_SPECIAL, show_progress=False)
    atoms.train_from_iterator(smiles, trainer)
    _make_encoder(atoms, smiles, to, _MOLECULE_STEPS, _MOLECULE_BATCH)


def _make_encoder(words: Any, texts: list[str], to: Path, steps: int, batch: int) -> None:
    """A BERT that has learned to predict masked tokens of the texts, and its tokenizer.

    Args:
        words: a trained tokenizer, with no special tokens around a text yet.
    """
    from tokenizers import processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    first, last = _SPECIAL.index("[CLS]"), _SPECIAL.index("[SEP]")  # their ids
    words.post_processor = processors.BertProcessing(("[SEP]", last), ("[CLS]", first))
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words,
        model_max_length=2 * _LENGTH,
        **{f"{token.strip('[]').lower()}_token": token for token in _SPECIAL},
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        intermediate_size=4 * _WIDTH,
        max_position_embeddings=2 * _LENGTH,
        pad_token_id=tokenizer.pad_token_id,
    )
    found = tokenizer(
        texts, truncation=True, max_length=_LENGTH, padding="max_length", return_tensors="pt"
    )
    ids, mask, hidden = found["input_ids"], found["attention_mask"], tokenizer.mask_token_id

    def loss(model: Any, rows: Tensor) -> Tensor:
        longest = int(mask[rows].sum(1).max())
        own, seen = ids[rows, :longest], mask[rows, :longest]
        chosen = (torch.rand(own.shape) < 0.15) & (own >= len(_SPECIAL))
        logits = model(input_ids=own.where(~chosen, hidden), attention_mask=seen).logits
        return cross_entropy(logits[chosen], own[chosen])

    model = _trained(lambda: BertForMaskedLM(config), loss, len(ids), steps, batch)
    model.save_pretrained(to)
    tokenizer.save_pretrained(str(to))


def _make_images(to: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    scans, digits = digit_scans(new=False)
    pixels, labels = torch.from_numpy(scans).float() / 127.5 - 1, torch.tensor(digits)
    config = ViTConfig(
        hidden_size=_WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        intermediate_size=4 * _WIDTH,
        image_size=FIELD,
        patch_size=_PATCH,
    )
    config.num_labels = len(set(digits))

    def loss(model: Any, rows: Tensor) -> Tensor:
        fields = _anywhere(pixels[rows])
        return cross_entropy(model(pixel_values=fields).logits, labels[rows])

    model = _trained(
        lambda: ViTForImageClassification(config), loss, len(pixels), _IMAGE_STEPS, _IMAGE_BATCH
    )
    model.save_pretrained(to)


def _anywhere(scans: Tensor) -> Tensor:
    """(B, 8, 8) -> (B, 3, FIELD, FIELD): each scan at a random place of a dark field."""
    fields, side = torch.full((len(scans), FIELD, FIELD), -1.0), scans.shape[-1]
    corners = torch.randint(FIELD - side + 1, (len(scans), 2)).tolist()
    for field, scan, (row, column) in zip(fields, scans, corners, strict=True):
        field[row : row + side, column : column + side] = scan
    return fields.unsqueeze(1).expand(-1, 3, -1, -1)


def _trained(
    build: Callable[[], Any],
    loss: Callable[[Any, Tensor], Tensor],
    samples: int,
    steps: int,
    batch: int,
) -> Any:
    """A new model after training by AdamW, always the same; the state of random numbers is kept."""
    print(f"training an example's checkpoint, once: {steps} steps", flush=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().train()
        optimizer = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps, pct_start=0.1)
        for _ in range(steps):
            loss(model, torch.randint(samples, (batch,))).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return model.eval()


def write_example(name: str, folder: Path) -> None:
    """Write a checkpoint and data into a new folder, of one of `EXAMPLES`.

    Raises:
        DataError: there is no such example, the folder is there, or a package is missing.
    """
    if name not in EXAMPLES:
        raise DataError(f"there is no example {quoted(name)}: expected one of {listed(EXAMPLES)}")
    if folder.exists():
        raise DataError(f"{folder} exists already: name a new folder")
    encoder, write = EXAMPLES[name]
    copytree(encoder(), folder / "model")
    write(folder)


def _write_verses(folder: Path) -> None:
    table = read_verses(files.verses(None)[0])
    with (folder / "verses.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(table.columns)
        rows.writerows(zip(*table.columns.values(), strict=True))


def _write_molecules(folder: Path) -> None:
    copyfile(files.molecules(None)[0], folder / "molecules.csv")


def _write_images(folder: Path) -> None:
    for number, (image, label) in enumerate(zip(*digit_images(), strict=True)):
        to = folder / "digits" / str(label + 5)
        to.mkdir(parents=True, exist_ok=True)
        image.save(to / f"{number:04}.png")


# Name -> what makes the checkpoint, and what writes the data beside it.
EXAMPLES: dict[str, tuple[Callable[[], Path], Callable[[Path], None]]] = {
    "text": (text_encoder, _write_verses),
    "molecules": (molecule_encoder, _write_molecules),
    "images": (image_encoder, _write_images),
}
