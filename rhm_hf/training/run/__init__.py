"""One run: its batches, its loop, its folder and checkpoints, and what it has found."""
