"""What is to be asked of a GPU the moment that one can be had: see README.md beside this file."""
