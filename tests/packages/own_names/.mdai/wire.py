OWN = "wire"
