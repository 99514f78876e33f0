"""What is compiled, and what feeds it: views, the train step, programs, passes over a set."""
