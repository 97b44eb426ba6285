/*
 * Load generator for servers of newline-terminated lines that answer every
 * line with the same line reversed.  One thread, epoll, closed loop: a client
 * sends its next line only when an earlier one has been answered.
 *
 *   cc -O2 -Wall -Wextra -o loadgen loadgen.c
 *   ./loadgen --help
 *
 * Line n of client c is a pure function of (c, n), and so is its reply.  No
 * line is ever stored: what is left to send and what must arrive next follow
 * from the number of bytes sent and received on the connection.
 *
 * Exit status: 0 all replies right, 1 a wrong reply or a broken connection,
 * 2 wrong use.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define STAMP 8               /* characters naming client and line number */
#define SHIFTS 4096           /* different starts of a line's filler */
#define BUFFER (256 * 1024)
#define COPIED 4096           /* lines up to this size are sent by copying */
#define MAX_PREFIX 64
#define MAX_EVENTS 512
#define OPENING 64            /* connections being set up at a time */
#define SETUP_SECONDS 30
#define DRAIN_SECONDS 5        /* for the replies still due at the end */
#define MIXED_DRAIN_SECONDS 1
#define MAX_ERRORS 1000

enum mode { MESSAGES, CONNECT, IDLE };
static const char *const mode_names[] = {"messages", "connect", "idle"};

static struct {
    const char *host;
    int port;
    enum mode mode;
    unsigned clients, pipeline, sleepers;
    size_t size;
    double seconds, warmup, sleep_ms;
    const char *prefix;
    bool json, remote;
} options = {
    .host = "127.0.0.1", .mode = MESSAGES, .clients = 64, .pipeline = 1,
    .size = 64, .seconds = 3, .warmup = 0.5, .prefix = "sleep ",
};

/* ------------------------------------------------------------------ time */

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t seconds_ns(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

/* ------------------------------------------------------------- histogram */

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

/* --------------------------------------------------------------- clients */

struct client {
    int fd;
    unsigned id;
    uint32_t events;          /* what epoll waits for */
    bool connected, slow;
    unsigned window;          /* lines in flight at most */
    size_t length;            /* of a line with its newline */
    uint64_t first;           /* number of this connection's first line */
    uint64_t sent, received;  /* bytes on this connection */
    uint64_t opened;
    uint64_t *started;        /* when each line in flight was sent */
};

struct group {
    struct histogram latency;
    uint64_t in_flight, oldest;
};

static struct client *clients;
static struct sockaddr_in target;
static int epoll_fd;
static struct group quick, slow;
static uint64_t errors, measure_from, measure_until;
static unsigned answered;     /* connections whose first line is answered */
static bool running, draining;
static volatile sig_atomic_t stopped;
static char *filler, *rellif; /* the second is the first reversed */
static size_t filler_length, prefix_length;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void die(int status, const char *what)
{
    fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(status);
}

/* The alphabet has no space: no quick line begins with the slow prefix. */
static const char alphabet[65] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

static void make_filler(void)
{
    uint64_t state = 88172645463325252u;
    filler_length = options.size + MAX_PREFIX + SHIFTS;
    filler = malloc(filler_length);
    rellif = malloc(filler_length);
    if (!filler || !rellif)
        die(2, "malloc");
    for (size_t i = 0; i < filler_length; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        filler[i] = alphabet[state >> 58];
        rellif[filler_length - 1 - i] = filler[i];
    }
}

static void make_stamp(char stamp[STAMP], unsigned id, uint64_t number)
{
    for (int i = 0; i < 3; i++)
        stamp[i] = alphabet[(id >> (6 * (2 - i))) & 63];
    for (int i = 3; i < STAMP; i++)
        stamp[i] = alphabet[(number >> (6 * (STAMP - 1 - i))) & 63];
}

static size_t filler_shift(const struct client *c, uint64_t number)
{
    return (c->id * 977u + number * 31u) % SHIFTS;
}

/* The first line of a slow client is as long as its others but has no prefix:
 * it is the one that shows that the server has accepted the connection. */
static size_t head_length(const struct client *c, uint64_t number)
{
    return STAMP + (c->slow && number ? prefix_length : 0);
}

/* A line: prefix and stamp; filler; newline. */
static void line_parts(const struct client *c, uint64_t number,
                       char head[MAX_PREFIX + STAMP], struct iovec parts[3])
{
    size_t head_size = head_length(c, number), before = head_size - STAMP;
    memcpy(head, options.prefix, before);
    make_stamp(head + before, c->id, number);
    parts[0] = (struct iovec){head, head_size};
    parts[1] = (struct iovec){filler + filler_shift(c, number),
                              c->length - 1 - head_size};
    parts[2] = (struct iovec){"\n", 1};
}

/* Its reply: filler reversed; stamp and prefix reversed, newline. */
static void reply_parts(const struct client *c, uint64_t number,
                        char tail[MAX_PREFIX + STAMP + 1],
                        struct iovec parts[2])
{
    size_t head_size = head_length(c, number), before = head_size - STAMP;
    size_t body = c->length - 1 - head_size;
    char stamp[STAMP];
    make_stamp(stamp, c->id, number);
    for (size_t i = 0; i < STAMP; i++)
        tail[i] = stamp[STAMP - 1 - i];
    for (size_t i = 0; i < before; i++)
        tail[STAMP + i] = options.prefix[before - 1 - i];
    tail[head_size] = '\n';
    parts[0] = (struct iovec){
        rellif + filler_length - filler_shift(c, number) - body, body};
    parts[1] = (struct iovec){tail, head_size + 1};
}

static void client_wait_for(struct client *c, uint32_t events)
{
    if (c->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = c};
    int operation = c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
        die(1, "epoll_ctl");
    c->events = events;
}

static void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->connected = false;
}

static void client_broke(struct client *c, const char *what)
{
    if (errors < 5)
        fprintf(stderr, "loadgen: client %u, line %llu: %s\n", c->id,
                (unsigned long long)(c->first + c->received / c->length),
                what);
    client_close(c);
    if (++errors >= MAX_ERRORS) {
        fprintf(stderr, "loadgen: %d errors, giving up\n", MAX_ERRORS);
        exit(1);
    }
}

static void print_quoted(const char *text, size_t size)
{
    for (size_t i = 0; i < size && i < 48; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= 32 && byte < 127)
            fputc(byte, stderr);
        else
            fprintf(stderr, "\\x%02x", byte);
    }
    fputs(size > 48 ? "...\n" : "\n", stderr);
}

static void wrong_reply(const struct client *c, const char *expected,
                        const char *got, size_t size)
{
    size_t at = 0;
    while (at < size && expected && expected[at] == got[at])
        at++;
    fprintf(stderr, "loadgen: WRONG REPLY: client %u, line %llu, byte %llu",
            c->id, (unsigned long long)(c->first + c->received / c->length),
            (unsigned long long)(c->received % c->length + at));
    fputs(expected ? "\n  expected: " : ": nothing was expected\n", stderr);
    if (expected)
        print_quoted(expected + at, size - at);
    fputs("  received: ", stderr);
    print_quoted(got + at, size - at);
    exit(1);
}

static uint64_t send_limit(const struct client *c)
{
    if (draining)
        return (c->sent + c->length - 1) / c->length * c->length;
    if (!running || options.mode != MESSAGES)
        return c->length;
    return (c->received / c->length + c->window) * c->length;
}

static void client_send(struct client *c)
{
    static char buffer[BUFFER];
    char head[MAX_PREFIX + STAMP];
    uint64_t limit = send_limit(c);
    uint32_t events = EPOLLIN;
    while (c->sent < limit) {
        struct iovec parts[3];
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        uint64_t number = c->sent / c->length, ready = c->sent;
        size_t skip = c->sent % c->length, size = 0;
        if (c->length <= COPIED) {
            for (; ready < limit && size + c->length <= BUFFER; number++) {
                line_parts(c, c->first + number, head, parts);
                char *end = buffer + size;
                for (int i = 0; i < 3; i++)
                    end = mempcpy(end, parts[i].iov_base, parts[i].iov_len);
                size += c->length;
                ready = (number + 1) * c->length;
            }
            parts[0] = (struct iovec){buffer + skip, size - skip};
            message.msg_iovlen = 1;
        } else {
            line_parts(c, c->first + number, head, parts);
            ready = (number + 1) * c->length;
            for (int i = 0; i < 3 && skip; i++) {
                size_t part = parts[i].iov_len < skip ? parts[i].iov_len : skip;
                parts[i].iov_base = (char *)parts[i].iov_base + part;
                parts[i].iov_len -= part;
                skip -= part;
            }
        }
        uint64_t now = now_ns();
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            client_broke(c, strerror(errno));
            return;
        }
        if (n > 0) {
            uint64_t line = (c->sent + c->length - 1) / c->length;
            c->sent += (uint64_t)n;
            for (; line * c->length < c->sent; line++)
                c->started[line % c->window] = now;
        }
        if (c->sent < ready) {
            events |= EPOLLOUT;
            break;
        }
    }
    client_wait_for(c, events);
}

static void line_answered(struct client *c, uint64_t now)
{
    uint64_t line = c->received / c->length - 1;
    uint64_t from =
        options.mode == CONNECT ? c->opened : c->started[line % c->window];
    uint64_t took = now > from ? now - from : 0;
    if (line == 0)
        answered++;
    if (options.mode == MESSAGES && !running)
        return;
    if (c->slow && (double)took < options.sleep_ms * 1e6) {
        fprintf(stderr,
                "loadgen: WRONG REPLY: client %u, line %llu answered in "
                "%.1f ms, which is sooner than %.1f ms\n",
                c->id, (unsigned long long)(c->first + line),
                (double)took / 1e6, options.sleep_ms);
        exit(1);
    }
    if (c->slow && now < measure_until)
        histogram_add(&slow.latency, took);
    else if (!c->slow && now >= measure_from && now < measure_until)
        histogram_add(&quick.latency, took);
}

/* Returns whether the connection is still open. */
static bool client_receive(struct client *c)
{
    static char buffer[BUFFER];
    char tail[MAX_PREFIX + STAMP + 1];
    struct iovec parts[2];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        client_broke(c, n ? strerror(errno) : "closed by the server");
        return false;
    }
    uint64_t now = now_ns();
    const char *got = buffer;
    size_t left = (size_t)n;
    while (left) {
        uint64_t line = c->received / c->length;
        if (line >= c->sent / c->length)
            wrong_reply(c, NULL, got, left);
        reply_parts(c, c->first + line, tail, parts);
        size_t skip = c->received % c->length;
        for (int i = 0; i < 2 && left; i++) {
            if (skip >= parts[i].iov_len) {
                skip -= parts[i].iov_len;
                continue;
            }
            const char *expected = (char *)parts[i].iov_base + skip;
            size_t size = parts[i].iov_len - skip;
            if (size > left)
                size = left;
            if (memcmp(expected, got, size) != 0)
                wrong_reply(c, expected, got, size);
            c->received += size;
            got += size;
            left -= size;
            skip = 0;
        }
        if (c->received % c->length == 0)
            line_answered(c, now);
    }
    return true;
}

/* The client closes first here, so closed connections stay in TIME_WAIT on
 * its side: some 28,000 ports last a second or two.  Resetting (SO_LINGER 0)
 * would avoid that, but gives the server an error where ordinary clients give
 * it an end of file.  So the connections come from many loopback addresses,
 * each with all ports; IP_BIND_ADDRESS_NO_PORT leaves the choice of the port
 * to connect(), where one port can serve several destinations. */
static void bind_source(int fd)
{
    static unsigned turn;
    struct sockaddr_in source = {.sin_family = AF_INET};
    int one = 1;
    source.sin_addr.s_addr = htonl(0x7f000001u + turn++ % 250);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) ||
        bind(fd, (struct sockaddr *)&source, sizeof source))
        die(1, "bind");
}

static void client_open(struct client *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die(1, "socket");
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        die(1, "TCP_NODELAY");
    if (options.mode != MESSAGES && !options.remote)
        bind_source(c->fd);
    c->events = 0;
    c->connected = false;
    c->sent = c->received = 0;
    c->opened = now_ns();
    if (connect(c->fd, (struct sockaddr *)&target, sizeof target) < 0 &&
        errno != EINPROGRESS)
        die(1, "connect");
    client_wait_for(c, EPOLLOUT);
}

/* Returns whether the connection is open and established. */
static bool client_established(struct client *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (c->connected)
        return true;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        client_broke(c, strerror(error));
        return false;
    }
    c->connected = true;
    return true;
}

/* ----------------------------------------------------------------- modes */

static int wait_events(struct epoll_event *events, uint64_t until)
{
    uint64_t now = now_ns();
    uint64_t wait_ms = until > now ? (until - now + 999999) / 1000000 : 0;
    int n = epoll_wait(epoll_fd, events, MAX_EVENTS,
                       wait_ms < 100 ? (int)wait_ms : 100);
    if (n < 0 && errno != EINTR)
        die(1, "epoll_wait");
    return n < 0 ? 0 : n;
}

static void client_event(struct client *c, uint32_t events)
{
    if (c->fd < 0 || !client_established(c))
        return;
    if ((events & ~(uint32_t)EPOLLOUT) && !client_receive(c))
        return;
    client_send(c);
}

/* Opens all connections, a few at a time, and has one line answered on each.
 * No accept queue overflows, and under load no connection is left waiting in
 * one: some servers accept a single connection in a turn of their loop. */
static void open_clients(void)
{
    struct epoll_event events[MAX_EVENTS];
    uint64_t until = now_ns() + seconds_ns(SETUP_SECONDS);
    unsigned opened = 0;
    while (answered < options.clients) {
        while (opened < options.clients && opened - answered < OPENING)
            client_open(&clients[opened++]);
        int n = wait_events(events, until);
        for (int i = 0; i < n; i++)
            client_event(events[i].data.ptr, events[i].events);
        if (errors || stopped || now_ns() >= until) {
            fprintf(stderr, "loadgen: %u of %u connections came up\n",
                    answered, options.clients);
            exit(1);
        }
    }
}

static void count_in_flight(void)
{
    uint64_t now = now_ns();
    for (unsigned i = 0; i < options.clients; i++) {
        struct client *c = &clients[i];
        struct group *group = c->slow ? &slow : &quick;
        if (c->fd < 0 || c->sent <= c->received)
            continue;
        uint64_t line = c->received / c->length;
        uint64_t age = now - c->started[line % c->window];
        group->in_flight += (c->sent + c->length - 1) / c->length - line;
        if (age > group->oldest)
            group->oldest = age;
    }
}

static unsigned clients_waiting(void)
{
    unsigned waiting = 0;
    for (unsigned i = 0; i < options.clients; i++)
        if (clients[i].fd >= 0 && (!clients[i].connected ||
                                   clients[i].sent != clients[i].received))
            waiting++;
    return waiting;
}

static void run_load(void)
{
    struct epoll_event events[MAX_EVENTS];
    measure_from = now_ns() + seconds_ns(options.warmup);
    measure_until = measure_from + seconds_ns(options.seconds);
    uint64_t until = measure_until;
    running = true;
    for (unsigned i = 0; i < options.clients; i++) {
        if (options.mode == CONNECT)
            client_open(&clients[i]);
        else
            client_send(&clients[i]);
    }
    for (;;) {
        int n = wait_events(events, until);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            client_event(c, events[i].events);
            if (options.mode != CONNECT)
                continue;
            if (c->fd >= 0 && c->received < c->length)
                continue;
            client_close(c);
            c->first++;
            if (!draining)
                client_open(c);
        }
        uint64_t now = now_ns();
        if (!draining && (stopped || now >= measure_until)) {
            count_in_flight();
            draining = true;
            until = now + seconds_ns(options.sleepers ? MIXED_DRAIN_SECONDS
                                                      : DRAIN_SECONDS);
        }
        if (draining && (now >= until || !clients_waiting()))
            break;
    }
    /* Slow clients may well wait in a queue; nobody else has a reason to. */
    unsigned lost = options.sleepers ? 0 : clients_waiting();
    if (lost) {
        fprintf(stderr, "loadgen: %u clients still without a reply %d seconds "
                "after the end\n", lost, DRAIN_SECONDS);
        errors += lost;
    }
    if (stopped) {
        fprintf(stderr, "loadgen: interrupted\n");
        exit(1);
    }
}

static void run_idle(void)
{
    struct epoll_event events[MAX_EVENTS];
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    char byte[64];
    measure_until = UINT64_MAX;
    open_clients();
    printf("holding %u\n", options.clients);
    fflush(stdout);
    /* Fails, and is left alone, for what cannot be waited for: /dev/null. */
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    uint64_t until = now_ns() + seconds_ns(options.seconds);
    while (!stopped && now_ns() < until) {
        int n = wait_events(events, until);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                client_event(events[i].data.ptr, events[i].events);
            else if (read(STDIN_FILENO, byte, sizeof byte) <= 0)
                stopped = 1;
        }
    }
}

/* --------------------------------------------------------------- results */

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

static void print_json(void)
{
    uint64_t n = quick.latency.count;
    double rate = options.mode == IDLE ? 0 : (double)n / options.seconds;
    printf("{\"mode\": \"%s\", \"clients\": %u, \"size\": %zu, "
           "\"pipeline\": %u, \"seconds\": %g, \"messages\": %llu, "
           "\"messages_per_second\": %.3f, \"bytes_per_second\": %.1f, "
           "\"latency\": ",
           mode_names[options.mode], options.clients, options.size,
           options.pipeline, options.seconds, (unsigned long long)n, rate,
           rate * (double)options.size);
    print_latency_json(&quick.latency);
    if (options.mode == CONNECT)
        printf(", \"connects_per_second\": %.3f", rate);
    printf(", \"in_flight_at_end\": %llu, \"oldest_in_flight\": %.3f",
           (unsigned long long)quick.in_flight, (double)quick.oldest / 1e3);
    if (options.sleepers) {
        printf(", \"slow\": {\"clients\": %u, \"messages\": %llu, "
               "\"latency\": ",
               options.sleepers, (unsigned long long)slow.latency.count);
        print_latency_json(&slow.latency);
        printf(", \"in_flight_at_end\": %llu, \"oldest_in_flight\": %.3f}",
               (unsigned long long)slow.in_flight, (double)slow.oldest / 1e3);
    }
    printf(", \"errors\": %llu}\n", (unsigned long long)errors);
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

static void print_human(void)
{
    double rate = (double)quick.latency.count / options.seconds;
    printf("%u clients, %zu bytes, %u in flight: %.0f %s/s, %.2f MB/s; ",
           options.clients - options.sleepers, options.size, options.pipeline,
           rate, options.mode == CONNECT ? "connects" : "messages",
           rate * (double)options.size / 1e6);
    print_latency(&quick.latency);
    if (options.sleepers) {
        printf("\n%u slow clients: %llu messages; ", options.sleepers,
               (unsigned long long)slow.latency.count);
        print_latency(&slow.latency);
        printf("; unanswered at the end %llu, the oldest for %.1f us",
               (unsigned long long)slow.in_flight, (double)slow.oldest / 1e3);
    }
    printf("; errors %llu\n", (unsigned long long)errors);
}

/* ------------------------------------------------------------------ main */

static const char usage[] =
    "usage: loadgen --port PORT [options]\n"
    "  --mode messages|connect|idle   (messages)\n"
    "  --host ADDRESS       IPv4 address to connect to (127.0.0.1)\n"
    "  --allow-remote       let the address be outside 127.0.0.0/8\n"
    "  --clients N          connections at a time (64)\n"
    "  --size BYTES         of a message, newline not counted (64, at least 8)\n"
    "  --pipeline K         messages in flight per client (1)\n"
    "  --seconds S          measured time, or time to hold idle ones (3)\n"
    "  --warmup S           time before it (0.5)\n"
    "  --sleepers N         this many of the clients are slow ones, with one\n"
    "                       message in flight, reported apart (0)\n"
    "  --slow-prefix TEXT   begins each line of a slow client (\"sleep \")\n"
    "  --sleep-ms MS        a slow reply sooner than this is wrong (0)\n"
    "  --json               print one JSON object; latencies in microseconds\n"
    "idle mode prints \"holding N\" when all connections are up, and ends\n"
    "after --seconds, on SIGTERM or at the end of standard input.\n";

static void wrong_use(const char *what)
{
    fprintf(stderr, "loadgen: %s\n%s", what, usage);
    exit(2);
}

static double number(const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high)) {
        fprintf(stderr, "loadgen: %s is not a number from %.10g to %.10g\n", text,
                low, high);
        exit(2);
    }
    return value;
}

static void parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"host", 1, 0, 'h'},     {"port", 1, 0, 'p'},
        {"mode", 1, 0, 'm'},     {"clients", 1, 0, 'c'},
        {"size", 1, 0, 'b'},     {"pipeline", 1, 0, 'k'},
        {"seconds", 1, 0, 's'},  {"warmup", 1, 0, 'w'},
        {"sleepers", 1, 0, 'n'}, {"slow-prefix", 1, 0, 'x'},
        {"sleep-ms", 1, 0, 't'}, {"json", 0, 0, 'j'},
        {"help", 0, 0, 'H'},     {"allow-remote", 0, 0, 'r'},
        {0, 0, 0, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = (int)number(optarg, 1, 65535); break;
        case 'm':
            for (int i = 0; i <= IDLE; i++)
                if (!strcmp(optarg, mode_names[i]))
                    options.mode = (enum mode)i;
            if (strcmp(optarg, mode_names[options.mode]))
                wrong_use("unknown mode");
            break;
        case 'c': options.clients = (unsigned)number(optarg, 1, 200000); break;
        case 'b': options.size = (size_t)number(optarg, STAMP, 1 << 30); break;
        case 'k': options.pipeline = (unsigned)number(optarg, 1, 65536); break;
        case 's': options.seconds = number(optarg, 0.01, 86400); break;
        case 'w': options.warmup = number(optarg, 0, 3600); break;
        case 'n': options.sleepers = (unsigned)number(optarg, 0, 200000); break;
        case 'x': options.prefix = optarg; break;
        case 't': options.sleep_ms = number(optarg, 0, 1e6); break;
        case 'j': options.json = true; break;
        case 'r': options.remote = true; break;
        case 'H': fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); exit(2);
        }
    }
    target = (struct sockaddr_in){.sin_family = AF_INET};
    target.sin_port = htons((uint16_t)options.port);
    if (optind < argc)
        wrong_use("unexpected argument");
    if (!options.port)
        wrong_use("--port is missing");
    if (inet_pton(AF_INET, options.host, &target.sin_addr) != 1)
        wrong_use("--host is not an IPv4 address");
    bool loopback = ntohl(target.sin_addr.s_addr) >> 24 == 127;
    if (!loopback && !options.remote)
        wrong_use("--host is not a loopback address (see --allow-remote)");
    options.remote = !loopback;
    if (options.sleepers > options.clients)
        wrong_use("more --sleepers than --clients");
    if (options.sleepers && options.mode != MESSAGES)
        wrong_use("--sleepers is for --mode messages");
    if (strlen(options.prefix) > MAX_PREFIX || strchr(options.prefix, '\n') ||
        !*options.prefix)
        wrong_use("--slow-prefix is empty, too long or has a newline");
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die(1, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        die(1, "setrlimit");
    if (limit.rlim_cur < (rlim_t)options.clients + 16) {
        fprintf(stderr, "loadgen: %u clients need more than the %llu files "
                "this process may open\n", options.clients,
                (unsigned long long)limit.rlim_cur);
        exit(2);
    }
}

static void make_clients(void)
{
    clients = calloc(options.clients, sizeof *clients);
    if (!clients)
        die(2, "calloc");
    for (unsigned i = 0; i < options.clients; i++) {
        struct client *c = &clients[i];
        c->id = i;
        c->fd = -1;
        c->slow = i < options.sleepers;
        c->window = c->slow || options.mode != MESSAGES ? 1 : options.pipeline;
        c->length = options.size + 1;
        if (c->length < head_length(c, 1) + 1)
            c->length = head_length(c, 1) + 1;
        c->started = calloc(c->window, sizeof *c->started);
        if (!c->started)
            die(2, "calloc");
    }
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    prefix_length = strlen(options.prefix);
    raise_file_limit();
    make_filler();
    make_clients();
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die(1, "epoll_create1");
    if (options.mode == IDLE) {
        run_idle();
    } else {
        if (options.mode == MESSAGES)
            open_clients();
        run_load();
    }
    if (options.mode != IDLE || options.json) {
        if (options.json)
            print_json();
        else
            print_human();
    }
    for (unsigned i = 0; i < options.clients; i++) {
        client_close(&clients[i]);
        free(clients[i].started);
    }
    free(clients);
    free(filler);
    free(rellif);
    if (options.mode != IDLE && !options.sleepers && !quick.latency.count) {
        fprintf(stderr, "loadgen: no reply in the measured time\n");
        return 1;
    }
    return errors ? 1 : 0;
}
