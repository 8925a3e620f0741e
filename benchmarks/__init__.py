"""How fast the service is beside a server that runs the model in its own process.

One row is one comparison: `python -m benchmarks ROW`. What is compared runs in turns in one run, with the same model,
the same request, the same client and the same libraries.
"""
