class Kernel:
    def unsupported(self, problem):
        raise RuntimeError("no driver")

    def preference(self, problem):
        return 1e9

    def __call__(self, problem):
        raise RuntimeError("nobody asked for this one")
