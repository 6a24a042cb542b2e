"""Where memories stood in version 0.1; they are in `crl_core.parts.keys`, and their names in `crl_core`."""
