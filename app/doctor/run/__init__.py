"""What the doctor learns by running the model on images that are made up, and on those that are given."""
