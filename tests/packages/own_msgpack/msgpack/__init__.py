version = (0, 6, 2)


def packb(*_arguments, **_options):
    raise RuntimeError("the server must not use this")


unpackb = Packer = packb
