OWN = "utils"
