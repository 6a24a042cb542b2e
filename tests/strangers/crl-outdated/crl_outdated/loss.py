raise RuntimeError("this was made for another crl-core, and must not be imported")
