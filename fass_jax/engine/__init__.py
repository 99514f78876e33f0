"""Compiled code and its inputs: views, train step, programs, evaluation passes, data feed."""
