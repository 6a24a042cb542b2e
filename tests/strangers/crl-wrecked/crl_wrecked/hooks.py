import crl_core as crl


@crl.hook
def crl_step_ends(state):
    raise RuntimeError("nobody is to call this")
