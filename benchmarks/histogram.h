/* Log-linear histogram of latencies: nanoseconds in, microseconds printed. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

/* 128 buckets to each power of two: a bucket is at most 1/128 of its value
 * wide and its middle is reported, so the error stays under 0.4 %. */
#define SUB_BITS 7
#define BUCKETS ((64 - SUB_BITS + 1) << SUB_BITS)

struct histogram {
    uint64_t counts[BUCKETS], count, sum, max;
};

static void histogram_add(struct histogram *h, uint64_t value)
{
    unsigned exponent = 0;
    if (value >> (SUB_BITS + 1))
        exponent = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    h->counts[((uint64_t)exponent << SUB_BITS) + (value >> exponent)]++;
    h->count++;
    h->sum += value;
    if (value > h->max)
        h->max = value;
}

static double histogram_at(const struct histogram *h, double quantile)
{
    double exact = quantile * (double)h->count;
    uint64_t wanted = (uint64_t)exact, seen = 0;
    if ((double)wanted < exact || wanted == 0)
        wanted++;
    for (uint64_t i = 0; i < BUCKETS; i++) {
        seen += h->counts[i];
        if (seen < wanted)
            continue;
        if (i < 2u << SUB_BITS)
            return (double)i;
        uint64_t exponent = (i >> SUB_BITS) - 1;
        uint64_t low = (i - (exponent << SUB_BITS)) << exponent;
        double middle = (double)low + (double)(1ull << exponent) / 2;
        return middle < (double)h->max ? middle : (double)h->max;
    }
    return (double)h->max;
}

static void print_latency_json(const struct histogram *h)
{
    if (!h->count) {
        printf("null");
        return;
    }
    printf("{\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p999\": %.3f, "
           "\"max\": %.3f, \"mean\": %.3f}",
           histogram_at(h, 0.5) / 1e3, histogram_at(h, 0.9) / 1e3,
           histogram_at(h, 0.99) / 1e3, histogram_at(h, 0.999) / 1e3,
           (double)h->max / 1e3, (double)h->sum / (double)h->count / 1e3);
}

static void print_latency(const struct histogram *h)
{
    if (!h->count) {
        printf("no reply");
        return;
    }
    printf("p50 %.1f p90 %.1f p99 %.1f p99.9 %.1f max %.1f mean %.1f us",
           histogram_at(h, 0.5) / 1e3, histogram_at(h, 0.9) / 1e3,
           histogram_at(h, 0.99) / 1e3, histogram_at(h, 0.999) / 1e3,
           (double)h->max / 1e3, (double)h->sum / (double)h->count / 1e3);
}

#endif
