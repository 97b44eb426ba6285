/*
 * Load generator for servers of newline-terminated lines that answer every
 * line with the same line reversed.  One thread, epoll, closed loop: a client
 * sends its next line only when an earlier one has been answered.
 *
 *   cc -O2 -Wall -Wextra -o loadgen loadgen.c
 *   ./loadgen --help
 *
 * No line is ever stored: what is left to send and what must arrive next follow
 * from the number of bytes sent and received on the connection.
 *
 * Exit status: 0 all replies right, 1 a wrong reply or a broken connection,
 * 2 wrong use.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

#include "histogram.h"
#include "lines.h"
#include "options.h"

#define BUFFER (256 * 1024)
#define COPIED 4096           /* lines up to this size are sent by copying */
#define MAX_EVENTS 512
#define OPENING 64            /* connections being set up at a time */
#define SETUP_SECONDS 30
#define DRAIN_SECONDS 5        /* for the replies still due at the end */
#define MIXED_DRAIN_SECONDS 1
#define MAX_ERRORS 1000

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
static int epoll_fd;
static struct group quick, slow;
static struct histogram slow_first; /* each slow client's first slow reply */
static uint64_t errors, measure_from, measure_until;
static unsigned answered;     /* connections whose first line is answered */
static bool running, draining;
static volatile sig_atomic_t stopped;

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

/* A line of this connection, counted from 0. */
static struct line line_of(const struct client *c, uint64_t number)
{
    return (struct line){c->id, c->slow, c->length, c->first + number};
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
        struct line next;
        struct iovec parts[3];
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        uint64_t number = c->sent / c->length, ready = c->sent;
        size_t skip = c->sent % c->length, size = 0;
        if (c->length <= COPIED) {
            for (; ready < limit && size + c->length <= BUFFER; number++) {
                next = line_of(c, number);
                line_parts(&next, head, parts);
                char *end = buffer + size;
                for (int i = 0; i < 3; i++)
                    end = mempcpy(end, parts[i].iov_base, parts[i].iov_len);
                size += c->length;
                ready = (number + 1) * c->length;
            }
            parts[0] = (struct iovec){buffer + skip, size - skip};
            message.msg_iovlen = 1;
        } else {
            next = line_of(c, number);
            line_parts(&next, head, parts);
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
    /* A slow client's line 0 is a quick one; its first slow line is line 1. */
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
        histogram_add(line == 1 ? &slow_first : &slow.latency, took);
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
        struct line asked = line_of(c, line);
        reply_parts(&asked, tail, parts);
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
    uint64_t until = measure_until, begun = options.clients;
    if (options.connections) {
        measure_from = now_ns();
        until = measure_until = measure_from + seconds_ns(options.seconds);
    }
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
            if (draining || begun == options.connections)
                continue;
            client_open(c);
            begun++;
        }
        uint64_t now = now_ns();
        if (begun == options.connections && !clients_waiting()) {
            options.seconds = (double)(now - measure_from) / 1e9;
            break;
        }
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
    if (answered < options.connections) {
        fprintf(stderr, "loadgen: only %u of %llu connections answered\n",
                answered, (unsigned long long)options.connections);
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
        printf(", \"first\": ");
        print_latency_json(&slow_first);
        printf(", \"in_flight_at_end\": %llu, \"oldest_in_flight\": %.3f}",
               (unsigned long long)slow.in_flight, (double)slow.oldest / 1e3);
    }
    printf(", \"errors\": %llu}\n", (unsigned long long)errors);
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
        printf("; their first ");
        print_latency(&slow_first);
        printf("; unanswered at the end %llu, the oldest for %.1f us",
               (unsigned long long)slow.in_flight, (double)slow.oldest / 1e3);
    }
    printf("; errors %llu\n", (unsigned long long)errors);
}

/* ------------------------------------------------------------------ main */

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
        if (c->length < head_length(c->slow, 1) + 1)
            c->length = head_length(c->slow, 1) + 1;
        c->started = calloc(c->window, sizeof *c->started);
        if (!c->started)
            die(2, "calloc");
    }
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    raise_file_limit();
    if (!prepare_lines(options.size, options.prefix))
        die(2, "malloc");
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
    free_lines();
    if (options.mode != IDLE && !options.sleepers && !quick.latency.count) {
        fprintf(stderr, "loadgen: no reply in the measured time\n");
        return 1;
    }
    return errors ? 1 : 0;
}
