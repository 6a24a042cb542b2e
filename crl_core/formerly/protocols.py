from crl_core.formerly import moved

__getattr__ = moved("crl_core.protocols", "data.view", "contracts.parts", "contracts.kernels", "contracts.optional")
