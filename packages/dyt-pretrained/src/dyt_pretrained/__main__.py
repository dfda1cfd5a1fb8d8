"""`python -m dyt_pretrained text FOLDER`: write an example's checkpoint and its data.

``text`` is a text encoder, ``FOLDER/model``, with ``FOLDER/verses.csv`` to fine-tune it on;
``molecules`` an encoder of SMILES, with ``FOLDER/molecules.csv``; ``images`` a ViT with a folder of
images a class, ``FOLDER/digits``.
"""

import sys
from pathlib import Path

from dyt_bench.plugin.domain import DataError
from dyt_pretrained.examples import EXAMPLES, write_example


def main(arguments: list[str]) -> int:
    """Write the example; returns the exit status, 2 for a user's mistake."""
    if len(arguments) != 2:
        print(f"usage: python -m dyt_pretrained {'|'.join(EXAMPLES)} FOLDER", file=sys.stderr)
        return 2
    try:
        write_example(arguments[0], Path(arguments[1]))
    except DataError as error:
        print(f"dyt_pretrained: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
