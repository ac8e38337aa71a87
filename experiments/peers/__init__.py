"""This project's runners timed beside Keras, TensorFlow 1's runners and PyTorch: `python -m experiments.peers`.

settings (what is compared, and to be reached) -> lengths, work (the same batches and weights for all)
-> arms, torch_arms, ceiling (how each does one training step) -> check (that all do the same)
-> timing (interleaved rounds) -> worker (one job, in a process of its own), processes, measure (all jobs)
-> rows (ratios, intervals, goals) -> report, figures.
"""
