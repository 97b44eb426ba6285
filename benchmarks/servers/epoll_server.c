/*
 * The yardstick: answers every line with the line reversed, in C, with epoll,
 * in one thread.  Every read's lines are answered with one write.
 *
 *   cc -O2 -Wall -Wextra -o epoll_server epoll_server.c
 *   ./epoll_server --port 0
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
#include <unistd.h>

#define READ_SIZE (64 * 1024)
#define MAX_LINE (16 * 1024 * 1024)
#define MAX_EVENTS 512

/* Holds memory only while a line is incomplete or a reply is not yet sent. */
struct connection {
    int fd;
    uint32_t events;
    char *line;               /* the beginning of an incomplete line */
    size_t line_size, line_room;
    char *reply;              /* what the socket did not take yet */
    size_t reply_size, reply_sent;
};

static int epoll_fd;
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void wait_for(struct connection *c, uint32_t events)
{
    if (c->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = c};
    int operation = c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
        die("epoll_ctl");
    c->events = events;
}

static void drop(struct connection *c)
{
    close(c->fd);
    free(c->line);
    free(c->reply);
    free(c);
}

static void reverse(char *to, const char *from, size_t size)
{
    uint64_t eight;
    for (; size >= sizeof eight; size -= sizeof eight, to += sizeof eight) {
        memcpy(&eight, from + size - sizeof eight, sizeof eight);
        eight = __builtin_bswap64(eight);
        memcpy(to, &eight, sizeof eight);
    }
    while (size)
        *to++ = from[--size];
}

static bool keep_line(struct connection *c, const char *data, size_t size)
{
    size_t wanted = c->line_size + size;
    if (wanted > MAX_LINE)
        return false;
    if (wanted > c->line_room) {
        size_t room = c->line_room ? c->line_room : READ_SIZE;
        while (room < wanted)
            room *= 2;
        char *line = realloc(c->line, room);
        if (!line)
            return false;
        c->line = line;
        c->line_room = room;
    }
    memcpy(c->line + c->line_size, data, size);
    c->line_size = wanted;
    return true;
}

/* Sends all of the data, or keeps the rest and waits until it can be sent. */
static bool send_or_keep(struct connection *c, const char *data, size_t size)
{
    ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    size_t sent = n < 0 ? 0 : (size_t)n;
    if (sent == size)
        return true;
    c->reply = malloc(size - sent);
    if (!c->reply)
        return false;
    memcpy(c->reply, data + sent, size - sent);
    c->reply_size = size - sent;
    c->reply_sent = 0;
    wait_for(c, EPOLLOUT);
    return true;
}

static bool on_writable(struct connection *c)
{
    ssize_t n = send(c->fd, c->reply + c->reply_sent,
                     c->reply_size - c->reply_sent, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    c->reply_sent += (size_t)n;
    if (c->reply_sent == c->reply_size) {
        free(c->reply);
        c->reply = NULL;
        wait_for(c, EPOLLIN);
    }
    return true;
}

static bool on_readable(struct connection *c)
{
    static char input[READ_SIZE], output[READ_SIZE];
    ssize_t n = recv(c->fd, input, sizeof input, 0);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    const char *from = input, *end = input + n, *newline;
    char *replies = output, *to;
    size_t room = (size_t)n + c->line_size;
    bool kept;

    newline = memchr(from, '\n', (size_t)n);
    if (!newline)
        return keep_line(c, from, (size_t)n);
    if (room > sizeof output && !(replies = malloc(room)))
        return false;
    to = replies;
    while (newline) {
        size_t size = (size_t)(newline - from);
        reverse(to, from, size);
        to += size;
        if (c->line_size) {
            reverse(to, c->line, c->line_size);
            to += c->line_size;
            c->line_size = c->line_room = 0;
            free(c->line);
            c->line = NULL;
        }
        *to++ = '\n';
        from = newline + 1;
        newline = memchr(from, '\n', (size_t)(end - from));
    }
    kept = from == end || keep_line(c, from, (size_t)(end - from));
    kept = kept && send_or_keep(c, replies, (size_t)(to - replies));
    if (replies != output)
        free(replies);
    return kept;
}

static void accept_all(int listener)
{
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL,
                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("calloc");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        wait_for(c, EPOLLIN);
    }
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        die("listen");
    printf("listening %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[MAX_EVENTS];
    struct sigaction action = {.sa_handler = on_signal};
    struct rlimit files;
    sigset_t held, open;

    if (argc != 3 || strcmp(argv[1], "--port")) {
        fprintf(stderr, "usage: %s --port PORT\n", argv[0]);
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    /* The signal is let in while waiting only, so none is missed. */
    sigemptyset(&held);
    sigaddset(&held, SIGTERM);
    sigprocmask(SIG_BLOCK, &held, &open);
    sigaction(SIGTERM, &action, NULL);

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on((uint16_t)atoi(argv[2]));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
        die("epoll");
    while (!stopped) {
        int n = epoll_pwait(epoll_fd, events, MAX_EVENTS, -1, &open);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                accept_all(listener);
            else if (c->reply ? !on_writable(c) : !on_readable(c))
                drop(c);
        }
    }
    return 0;
}
