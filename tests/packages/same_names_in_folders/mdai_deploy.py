raise RuntimeError("this one is for another platform")
