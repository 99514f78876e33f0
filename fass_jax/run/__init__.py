"""One run from its start to its end: session, start, resume, the loop, records."""
