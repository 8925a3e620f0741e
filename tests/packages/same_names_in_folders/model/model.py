raise ImportError("this is model.model, and nobody asked for it")
