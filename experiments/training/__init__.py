"""The parts of `experiments/train_depth.py`, one idea each.

losses: what is minimised. models: what is trained. data and augment: what it is trained on. loop: the steps, from a
batch to changed weights. validation: the numbers by which the best model is kept. records: what a run leaves behind.
options: what can be chosen.
"""
