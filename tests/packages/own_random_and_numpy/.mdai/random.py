raise ImportError("this random.py is not the one that numpy wants")
