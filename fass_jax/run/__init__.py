"""A training run: session, initial state, resume, train loop, records."""
