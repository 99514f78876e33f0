"""Augmentations of uint8 batches; `chain` lists the ops by name and in order."""
