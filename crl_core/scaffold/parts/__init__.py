"""A working part of each kind. `crl new plugin` copies these files; change the copy into your own part."""
