"""Which images a stream draws, and which partners they are mixed with."""
