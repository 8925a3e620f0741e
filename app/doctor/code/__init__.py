"""What the doctor reads in the model's code, by its syntax tree: nothing is run."""
