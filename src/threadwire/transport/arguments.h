/* What functions of the module are given. */

#ifndef THREADWIRE_ARGUMENTS_H
#define THREADWIRE_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static inline int check_count(const char *name, Py_ssize_t given, Py_ssize_t wanted) {
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", name, wanted, given);
    return -1;
}

/* What cannot be a descriptor becomes -1: none was added as that, and none can be used. */
static inline int as_descriptor(PyObject *number, int *fd) {
    int overflow;
    long value = PyLong_AsLongAndOverflow(number, &overflow);
    if (value == -1 && !overflow && PyErr_Occurred())
        return -1;
    *fd = overflow || value < 0 || value > INT_MAX ? -1 : (int)value;
    return 0;
}

#endif
