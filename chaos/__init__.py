"""The real service under fire: mixed requests from many clients while its workers are ended in every way known.

    python -m chaos [--short | --soak] [--kills 1000] [--json FILE] [--table FILE]

See docs/reliability.md for what is promised and what was seen.
"""
