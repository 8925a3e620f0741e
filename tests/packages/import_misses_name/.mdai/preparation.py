from json import float_of_old  # noqa: F401
