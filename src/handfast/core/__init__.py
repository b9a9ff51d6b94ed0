"""The pure core: values and functions. No sockets, files, clocks or randomness."""
