"""Results of runs: metrics, tables, plots and evaluation."""
