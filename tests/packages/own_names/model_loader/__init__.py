OWN = "model_loader"
