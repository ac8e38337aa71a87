"""What `packed_rnn` is made of: the packed order of rows, one saved step, and a loop for every kernel.

What an LSTM of 256 units spends its time on in the "xla" kernel (2 cores, TensorFlow 2.21, batch 128, geometric
lengths of mean 20; `perf`, share of the samples): products inside the loops 34%, what lies in another block of
compiled code (oneDNN's large products outside the loops, by its place; not proven) 22%, elementwise kernels
17%, the rest thread pools, copies and the executor. XLA's product needs no help: 9 us for one row of [1, 256] @
[256, 1024], 11 for 4, 26 for 16; transposed operands take twice that, and a sum of products or a product for
each row more.

Tried, and no gain (interleaved, ratio of a step's time to what is here): XLA's dynamic_update_slice for the scatter
that writes a step, 1.01 (basic RNN 0.90, but the op is private); one row of all that is kept for a single write,
and states as one tensor, 1.05; a single-index scatter into blocks, 1.9 to 3.9; no activations at all, 0.96 to 1.0;
sigmoid as a scaled tanh over all gates at once, 0.94 to 0.99 (not taken: it hides the equations);
xla_cpu_multi_thread_eigen=false, vectors of 512 bits, and the scheduler without concurrency, none faster.
A backward pass compiled ahead in a thread is compiled again: what is called outside a graph is kept apart.

Below 8 examples PyTorch's padded LSTM is faster (1.4 times at batch 4, longest 100): of 55 us a step, forward and
backward, the products are 20; the rest are some 30 small kernels, each dispatched on its own.
"""
