"""Data sets on disk and the batches made of them; TensorFlow is imported only by the modules that need it."""
