"""The files of a work directory: checkpoints, config, metrics, summary."""
