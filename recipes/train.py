"""Trains one model: `accelerate launch recipes/train.py --config recipes/next_token/gpt2.yaml [--num_train 1024 ..]`.

The same as `rhm train`, as a script for `accelerate launch` and `torchrun`. A run that was killed is resumed, a
finished one is not redone.
"""

import sys

from accelerate import PartialState

from rhm_hf.cli import main


if __name__ == "__main__":
    status = main(["train", *sys.argv[1:]])
    if PartialState._shared_state:  # a launcher's process group is closed by who came last
        PartialState().destroy_process_group()
    sys.exit(status)
