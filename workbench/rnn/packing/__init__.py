"""What `packed_rnn` is made of: the packed order of rows, one saved step, and a loop for every kernel."""
