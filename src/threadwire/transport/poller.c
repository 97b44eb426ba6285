/* The batching poller in C; portable.py is the same in Python, and says what each call does.

One call of wait() asks epoll what is ready and receives from all of it; one call of write()
sends many replies. What is saved is the interpreter's share: one call instead of one for each
socket, and the interpreter's lock (GIL) given up once for many system calls or not at all.

Owners. A Poller belongs to the thread that is inside one of its methods, and `busy` says that
there is one: a second thread, or a finalizer that calls back into its own thread's poller,
gets RuntimeError. So table, events and arena may be used without the GIL. Only wake() is for
everybody; it meets close() at `wake_lock`, whose holders never wait for anything, the GIL
included. The table owns strong references to the keys.

The GIL is held everywhere but in two places. Where many are at work, wait() first asks epoll with
the GIL held, for giving it up costs more than the question. If something is ready at once it
receives with the GIL still held (`hold`, the default) or given up; if nothing is, or it did not
ask, the GIL is given up once for both the waiting and the receiving. write() gives it up once if
much is offered, or if not `hold`. Without the GIL no Python object is touched: bytes go into the
arena, one message right behind the other so that small ones stay in the processor's cache, and
become objects afterwards. If memory runs out then, MemoryError propagates and they are lost.

Stale registrations. A descriptor closed before remove() stays in the epoll, unremovable, for
as long as a duplicate of it is open. An event carries its descriptor and the generation of its
slot in the table; one that fits no slot makes the epoll anew, from the table. */

#include "poller.h"

#include "arguments.h"
#include "buckets.h"
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_BATCH (1 << 16)
#define HELD_WRITE (256 << 10) /* up to here sending costs less than giving up the GIL */
#define ALIGNMENT 16           /* of messages in the arena */
#define WAKE UINT64_MAX        /* the event of the eventfd; no descriptor is that large */

typedef struct {
    PyObject *key; /* NULL: nothing was added under this descriptor */
    uint32_t generation;
    int interest;
} Slot;

typedef struct {
    int fd;
    int start; /* of data in the arena; -1: a notice */
    int value; /* size of the data, or the notice */
} Received;

typedef struct {
    PyObject_HEAD
    atomic_bool busy;  /* a method runs, and owns whatever is not said to be otherwise */
    atomic_bool woken; /* the eventfd is written or about to be; any thread */
    pthread_mutex_t wake_lock;
    int wake;         /* the eventfd, -1 once closed; under wake_lock, or busy to read */
    atomic_int epoll; /* -1 once closed; fileno() reads it at any time */
    bool hold;
    bool crowded; /* the last wait() found several sockets ready, so the next one may, too */
    int read_size, batch;
    Slot *table; /* by descriptor */
    Py_ssize_t slots;
    struct epoll_event *events; /* [next, ready) were fetched, but not dealt with */
    int next, ready;
    Received *received;
    char *arena;
    Buckets lock_waits; /* for the GIL; any thread may read them */
} Poller;

static inline void leave(Poller *self) {
    atomic_store_explicit(&self->busy, false, memory_order_release);
}

static int enter(Poller *self, bool even_closed) {
    if (atomic_exchange_explicit(&self->busy, true, memory_order_acquire)) {
        PyErr_SetString(PyExc_RuntimeError, "this poller is in use by another thread");
        return -1;
    }
    if (self->epoll < 0 && !even_closed) {
        leave(self);
        PyErr_SetString(PyExc_ValueError, "this poller is closed");
        return -1;
    }
    return 0;
}

/* Arguments. Converting them may run any Python code, so it comes before enter(). */

static int as_interest(PyObject *number, int *interest) {
    if (as_descriptor(number, interest) < 0)
        return -1;
    if (*interest == READ || *interest == WRITE || *interest == ACCEPT)
        return 0;
    PyErr_Format(PyExc_ValueError, "interest must be READ, WRITE or ACCEPT, not %R", number);
    return -1;
}

static int as_milliseconds(PyObject *timeout, int *milliseconds) {
    if (timeout == Py_None) {
        *milliseconds = -1;
        return 0;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout must be a number of seconds, not nan");
        return -1;
    }
    double rounded = ceil(seconds * 1000);
    *milliseconds = rounded <= 0 ? 0 : rounded >= INT_MAX ? INT_MAX : (int)rounded;
    return 0;
}

/* The table. */

static Slot *slot_of(Poller *self, int fd) {
    return fd >= 0 && fd < self->slots && self->table[fd].key != NULL ? &self->table[fd] : NULL;
}

static int grow_table(Poller *self, int fd) {
    Slot *table = self->table;
    Py_ssize_t slots = self->slots > 0 ? self->slots : 64;
    while (slots <= fd)
        slots *= 2;
    if (slots == self->slots)
        return 0;
    if (PyMem_Resize(table, Slot, (size_t)slots) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(table + self->slots, 0, (size_t)(slots - self->slots) * sizeof(Slot));
    self->table = table;
    self->slots = slots;
    return 0;
}

/* Leaves before it drops the keys, for that may run any Python code. */
static void leave_without_keys(Poller *self) {
    Slot *table = self->table;
    Py_ssize_t slots = self->slots;
    self->table = NULL;
    self->slots = 0;
    leave(self);
    for (Py_ssize_t fd = 0; fd < slots; fd++)
        Py_XDECREF(table[fd].key);
    PyMem_Free(table);
}

static int control(int epoll, int operation, int fd, int interest, uint32_t generation) {
    struct epoll_event event = {.events = interest == WRITE ? EPOLLOUT : EPOLLIN};
    event.data.u64 = (uint64_t)generation << 32 | (uint32_t)fd;
    return epoll_ctl(epoll, operation, fd, &event);
}

static int control_wake(int epoll, int wake) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &event);
}

/* Gets rid of a stale registration: takes over all the others, under the same number. Without
   descriptors or memory for it, the next event of the stale one tries again. */
static void renew_epoll(Poller *self) {
    int fresh = epoll_create1(EPOLL_CLOEXEC);
    bool complete = fresh >= 0 && control_wake(fresh, self->wake) == 0;
    for (int fd = 0; fd < self->slots && complete; fd++) {
        Slot *slot = slot_of(self, fd);
        if (slot && control(fresh, EPOLL_CTL_ADD, fd, slot->interest, slot->generation) < 0)
            complete = errno == EBADF || errno == EPERM; /* closed, or no socket any more */
    }
    if (complete)
        (void)dup3(fresh, self->epoll, O_CLOEXEC);
    if (fresh >= 0)
        close(fresh);
}

static PyObject *Poller_add(PyObject *op, PyObject *const *args, Py_ssize_t count) {
    Poller *self = (Poller *)op;
    int interest, fd;
    if (check_count("add", count, 3) < 0 || as_interest(args[2], &interest) < 0)
        return NULL;
    if (PyLong_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "a socket is needed, not a number");
        return NULL;
    }
    if ((fd = PyObject_AsFileDescriptor(args[0])) < 0 || enter(self, false) < 0)
        return NULL;
    PyObject *result = NULL;
    errno = EEXIST;
    if (slot_of(self, fd) == NULL && grow_table(self, fd) == 0) {
        uint32_t generation = self->table[fd].generation + 1;
        if (control(self->epoll, EPOLL_CTL_ADD, fd, interest, generation) == 0) {
            self->table[fd] = (Slot){Py_NewRef(args[1]), generation, interest};
            result = Py_NewRef(Py_None);
        }
    }
    if (result == NULL && !PyErr_Occurred())
        PyErr_SetFromErrno(PyExc_OSError);
    leave(self);
    return result;
}

static PyObject *Poller_modify(PyObject *op, PyObject *const *args, Py_ssize_t count) {
    Poller *self = (Poller *)op;
    int interest, fd;
    if (check_count("modify", count, 2) < 0 || as_interest(args[1], &interest) < 0 ||
        as_descriptor(args[0], &fd) < 0 || enter(self, false) < 0)
        return NULL;
    PyObject *result = NULL;
    Slot *slot = slot_of(self, fd);
    if (slot == NULL) {
        PyErr_SetObject(PyExc_KeyError, args[0]);
    } else if (interest != slot->interest &&
               control(self->epoll, EPOLL_CTL_MOD, fd, interest, slot->generation + 1) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
    } else {
        slot->generation += interest != slot->interest;
        slot->interest = interest;
        result = Py_NewRef(Py_None);
    }
    leave(self);
    return result;
}

static PyObject *Poller_remove(PyObject *op, PyObject *number) {
    Poller *self = (Poller *)op;
    int fd;
    if (as_descriptor(number, &fd) < 0 || enter(self, false) < 0)
        return NULL;
    PyObject *key = NULL;
    Slot *slot = slot_of(self, fd);
    if (slot != NULL) {
        /* Fails if the descriptor was closed; see "Stale registrations". */
        (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, fd, NULL);
        key = slot->key;
        slot->key = NULL;
    }
    leave(self); /* before the key is dropped, for that may run any Python code */
    if (key == NULL) {
        PyErr_SetObject(PyExc_KeyError, number);
        return NULL;
    }
    Py_DECREF(key);
    Py_RETURN_NONE;
}

/* Waiting and receiving. fetch() and receive() run with the GIL or without. */

static int fetch(Poller *self, int milliseconds) {
    int ready = epoll_wait(self->epoll, self->events, self->batch, milliseconds);
    self->next = 0;
    self->ready = ready < 0 ? 0 : ready;
    return ready < 0 ? errno : 0;
}

static void drain_wake(Poller *self) {
    eventfd_t ignored;
    /* In this order: a wake() in between writes nothing, but this wait() is about to return. */
    (void)eventfd_read(self->wake, &ignored);
    (void)atomic_exchange(&self->woken, false);
}

/* Deals with the events that were fetched, as far as the arena has room: gives how many are in
   `received`, and how many of them are data. Events from before this call may be of something
   removed or modified since; otherwise one that fits no slot is of a stale registration. */
static int receive(Poller *self, bool from_before, int *data) {
    int count = 0, start = 0;
    bool stale = false;
    for (*data = 0; self->next < self->ready; self->next++) {
        uint64_t token = self->events[self->next].data.u64;
        if (token == WAKE) {
            drain_wake(self);
            continue;
        }
        int fd = (int)(uint32_t)token;
        Slot *slot = slot_of(self, fd);
        if (slot == NULL || slot->generation != token >> 32) {
            stale = true;
            continue;
        }
        if (slot->interest != READ) {
            self->received[count++] = (Received){fd, -1, READY};
            continue;
        }
        if (MOST_BYTES - start < self->read_size)
            break;
        ssize_t size = recv(fd, self->arena + start, (size_t)self->read_size, MSG_DONTWAIT);
        if (size > 0) {
            self->received[count++] = (Received){fd, start, (int)size};
            start = (start + (int)size + ALIGNMENT - 1) & -ALIGNMENT;
            ++*data;
        } else if (size == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            self->received[count++] = (Received){fd, -1, size == 0 ? END : errno};
        }
    }
    if (stale && !from_before)
        renew_epoll(self);
    return count;
}

static PyObject *as_lists(Poller *self, int count, int data) {
    PyObject *lists[2] = {PyList_New(count - data), PyList_New(data)};
    Py_ssize_t ends[2] = {0, 0};
    bool complete = lists[0] != NULL && lists[1] != NULL;
    for (Received *one = self->received; complete && one < self->received + count; one++) {
        bool is_data = one->start >= 0;
        PyObject *value = is_data ? PyBytes_FromStringAndSize(self->arena + one->start, one->value)
                                  : PyLong_FromLong(one->value);
        PyObject *item = value != NULL ? PyTuple_New(2) : NULL;
        complete = item != NULL;
        if (complete) {
            PyTuple_SET_ITEM(item, 0, Py_NewRef(self->table[one->fd].key));
            PyTuple_SET_ITEM(item, 1, value);
            PyList_SET_ITEM(lists[is_data], ends[is_data]++, item);
        } else {
            Py_XDECREF(value);
        }
    }
    PyObject *result = complete ? PyTuple_Pack(2, lists[1], lists[0]) : NULL;
    Py_XDECREF(lists[0]);
    Py_XDECREF(lists[1]);
    return result;
}

static PyObject *Poller_wait(PyObject *op, PyObject *timeout) {
    Poller *self = (Poller *)op;
    int milliseconds, data;
    if (as_milliseconds(timeout, &milliseconds) < 0 || enter(self, false) < 0)
        return NULL;
    int error = 0, count = 0;
    uint64_t begun;
    /* What did not fit into the last call comes before anything else may, so that those who
       send a lot do not keep the others waiting. */
    bool from_before = self->next < self->ready;
    if (!from_before && (self->crowded || milliseconds == 0))
        error = fetch(self, 0);
    bool ready = self->next < self->ready;
    if (ready ? self->hold : error != 0 || milliseconds == 0) {
        count = receive(self, from_before, &data);
    } else {
        Py_BEGIN_ALLOW_THREADS
        if (!ready)
            error = fetch(self, milliseconds);
        count = receive(self, from_before, &data);
        begun = nanoseconds();
        Py_END_ALLOW_THREADS
        add_duration(&self->lock_waits, 1, nanoseconds() - begun);
    }
    self->crowded = count > 1;
    PyObject *result = NULL;
    if (error == 0 || error == EINTR) {
        result = as_lists(self, count, data);
    } else {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    leave(self); /* before signals are handled, for their handlers may use this poller */
    if (error == EINTR && result != NULL && PyErr_CheckSignals() < 0)
        Py_CLEAR(result);
    return result;
}

/* A tuple of pairs, for no one can change that while it is used. */
static PyObject *write_pairs(Poller *self, PyObject *pairs) {
    Py_ssize_t count = PyTuple_GET_SIZE(pairs), total = 0, lent = 0;
    PyObject *result = NULL;
    Outgoing *outgoing = PyMem_New(Outgoing, (size_t)count);
    if (outgoing == NULL)
        return PyErr_NoMemory();
    for (; lent < count; lent++) {
        PyObject *item = PyTuple_GET_ITEM(pairs, lent);
        Outgoing *one = &outgoing[lent];
        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2) {
            PyErr_SetString(PyTuple_Check(item) ? PyExc_ValueError : PyExc_TypeError,
                            "pairs of a descriptor and bytes are needed");
            goto done;
        }
        if (as_descriptor(PyTuple_GET_ITEM(item, 0), &one->fd) < 0 ||
            lend(PyTuple_GET_ITEM(item, 1), one) < 0)
            goto done;
        total += offered(one);
    }
    if (enter(self, false) < 0)
        goto done;
    if (self->hold && total <= HELD_WRITE) {
        send_each(outgoing, count);
    } else {
        uint64_t begun;
        Py_BEGIN_ALLOW_THREADS
        send_each(outgoing, count);
        begun = nanoseconds();
        Py_END_ALLOW_THREADS
        add_duration(&self->lock_waits, 1, nanoseconds() - begun);
    }
    leave(self);
    result = outcome(outgoing, count);
done:
    while (lent-- > 0)
        Py_XDECREF(outgoing[lent].view);
    PyMem_Free(outgoing);
    return result;
}

static PyObject *Poller_write(PyObject *op, PyObject *list) {
    if (!PyList_Check(list)) {
        PyErr_Format(PyExc_TypeError, "a list is needed, not %.100s", Py_TYPE(list)->tp_name);
        return NULL;
    }
    PyObject *pairs = PyList_AsTuple(list);
    PyObject *result = pairs != NULL ? write_pairs((Poller *)op, pairs) : NULL;
    Py_XDECREF(pairs);
    return result;
}

/* Waking, and the ends of a poller's life. */

static PyObject *Poller_wake(PyObject *op, PyObject *Py_UNUSED(ignored)) {
    Poller *self = (Poller *)op;
    if (!atomic_exchange(&self->woken, true)) {
        pthread_mutex_lock(&self->wake_lock);
        if (self->wake >= 0)
            (void)eventfd_write(self->wake, 1);
        pthread_mutex_unlock(&self->wake_lock);
    }
    Py_RETURN_NONE;
}

static PyObject *Poller_lock_waits(PyObject *op, PyObject *Py_UNUSED(ignored)) {
    return read_buckets(&((Poller *)op)->lock_waits);
}

static PyObject *Poller_fileno(PyObject *op, PyObject *Py_UNUSED(ignored)) {
    int epoll = ((Poller *)op)->epoll;
    if (epoll >= 0)
        return PyLong_FromLong(epoll);
    PyErr_SetString(PyExc_ValueError, "this poller is closed");
    return NULL;
}

static void close_descriptors(Poller *self) {
    pthread_mutex_lock(&self->wake_lock);
    if (self->wake >= 0)
        close(self->wake);
    self->wake = -1;
    pthread_mutex_unlock(&self->wake_lock);
    if (self->epoll >= 0)
        close(atomic_exchange(&self->epoll, -1));
}

static PyObject *Poller_close(PyObject *op, PyObject *Py_UNUSED(ignored)) {
    Poller *self = (Poller *)op;
    if (enter(self, true) < 0)
        return NULL;
    close_descriptors(self);
    leave_without_keys(self);
    Py_RETURN_NONE;
}

static PyObject *Poller_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"read_size", "batch", "hold", NULL};
    Py_ssize_t read_size = 65536, batch = 512;
    int hold = 1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|nn$p:Poller", names, &read_size, &batch,
                                     &hold))
        return NULL;
    if (read_size < 1 || read_size > MOST_BYTES)
        return PyErr_Format(PyExc_ValueError, "read_size must be from 1 to %d, not %zd",
                            MOST_BYTES, read_size);
    if (batch < 1 || batch > MOST_BATCH)
        return PyErr_Format(PyExc_ValueError, "batch must be from 1 to %d, not %zd", MOST_BATCH,
                            batch);
    Poller *self = (Poller *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    pthread_mutex_init(&self->wake_lock, NULL); /* cannot fail, with default attributes */
    self->wake = self->epoll = -1;
    self->hold = hold;
    self->read_size = (int)read_size;
    self->batch = (int)batch;
    self->events = PyMem_New(struct epoll_event, (size_t)batch);
    self->received = PyMem_New(Received, (size_t)batch);
    self->arena = PyMem_New(char, MOST_BYTES);
    if (self->events == NULL || self->received == NULL || self->arena == NULL)
        PyErr_NoMemory();
    else if ((self->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
             (self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
             control_wake(self->epoll, self->wake) < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    else
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static int Poller_traverse(PyObject *op, visitproc visit, void *arg) {
    Poller *self = (Poller *)op;
    Py_VISIT(Py_TYPE(op));
    for (Py_ssize_t fd = 0; fd < self->slots; fd++)
        Py_VISIT(self->table[fd].key);
    return 0;
}

static int Poller_clear(PyObject *op) {
    leave_without_keys((Poller *)op);
    return 0;
}

static void Poller_dealloc(PyObject *op) {
    Poller *self = (Poller *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    close_descriptors(self);
    leave_without_keys(self);
    pthread_mutex_destroy(&self->wake_lock);
    PyMem_Free(self->events);
    PyMem_Free(self->received);
    PyMem_Free(self->arena);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef Poller_methods[] = {
    {"add", FAST(Poller_add), METH_FASTCALL, "add($self, sock, key, interest, /)\n--\n\n"},
    {"modify", FAST(Poller_modify), METH_FASTCALL, "modify($self, fd, interest, /)\n--\n\n"},
    {"remove", Poller_remove, METH_O, "remove($self, fd, /)\n--\n\n"},
    {"wait", Poller_wait, METH_O, "wait($self, timeout, /)\n--\n\n"},
    {"write", Poller_write, METH_O, "write($self, pairs, /)\n--\n\n"},
    {"wake", Poller_wake, METH_NOARGS, "wake($self, /)\n--\n\n"},
    {"fileno", Poller_fileno, METH_NOARGS, "fileno($self, /)\n--\n\n"},
    {"lock_waits", Poller_lock_waits, METH_NOARGS, "lock_waits($self, /)\n--\n\n"},
    {"close", Poller_close, METH_NOARGS, "close($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Poller_slots[] = {
    {Py_tp_doc, "Poller(read_size=65536, batch=512, *, hold=True)\n--\n\n"
                "Owned by one thread at a time, except wake()."},
    {Py_tp_new, Poller_new},
    {Py_tp_dealloc, Poller_dealloc},
    {Py_tp_traverse, Poller_traverse},
    {Py_tp_clear, Poller_clear},
    {Py_tp_methods, Poller_methods},
    {0, NULL},
};

static PyType_Spec Poller_spec = {
    .name = "threadwire.transport._speedups.Poller",
    .basicsize = sizeof(Poller),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Poller_slots,
};

int add_poller(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &Poller_spec, NULL);
    int status = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return status;
}
