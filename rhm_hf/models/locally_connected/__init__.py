"""The hierarchical network without weight sharing."""
