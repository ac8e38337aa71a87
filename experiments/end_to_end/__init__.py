"""Models as people train them, by Keras, by `accelerate` and by PyTorch, to the same accuracy; see README.md."""
