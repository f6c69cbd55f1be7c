"""`python -m rhm_hf.cli`: what the workers of a sweep start."""

import sys

from . import main


sys.exit(main())
