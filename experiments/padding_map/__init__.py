"""The gain of each padding over global, by the spread of lengths and the batch size."""
