"""The parts of `launch/benchmark.py`: what is timed, against what, and the report."""
