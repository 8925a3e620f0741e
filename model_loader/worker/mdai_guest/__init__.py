"""The worker's own half, in Python 3.7 syntax with the standard library and msgpack: see `__main__`."""
