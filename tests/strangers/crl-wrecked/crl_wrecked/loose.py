class Loose:
    """Its options have no names."""

    takes = "scores"

    def __init__(self, *options):
        self.options = options


class Unlabelled:
    """Has the name of another plugin's part."""

    takes = "scores"

    def __call__(self, scores):
        raise RuntimeError("nobody asked for this one")
