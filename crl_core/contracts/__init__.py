"""The contracts of parts and of kernels: how each kind is called, and what it returns."""
