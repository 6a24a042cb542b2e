from crl_core.formerly import moved

__getattr__ = moved("crl_core.relation", "data.relation", "data.parsing")
