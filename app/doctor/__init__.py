"""`mdai-model check`: what is wrong with a package, found before it is served."""
