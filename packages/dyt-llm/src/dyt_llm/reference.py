"""Reference scores: what frequencies of tokens predict, by themselves and given those before."""

from dyt_bench.plugin.domain import Reference
from dyt_bench.plugin.markov import longest_word, markov_nats
from dyt_llm.data.datamodule import TextData

COUNTED = 2**21  # tokens of the training text, at most, so that counting takes a second or two
_MODEST, _ORDER = 2, 5  # of chains; 5 is, over bytes up to it, the best on Python's source
_WEIGHT = 64.0  # of the shorter context; of 4, 16 and 64 the best at order 5 on the stdlib


def references(data: TextData) -> list[Reference]:
    """Nats per byte of the validation text: frequencies of tokens, and two Markov chains."""
    order = highest_order(data)
    return [
        Reference("frequencies of tokens (unigram)", unigram_loss(data), "blind"),
        Reference(f"Markov chain of order {_MODEST}", markov_loss(data, _MODEST), "modest"),
        Reference(f"Markov chain of order {order}", markov_loss(data, order), "strong"),
    ]


def unigram_loss(data: TextData) -> float:
    """Nats per byte of the validation text, predicted by the frequencies of single tokens."""
    return markov_loss(data, order=0)


def markov_loss(data: TextData, order: int) -> float:
    """Nats per byte of the validation text, predicted by `dyt_bench.plugin.markov.markov_nats`.

    The chain is counted on the training text. It predicts what models are validated on, from the
    ``order`` tokens before in the same window.

    Raises:
        ValueError: ``order`` is negative, or its words exceed 63 bits.
    """
    windows, token_bytes = data.val_windows(), data.codec.token_bytes
    nats = markov_nats(
        [data.train_stream(COUNTED).numpy()],
        windows.numpy(),
        vocabulary=len(token_bytes),
        order=order,
        weight=_WEIGHT,
    )
    return nats / int(token_bytes[windows[:, 1:]].sum())


def highest_order(data: TextData) -> int:
    """The order of the chain to compare with: 5, or less where a word would exceed 63 bits."""
    return min(_ORDER, longest_word(len(data.codec.token_bytes)) - 1)
