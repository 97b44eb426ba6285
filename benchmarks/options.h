/* The command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"

enum mode { MESSAGES, CONNECT, IDLE };
static const char *const mode_names[] = {"messages", "connect", "idle"};

static struct {
    const char *host;
    int port;
    enum mode mode;
    unsigned clients, pipeline, sleepers;
    size_t size;
    uint64_t connections;
    double seconds, warmup, sleep_ms;
    const char *prefix;
    bool json, remote;
} options = {
    .host = "127.0.0.1", .mode = MESSAGES, .clients = 64, .pipeline = 1,
    .size = 64, .seconds = 3, .warmup = 0.5, .prefix = "sleep ",
};

static struct sockaddr_in target;

static const char usage[] =
    "usage: loadgen --port PORT [options]\n"
    "  --mode messages|connect|idle   (messages)\n"
    "  --host ADDRESS       IPv4 address to connect to (127.0.0.1)\n"
    "  --allow-remote       let the address be outside 127.0.0.0/8\n"
    "  --clients N          connections at a time (64)\n"
    "  --size BYTES         of a message, newline not counted (64, at least 8)\n"
    "  --pipeline K         messages in flight per client (1)\n"
    "  --seconds S          measured time, or time to hold idle ones (3)\n"
    "  --connections N      connect mode: end after N connections, all measured,\n"
    "                       of which it is an error not to get done in --seconds\n"
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
        {"connections", 1, 0, 'l'},
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
        case 'l': options.connections = (uint64_t)number(optarg, 1, 1e12); break;
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
    if (options.connections && options.mode != CONNECT)
        wrong_use("--connections is for --mode connect");
    if (options.connections && options.clients > options.connections)
        options.clients = (unsigned)options.connections;
    if (strlen(options.prefix) > MAX_PREFIX || strchr(options.prefix, '\n') ||
        !*options.prefix)
        wrong_use("--slow-prefix is empty, too long or has a newline");
}

#endif
