"""The processes of runs: how a child is started and heard, what it says, and the replicas of a run of several.

Plain Python: who waits for a child, and a fork server until it forks, runs no TensorFlow.
"""
