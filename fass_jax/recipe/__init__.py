"""From a config to filled slots: streams, views, terms, signals, optimiser, classifier."""
