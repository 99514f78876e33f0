"""The parts of `launch/tables.py`: the ledgers, what is still to run, and the report."""
