"""A model package on disk and the process that hosts it: no HTTP, no output schema."""
