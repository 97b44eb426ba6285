"""The exercise's client: greets the server until you have had enough."""

import socket
import sys

host, port = sys.argv[1:] or ("127.0.0.1", "12345")

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, int(port)))
while True:
    client.send(b"hello from client")
    data = client.recv(1024)
    print("Received from server:", data.decode())
    if input("Do you want to continue (y/n): ") != "y":
        break
client.close()
