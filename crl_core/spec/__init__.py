"""A pipeline as data, and data as a pipeline."""

from ..formerly import moved

__getattr__ = moved("crl_core.spec", "spec.spec")
