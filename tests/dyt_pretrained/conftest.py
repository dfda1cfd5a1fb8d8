"""A small checkpoint of each library, tables, and a cache of its own for every test session."""

import csv
import json
import random

import pytest

from dyt_bench.plugin.task import Task

MOODS = ["good", "fine", "nice", "great", "kind", "bad", "poor", "sad", "ugly", "cruel"]
WORDS = [*MOODS, "the", "a", "film", "book", "song", "day"]


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    """One for all tests: what a first one makes, the others find."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True, scope="module")
def cache(cache_folder):
    """Nothing is read from the user's cache; the examples' checkpoints are made in a few steps."""
    from dyt_pretrained import examples

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYT_BENCH_DATA", str(cache_folder))
        patch.setattr(examples, "_TEXT_STEPS", 3)
        patch.setattr(examples, "_MOLECULE_STEPS", 3)
        patch.setattr(examples, "_IMAGE_STEPS", 3)
        yield


def save_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: place for place, word in enumerate([*special, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {f"{token.strip('[]').lower()}_token": token for token in special}
    PreTrainedTokenizerFast(tokenizer_object=words, **named).save_pretrained(str(folder))


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    import torch
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("models") / "bert"
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=5 + len(WORDS), intermediate_size=32, max_position_embeddings=32, **sizes
    )
    BertForMaskedLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "gpt2"
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=5 + len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=32,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def timm_vit(tmp_path_factory):
    """As timm saves to a local folder."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("models") / "vit"
    args = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **args)
    save_for_hf(model, folder, model_args=args, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """60 short texts; their mood, and a number that counts their good words."""
    file = tmp_path_factory.mktemp("data") / "reviews.csv"
    draw = random.Random(0)
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["review", "mood", "stars"])
        for number in range(60):
            good = number % 2 == 0
            own = draw.sample(WORDS[:5] if good else WORDS[5:10], 3) + draw.sample(WORDS[10:], 4)
            rows.writerow([" ".join(own), "good" if good else "bad", number / 7])
    return file


@pytest.fixture(scope="session")
def tagged(tmp_path_factory):
    """Lists of words with a tag for each."""
    file = tmp_path_factory.mktemp("data") / "tagged.jsonl"
    draw = random.Random(0)
    lines = []
    for _ in range(40):
        words = draw.sample(WORDS, 5)
        tags = ["mood" if WORDS.index(word) < 10 else "other" for word in words]
        lines.append(json.dumps({"words": words, "tags": tags}))
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Images of two colours, a folder each."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("data") / "squares"
    draw = random.Random(0)
    for label, colour in (("blue", 2), ("red", 0)):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            value = [0, 0, 0]
            value[colour] = 100 + draw.randrange(150)
            image = Image.new("RGB", (16, 16), tuple(value))
            image.putpixel((number, 0), (255, 255, 255))
            image.save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def task():
    def make(**changes):
        fields = {
            "domain": "pretrained",
            "model": "sequence-classification",
            "dataset": "table",
            "steps": 4,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "val_every": 2,
        }
        options = tuple(sorted(changes.pop("options", {}).items()))
        return Task(**fields | changes, options=options)

    return make
