OWN = "queue"
