"""A trained model as lm-eval asks for one: log-likelihoods of texts after texts."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lm_eval.api.model import LM
from torch import Tensor
from torch.nn.functional import pad

from dyt_llm.data.tokens import Codec
from dyt_llm.module import LanguageModel

_AT_ONCE = 16  # texts
Pair = tuple[list[int], list[int]]  # tokens of a context, which is not empty, and of what follows


class ScoredModel(LM):  # type: ignore[misc]  # lm-eval has no types
    """Scores texts with the tokens that a model was trained on; it generates none.

    A text longer than the model reads loses its beginning. Where there is no context, the token
    that ends a document, or a newline, stands before.

    Args:
        module: in eval mode.
        codec: of the text that it was trained on.
    """

    def __init__(self, module: LanguageModel, codec: Codec) -> None:
        super().__init__()
        self.module, self.codec = module, codec
        end = getattr(codec, "end", None)
        self.start = codec.encode("\n")[-1:] if end is None else [end]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Of ``(context, continuation)``: its log-likelihood, and if it is the likeliest."""
        return self._scored([self._pair(*request.args) for request in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Of ``(text,)``: nats of the whole, in pieces as long as the model reads."""
        found = []
        for request in requests:
            (text,) = request.args
            pieces = self._pieces(self.codec.encode(text))
            found.append(sum(nats for nats, _ in self._scored(list(pieces))))
        return found

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        raise NotImplementedError("ScoredModel generates no text: choose tasks of given answers")

    def _pair(self, context: str, continuation: str) -> Pair:
        # As lm-eval does it: the space before a word is a part of the word's token.
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        before = self.codec.encode(context) if context else []
        after = self.codec.encode(context + continuation)[len(before) :]
        return before or self.start, after

    def _pieces(self, tokens: list[int]) -> Iterator[Pair]:
        """Each token once, after as many as the piece holds."""
        most = self.module.units_per_sample
        before = self.start
        for start in range(0, len(tokens), most):
            after = tokens[start : start + most]
            yield before, after
            before = after[-1:]

    def _scored(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        # The longest first: memory runs out at once or never, and texts of a batch fit together.
        order = sorted(range(len(pairs)), key=lambda n: -sum(map(len, pairs[n])))
        found: dict[int, tuple[float, bool]] = {}
        for start in range(0, len(order), _AT_ONCE):
            chosen = order[start : start + _AT_ONCE]
            scored = self._batch([pairs[n] for n in chosen])
            found.update(zip(chosen, scored, strict=True))
        return [found[n] for n in range(len(pairs))]

    @torch.no_grad()
    def _batch(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        module, most = self.module, self.module.units_per_sample + 1
        texts = [torch.tensor([*before, *after][-most:]) for before, after in pairs]
        longest = max(map(len, texts))
        # Padding stands behind, where a causal model does not see it.
        batch = torch.stack([pad(text, (0, longest - len(text))) for text in texts])
        logs = module(batch[:, :-1].to(module.device)).float().log_softmax(-1).cpu()
        scored = []
        for row, text, (_, after) in zip(logs, texts, pairs, strict=True):
            last = len(text) - 1
            first = last - min(len(after), last)
            scored.append(_score(row[first:last], text[first + 1 :]))
        return scored


def _score(logs: Tensor, tokens: Tensor) -> tuple[float, bool]:
    """(T, vocabulary) and (T,) -> the sum of the tokens' logs, and whether each is the highest."""
    nats = logs.gather(1, tokens.unsqueeze(1)).sum()
    return float(nats), bool((logs.argmax(1) == tokens).all())
