"""A research workbench for recurrent networks on variable-length sequences in TensorFlow 2."""

__version__ = "0.1.0"
