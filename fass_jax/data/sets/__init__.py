"""The data sets by name: how each is found, prepared and read."""
