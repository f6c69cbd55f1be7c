"""`python -m rhm_hf.drawing.play FILE [NAME]` writes the page, which opens with the grammar of a short name."""

import sys

from ...grammar import Grammar
from . import write_page


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(write_page(sys.argv[1], *map(Grammar.from_name, sys.argv[2:])))
