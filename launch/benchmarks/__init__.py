"""The parts of `launch/benchmark.py`: candidates, baselines, limits and the report."""
