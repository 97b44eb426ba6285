/* Calls for sockets, which never wait; portable.py is the same in Python, and says what each does. */

#ifndef THREADWIRE_SOCKETS_H
#define THREADWIRE_SOCKETS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define MOST_BYTES (1 << 20) /* received by a call, offered by a send */

typedef struct {
    int fd;
    PyObject *view;   /* owned, keeps the data where it is; NULL for bytes */
    const char *data; /* kept by `view`, or else by the caller */
    Py_ssize_t size;
    Py_ssize_t sent; /* or -errno */
} Outgoing;

/* Fills in what is to be sent; `view` is the caller's to release. */
int lend(PyObject *object, Outgoing *one);
Py_ssize_t offered(const Outgoing *one);

/* With the GIL or without. */
void send_each(Outgoing *one, Py_ssize_t count);

/* None if all was sent, else a list of what was. */
PyObject *outcome(const Outgoing *outgoing, Py_ssize_t count);

PyObject *accept_now(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *hang_up(PyObject *module, PyObject *sock);
PyObject *send_now(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
