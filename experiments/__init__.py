"""Training, evaluation and benchmarks around `lib`: programs to run and change, not a part of the installed package."""
