/*
 * The lines and their replies.  Line n of client c is a pure function of
 * (c, n), and so is its reply: each is made of parts of one random filler.
 */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define STAMP 8               /* characters naming client and line number */
#define SHIFTS 4096           /* different starts of a line's filler */
#define MAX_PREFIX 64

struct line {
    unsigned id;              /* of the client */
    bool slow;
    size_t length;            /* with its newline */
    uint64_t number;
};

static const char *prefix;    /* of slow lines */
static size_t prefix_length, filler_length;
static char *filler, *rellif; /* the second is the first reversed */

/* The alphabet has no space: no quick line begins with the slow prefix. */
static const char alphabet[65] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/* Returns whether there was memory for it. */
static bool prepare_lines(size_t size, const char *slow_prefix)
{
    uint64_t state = 88172645463325252u;
    prefix = slow_prefix;
    prefix_length = strlen(prefix);
    filler_length = size + MAX_PREFIX + SHIFTS;
    filler = malloc(filler_length);
    rellif = malloc(filler_length);
    if (!filler || !rellif)
        return false;
    for (size_t i = 0; i < filler_length; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        filler[i] = alphabet[state >> 58];
        rellif[filler_length - 1 - i] = filler[i];
    }
    return true;
}

static void make_stamp(char stamp[STAMP], unsigned id, uint64_t number)
{
    for (int i = 0; i < 3; i++)
        stamp[i] = alphabet[(id >> (6 * (2 - i))) & 63];
    for (int i = 3; i < STAMP; i++)
        stamp[i] = alphabet[(number >> (6 * (STAMP - 1 - i))) & 63];
}

static size_t filler_shift(unsigned id, uint64_t number)
{
    return (id * 977u + number * 31u) % SHIFTS;
}

/* The first line of a slow client is as long as its others but has no prefix:
 * it is the one that shows that the server has accepted the connection. */
static size_t head_length(bool slow, uint64_t number)
{
    return STAMP + (slow && number ? prefix_length : 0);
}

/* A line: prefix and stamp; filler; newline. */
static void line_parts(const struct line *l, char head[MAX_PREFIX + STAMP],
                       struct iovec parts[3])
{
    size_t head_size = head_length(l->slow, l->number);
    size_t before = head_size - STAMP;
    memcpy(head, prefix, before);
    make_stamp(head + before, l->id, l->number);
    parts[0] = (struct iovec){head, head_size};
    parts[1] = (struct iovec){filler + filler_shift(l->id, l->number),
                              l->length - 1 - head_size};
    parts[2] = (struct iovec){"\n", 1};
}

/* Its reply: filler reversed; stamp and prefix reversed, newline. */
static void reply_parts(const struct line *l,
                        char tail[MAX_PREFIX + STAMP + 1],
                        struct iovec parts[2])
{
    size_t head_size = head_length(l->slow, l->number);
    size_t before = head_size - STAMP;
    size_t body = l->length - 1 - head_size;
    char stamp[STAMP];
    make_stamp(stamp, l->id, l->number);
    for (size_t i = 0; i < STAMP; i++)
        tail[i] = stamp[STAMP - 1 - i];
    for (size_t i = 0; i < before; i++)
        tail[STAMP + i] = prefix[before - 1 - i];
    tail[head_size] = '\n';
    parts[0] = (struct iovec){
        rellif + filler_length - filler_shift(l->id, l->number) - body, body};
    parts[1] = (struct iovec){tail, head_size + 1};
}

static void free_lines(void)
{
    free(filler);
    free(rellif);
}

#endif
