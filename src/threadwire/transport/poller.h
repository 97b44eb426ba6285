/* The batching poller: poller.c says how it works. */

#ifndef THREADWIRE_POLLER_H
#define THREADWIRE_POLLER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

enum { READY = -1, END = 0, READ = 1, WRITE = 2, ACCEPT = 3 };

int add_poller(PyObject *module);

#endif
