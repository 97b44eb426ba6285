/* Calling handlers, and how long they take; handling.py is the same in Python.

A Tally belongs to one thread, which alone adds to it, while it holds the interpreter's lock or,
on a build without, as the one thread that does; any thread reads. So a thread whose loop has
been taken from it meanwhile adds to nobody else's.

Everything here may run any code, and belongs to the caller; others may append to or remove from
the lists meanwhile, which their own locks allow. */

#include "handling.h"

#include <stdbool.h>

#include "buckets.h"

#define GROUP 8        /* brief calls that are timed together */
#define BRIEF 20000ULL /* nanoseconds that a group of them takes at most */

typedef struct {
    PyObject_HEAD
    Buckets buckets;
    uint64_t usual;       /* what one of the last group took */
    unsigned brief_calls; /* in a row, up to GROUP; from then on they are timed together */
} Tally;

static void Tally_dealloc(PyObject *op) {
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static Tally *as_tally(PyObject *object) {
    if (Py_TYPE(object)->tp_dealloc == Tally_dealloc)
        return (Tally *)object;
    PyErr_Format(PyExc_TypeError, "a Tally is needed, not %.100s", Py_TYPE(object)->tp_name);
    return NULL;
}

static PyObject *Tally_add(PyObject *op, PyObject *seconds) {
    double value = PyFloat_AsDouble(seconds);
    if (value == -1.0 && PyErr_Occurred())
        return NULL;
    /* Written so that what is no number counts as nothing. */
    double longest = 9e9, duration = value > 0 ? value < longest ? value : longest : 0;
    add_duration(&((Tally *)op)->buckets, 1, (uint64_t)(duration * 1e9 + 0.5));
    Py_RETURN_NONE;
}

static PyObject *Tally_read(PyObject *op, PyObject *Py_UNUSED(ignored)) {
    return read_buckets(&((Tally *)op)->buckets);
}

static int few(const char *name, Py_ssize_t given, Py_ssize_t wanted) {
    if (given >= wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", name, wanted, given);
    return -1;
}

/* timed(tally, function, *args) */
PyObject *timed(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Tally *tally;
    if (few("timed", count, 2) < 0 || (tally = as_tally(args[0])) == NULL)
        return NULL;
    uint64_t begun = nanoseconds();
    PyObject *result = PyObject_Vectorcall(args[1], args + 2, (size_t)(count - 2), NULL);
    add_duration(&tally->buckets, 1, nanoseconds() - begun);
    return result;
}

/* What a group of calls took. Where they are brief, the clock would cost a tenth of the whole if
   it was looked at for each. So after some brief ones in a row they are timed together, and each
   is taken to have been like the others, which is wrong by BRIEF at most. If a group was not brief
   after all, one of them is taken not to have been, and the next are timed one by one. */
static void add_group(Tally *self, unsigned calls, uint64_t duration) {
    if (calls == 1) {
        add_duration(&self->buckets, 1, duration);
        self->usual = duration;
        self->brief_calls = duration < BRIEF / GROUP ? self->brief_calls + 1 : 0;
    } else if (duration <= BRIEF) {
        self->usual = duration / calls;
        add_duration(&self->buckets, calls, self->usual);
    } else {
        uint64_t others = self->usual * (calls - 1);
        add_duration(&self->buckets, calls - 1, self->usual);
        add_duration(&self->buckets, 1, duration - (others < duration ? others : duration));
        self->brief_calls = 0;
    }
}

/* call_each(function, messages, replies, place, room, tally) */
PyObject *call_each(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    if (few("call_each", count, 6) < 0)
        return NULL;
    PyObject *function = args[0], *messages = args[1], *replies = args[2], *place = args[3];
    Py_ssize_t room = PyLong_AsSsize_t(args[4]);
    Tally *tally;
    if ((room == -1 && PyErr_Occurred()) || (tally = as_tally(args[5])) == NULL)
        return NULL;
    if (!PyIter_Check(messages) || !PyList_Check(replies) || !PyList_Check(place)) {
        PyErr_SetString(PyExc_TypeError, "call_each() takes a function, an iterator, two lists");
        return NULL;
    }
    PyObject *odd = NULL;
    unsigned calls = 0; /* of the group */
    bool good = true;
    uint64_t begun = nanoseconds();
    while (good && odd == NULL && room >= 0 && PyList_GET_SIZE(place) > 0) {
        PyObject *message = PyIter_Next(messages);
        if (message == NULL) {
            good = !PyErr_Occurred();
            break;
        }
        PyObject *reply = PyObject_CallOneArg(function, message);
        Py_DECREF(message);
        if (++calls == (tally->brief_calls < GROUP ? 1 : GROUP)) {
            uint64_t now = nanoseconds();
            add_group(tally, calls, now - begun);
            begun = now;
            calls = 0;
        }
        if (reply == NULL) {
            good = false;
        } else if (PyBytes_CheckExact(reply)) {
            good = PyList_Append(replies, reply) == 0;
            room -= PyBytes_GET_SIZE(reply);
            Py_DECREF(reply);
        } else if (reply != Py_None) {
            odd = reply;
        } else {
            Py_DECREF(reply);
        }
    }
    if (calls > 0)
        add_group(tally, calls, nanoseconds() - begun);
    if (good)
        return odd != NULL ? Py_BuildValue("(N)", odd) : Py_NewRef(Py_None);
    Py_XDECREF(odd);
    return NULL;
}

static PyMethodDef Tally_methods[] = {
    {"add", Tally_add, METH_O, "add($self, seconds, /)\n--\n\n"},
    {"read", Tally_read, METH_NOARGS, "read($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Tally_slots[] = {
    {Py_tp_doc, "Tally()\n--\n\nCounts durations; added to by one thread, read by any."},
    {Py_tp_dealloc, Tally_dealloc},
    {Py_tp_methods, Tally_methods},
    {0, NULL},
};

static PyType_Spec Tally_spec = {
    .name = "threadwire.transport._speedups.Tally",
    .basicsize = sizeof(Tally),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Tally_slots,
};

int add_tally(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &Tally_spec, NULL);
    int status = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return status;
}
