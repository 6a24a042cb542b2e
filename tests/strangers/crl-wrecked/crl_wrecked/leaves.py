import sys

sys.exit("no licence was found")


class Loss:
    takes = "scores"
