"""Augmentations of uint8 batches; names and their order in a chain stand in `chain`."""
