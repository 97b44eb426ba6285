/* Durations in the buckets of threadwire.durations, whose bounds these are.

One thread at a time adds, whoever owns the thing that they are of; any thread may read at any
time. So plain stores do, made relaxed atomics for the readers. */

#ifndef THREADWIRE_BUCKETS_H
#define THREADWIRE_BUCKETS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define DECADE(x) 100 * x, 125 * x, 160 * x, 200 * x, 250 * x, 315 * x, 400 * x, 500 * x, 630 * x, 800 * x

enum { BUCKETS = 82 }; /* the last one is for what is longer than all bounds */

typedef struct {
    _Atomic uint64_t counts[BUCKETS];
    _Atomic uint64_t total; /* nanoseconds */
} Buckets;

/* The first bucket whose bound is no less; nanoseconds. */
static inline unsigned bucket_of(uint64_t duration) {
    static const uint64_t bounds[BUCKETS - 1] = {
        DECADE(10ULL),      DECADE(100ULL),      DECADE(1000ULL),      DECADE(10000ULL),
        DECADE(100000ULL),  DECADE(1000000ULL),  DECADE(10000000ULL),  DECADE(100000000ULL),
        100000000000ULL,
    };
    unsigned low = 0, high = BUCKETS - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (bounds[middle] < duration)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static inline void add_to(_Atomic uint64_t *sum, uint64_t value) {
    uint64_t before = atomic_load_explicit(sum, memory_order_relaxed);
    atomic_store_explicit(sum, before + value, memory_order_relaxed);
}

/* `times` many, of which each took so long. */
static inline void add_duration(Buckets *self, uint64_t times, uint64_t duration) {
    add_to(&self->counts[bucket_of(duration)], times);
    add_to(&self->total, times * duration);
}

/* What threadwire.durations.Histogram is made of. */
static inline PyObject *read_buckets(Buckets *self) {
    PyObject *counts = PyTuple_New(BUCKETS);
    for (int i = 0; counts != NULL && i < BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&self->counts[i], memory_order_relaxed);
        PyObject *number = PyLong_FromUnsignedLongLong(count);
        if (number != NULL)
            PyTuple_SET_ITEM(counts, i, number);
        else
            Py_CLEAR(counts);
    }
    if (counts == NULL)
        return NULL;
    unsigned long long total = atomic_load_explicit(&self->total, memory_order_relaxed);
    return Py_BuildValue("NK", counts, total);
}

#endif
