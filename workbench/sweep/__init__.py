"""Sweeps: plan a grid of jobs, start each in a process of its own, keep the books."""
