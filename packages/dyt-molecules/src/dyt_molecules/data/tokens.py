"""Tokens of SMILES strings, and their numbers."""

import re
from collections.abc import Iterable

PAD, START, END, UNKNOWN = range(4)  # numbers that stand for no token of a string
LONGEST = 64  # tokens of a string; longer molecules are left out

# An atom in brackets, an element of two letters, a ring closure of two digits; else one character.
_TOKEN = re.compile(r"\[[^\]]*\]|Br|Cl|%\d\d|.")


def split(smiles: str) -> list[str]:
    """``C[C@H](Cl)Br`` -> ``C``, ``[C@H]``, ``(``, ``Cl``, ``)``, ``Br``; joined, the string."""
    return _TOKEN.findall(smiles)


class Vocabulary:
    """Numbers of the tokens that occur in ``strings``; any other token is ``UNKNOWN``."""

    def __init__(self, strings: Iterable[str]) -> None:
        tokens = sorted({token for string in strings for token in split(string)})
        self.numbers = {token: number for number, token in enumerate(tokens, UNKNOWN + 1)}

    def __len__(self) -> int:
        return UNKNOWN + 1 + len(self.numbers)

    def encode(self, string: str) -> list[int]:
        """Numbers of the string's tokens, between ``START`` and ``END``."""
        return [START, *(self.numbers.get(token, UNKNOWN) for token in split(string)), END]
