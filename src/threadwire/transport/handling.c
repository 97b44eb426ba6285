/* Calling handlers, and how long they take; handling.py is the same in Python.

A Place holds one object at a time. One thread puts in, that thread and any other may take out:
whoever does first has it. So both are one step, under the interpreter's lock or, on a build
without, under the object's own.

A Tally belongs to one thread, which alone adds to it, while it holds the interpreter's lock or,
on a build without, as the one thread that does; any thread reads. So a thread whose loop has
been taken from it meanwhile adds to nobody else's.

Everything here may run any code, and belongs to the caller; others may append to or remove from
the lists meanwhile, which their own locks allow. */

#include "handling.h"

#include "arguments.h"
#include "buckets.h"

#include <stdbool.h>

#define FEW 8          /* brief calls in a row, after which as many are timed together */
#define MANY 16        /* and more and more, up to so many */
#define BRIEF 20000ULL /* nanoseconds that a group of them takes at most */

#ifndef Py_BEGIN_CRITICAL_SECTION /* before CPython 3.13, where the interpreter's lock is it */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

typedef struct {
    PyObject_HEAD
    Buckets buckets;
    uint64_t usual;       /* what one of the last group took */
    unsigned brief_calls; /* in a row, as far as they matter: see group_of() */
} Tally;

typedef struct {
    PyObject_HEAD
    PyObject *item; /* owned; NULL: it is empty */
} Place;

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
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments or more, not %zd", name, wanted, given);
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

/* The place. */

/* Any thread, which owns what it gets; NULL, without an exception: nothing was there. */
static PyObject *take(Place *self) {
    PyObject *item;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    item = self->item;
    self->item = NULL;
    Py_END_CRITICAL_SECTION();
    return item;
}

/* The same, and leaves it there. */
static PyObject *held(Place *self) {
    PyObject *item;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    item = Py_XNewRef(self->item);
    Py_END_CRITICAL_SECTION();
    return item;
}

static bool is_held(Place *self) {
    bool found;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    found = self->item != NULL;
    Py_END_CRITICAL_SECTION();
    return found;
}

static int put(Place *self, PyObject *item) {
    bool empty;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    empty = self->item == NULL;
    if (empty)
        self->item = Py_NewRef(item);
    Py_END_CRITICAL_SECTION();
    if (empty)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "there is something in the place");
    return -1;
}

static PyObject *Place_enter(PyObject *op, PyObject *item) {
    return put((Place *)op, item) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *Place_leave(PyObject *op, PyObject *Py_UNUSED(ignored)) {
    PyObject *item = take((Place *)op);
    if (item == NULL)
        PyErr_SetString(PyExc_IndexError, "the place is empty");
    return item;
}

static PyObject *Place_held(PyObject *op, PyObject *Py_UNUSED(ignored)) {
    PyObject *item = held((Place *)op);
    return item != NULL ? item : Py_NewRef(Py_None);
}

/* The result is the exception's, which it is raised with. */
static void raise_taken(Place *self, PyObject *result) {
    PyObject *module = PyType_GetModule(Py_TYPE(self));
    PyObject *type = module != NULL ? PyObject_GetAttrString(module, "Taken") : NULL;
    PyObject *taken = type != NULL ? PyObject_CallOneArg(type, result) : NULL;
    if (taken != NULL)
        PyErr_SetObject(type, taken);
    Py_XDECREF(taken);
    Py_XDECREF(type);
}

/* call(tally, item, function, *args) */
static PyObject *Place_call(PyObject *op, PyObject *const *args, Py_ssize_t count) {
    Place *self = (Place *)op;
    Tally *tally;
    if (few("call", count, 3) < 0 || (tally = as_tally(args[0])) == NULL || put(self, args[1]) < 0)
        return NULL;
    uint64_t begun = nanoseconds();
    PyObject *result = PyObject_Vectorcall(args[2], args + 3, (size_t)(count - 3), NULL);
    add_duration(&tally->buckets, 1, nanoseconds() - begun);
    if (result == NULL)
        return NULL;
    PyObject *item = take(self);
    if (item == NULL) {
        raise_taken(self, result);
        Py_CLEAR(result);
    }
    Py_XDECREF(item);
    return result;
}

static int Place_traverse(PyObject *op, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((Place *)op)->item);
    return 0;
}

static int Place_clear(PyObject *op) {
    Py_CLEAR(((Place *)op)->item);
    return 0;
}

static void Place_dealloc(PyObject *op) {
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)Place_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static Place *as_place(PyObject *object) {
    if (Py_TYPE(object)->tp_dealloc == Place_dealloc)
        return (Place *)object;
    PyErr_Format(PyExc_TypeError, "a Place is needed, not %.100s", Py_TYPE(object)->tp_name);
    return NULL;
}

/* Many calls.

What a group of calls took. Where they are brief, the clock would cost a tenth of the whole if
it was looked at for each. So after some brief ones in a row they are timed together, and each
is taken to have been like the others, which is wrong by BRIEF at most. If a group was not brief
after all, one of them is taken not to have been, and the next are timed one by one. */

static unsigned group_of(const Tally *self) {
    return self->brief_calls < FEW ? 1 : self->brief_calls < MANY ? FEW : MANY;
}

static void add_group(Tally *self, unsigned calls, uint64_t duration) {
    if (calls == 1) {
        add_duration(&self->buckets, 1, duration);
        self->usual = duration;
        if (duration >= BRIEF / FEW)
            self->brief_calls = 0;
        else if (self->brief_calls < FEW)
            self->brief_calls++;
    } else if (duration <= BRIEF) {
        self->usual = duration / calls;
        add_duration(&self->buckets, calls, self->usual);
        /* So that a group of MANY of them would be brief, too. */
        self->brief_calls = self->usual <= BRIEF / MANY ? MANY : FEW;
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
    PyObject *function = args[0], *messages = args[1], *replies = args[2];
    Py_ssize_t room = PyLong_AsSsize_t(args[4]);
    Place *place;
    Tally *tally;
    if ((room == -1 && PyErr_Occurred()) || (place = as_place(args[3])) == NULL ||
        (tally = as_tally(args[5])) == NULL)
        return NULL;
    if (!PyIter_Check(messages) || !PyList_Check(replies)) {
        PyErr_SetString(PyExc_TypeError, "call_each() takes a function, an iterator, a list");
        return NULL;
    }
    PyObject *odd = NULL;
    unsigned calls = 0; /* of the group */
    bool good = true;
    uint64_t begun = nanoseconds();
    while (good && odd == NULL && room >= 0 && is_held(place)) {
        PyObject *message = PyIter_Next(messages);
        if (message == NULL) {
            good = !PyErr_Occurred();
            break;
        }
        PyObject *reply = PyObject_CallOneArg(function, message);
        Py_DECREF(message);
        if (++calls >= group_of(tally)) {
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

/* The types. */

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

static PyMethodDef Place_methods[] = {
    {"call", FAST(Place_call), METH_FASTCALL,
     "call($self, tally, item, function, /, *args)\n--\n\n"},
    {"enter", Place_enter, METH_O, "enter($self, item, /)\n--\n\n"},
    {"held", Place_held, METH_NOARGS, "held($self, /)\n--\n\n"},
    {"leave", Place_leave, METH_NOARGS, "leave($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Place_slots[] = {
    {Py_tp_doc, "Place()\n--\n\nHolds one object; of those who take it out, one gets it."},
    {Py_tp_dealloc, Place_dealloc},
    {Py_tp_traverse, Place_traverse},
    {Py_tp_clear, Place_clear},
    {Py_tp_methods, Place_methods},
    {0, NULL},
};

static PyType_Spec Place_spec = {
    .name = "threadwire.transport._speedups.Place",
    .basicsize = sizeof(Place),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Place_slots,
};

static int add_type(PyObject *module, PyType_Spec *spec) {
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int status = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return status;
}

int add_handling(PyObject *module) {
    PyObject *taken = PyErr_NewExceptionWithDoc(
        "threadwire.transport._speedups.Taken",
        "A place was empty after a call; its argument is what the call returned.", NULL, NULL);
    int status = taken == NULL ? -1 : PyModule_AddObjectRef(module, "Taken", taken);
    Py_XDECREF(taken);
    if (status < 0 || add_type(module, &Tally_spec) < 0)
        return -1;
    return add_type(module, &Place_spec);
}
