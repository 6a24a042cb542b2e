"""What the parts of a method, and kernels, keep to."""
