NAME = "net"
