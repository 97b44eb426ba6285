/* What handling.c adds to the module. */

#ifndef THREADWIRE_HANDLING_H
#define THREADWIRE_HANDLING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

int add_handling(PyObject *module);
PyObject *call_each(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *timed(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
