/* Calls for sockets: see sockets.h. send_now() gives up the GIL if much is offered. */

#include "sockets.h"

#include "arguments.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELD_SEND (64 << 10) /* up to here sending costs less than giving up the GIL */

/* Sending. */

int lend(PyObject *object, Outgoing *one) {
    one->view = NULL;
    if (PyBytes_CheckExact(object)) {
        one->data = PyBytes_AS_STRING(object);
        one->size = PyBytes_GET_SIZE(object);
        return 0;
    }
    one->view = PyMemoryView_FromObject(object);
    if (one->view == NULL)
        return -1;
    Py_buffer *buffer = PyMemoryView_GET_BUFFER(one->view);
    one->data = buffer->buf;
    one->size = buffer->len;
    if (PyBuffer_IsContiguous(buffer, 'C'))
        return 0;
    PyErr_SetString(PyExc_TypeError, "what is sent must be contiguous");
    Py_CLEAR(one->view);
    return -1;
}

Py_ssize_t offered(const Outgoing *one) {
    return one->size < MOST_BYTES ? one->size : MOST_BYTES;
}

static void send_some(Outgoing *one) {
    one->sent = send(one->fd, one->data, (size_t)offered(one), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (one->sent < 0)
        one->sent = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -errno;
}

void send_each(Outgoing *one, Py_ssize_t count) {
    for (; count > 0; count--, one++) {
        one->sent = 0;
        if (one->size > 0)
            send_some(one);
    }
}

PyObject *outcome(const Outgoing *outgoing, Py_ssize_t count) {
    Py_ssize_t at = 0;
    while (at < count && outgoing[at].sent == outgoing[at].size)
        at++;
    PyObject *result = at == count ? Py_NewRef(Py_None) : PyList_New(count);
    for (at = 0; result != NULL && result != Py_None && at < count; at++) {
        PyObject *sent = PyLong_FromSsize_t(outgoing[at].sent);
        if (sent != NULL)
            PyList_SET_ITEM(result, at, sent);
        else
            Py_CLEAR(result);
    }
    return result;
}

PyObject *send_now(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Outgoing one;
    if (check_count("send_now", count, 3) < 0 || as_descriptor(args[1], &one.fd) < 0 ||
        lend(args[2], &one) < 0)
        return NULL;
    if (one.size <= HELD_SEND) {
        send_some(&one);
    } else {
        Py_BEGIN_ALLOW_THREADS
        send_some(&one);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(one.view);
    if (one.sent >= 0)
        return PyLong_FromSsize_t(one.sent);
    errno = (int)-one.sent;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* The peer's address as the socket module gives it, as far as it is used: host and port. */
static PyObject *as_name(const struct sockaddr_storage *address) {
    char host[INET6_ADDRSTRLEN];
    const struct sockaddr_in *ip4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *ip6 = (const struct sockaddr_in6 *)address;
    if (address->ss_family == AF_INET) {
        if (inet_ntop(AF_INET, &ip4->sin_addr, host, sizeof host) != NULL)
            return Py_BuildValue("si", host, (int)ntohs(ip4->sin_port));
    } else if (address->ss_family == AF_INET6) {
        if (inet_ntop(AF_INET6, &ip6->sin6_addr, host, sizeof host) != NULL)
            return Py_BuildValue("si", host, (int)ntohs(ip6->sin6_port));
    } else {
        return PyUnicode_FromString("");
    }
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *accept_now(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof address;
    int listening;
    if (check_count("accept_now", count, 2) < 0 || as_descriptor(args[1], &listening) < 0)
        return NULL;
    int fd = accept4(listening, (struct sockaddr *)&address, &size, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
            Py_RETURN_NONE;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject *name = as_name(&address);
    PyObject *result = name != NULL ? Py_BuildValue("iN", fd, name) : NULL;
    if (result == NULL)
        close(fd);
    return result;
}

/* Neither call waits: a socket lingers, if at all, after it has been shut down. */
PyObject *hang_up(PyObject *Py_UNUSED(module), PyObject *sock) {
    int fd;
    PyObject *number = PyObject_CallMethod(sock, "detach", NULL);
    int status = number != NULL ? as_descriptor(number, &fd) : -1;
    Py_XDECREF(number);
    if (status < 0)
        return NULL;
    if (fd >= 0) {
        (void)shutdown(fd, SHUT_RDWR); /* it may not be connected any more */
        (void)close(fd);               /* the descriptor is freed, whatever else it says */
    }
    Py_RETURN_NONE;
}
