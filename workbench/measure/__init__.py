"""Clocks, memory, graphs and the device: what a run measures about itself."""
