from crl_core.formerly import moved

__getattr__ = moved("crl_core.listing", "data.listing")
