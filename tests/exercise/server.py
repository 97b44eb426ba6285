"""The exercise's server: sends everything back reversed."""

import _thread
import socket
import sys
import threading

host, port = sys.argv[1:] or ("127.0.0.1", "12345")
print_lock = threading.Lock()


def talk(connection: socket.socket) -> None:
    while True:
        data = connection.recv(1024)
        if not data:
            print("Goodbye")
            print_lock.release()
            break
        connection.send(data[::-1])
    connection.close()


listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listening.bind((host, int(port)))
listening.listen(5)
print("Listening on port", port)
while True:
    connection, address = listening.accept()
    print_lock.acquire()
    print("Connected to", address)
    _thread.start_new_thread(talk, (connection,))
