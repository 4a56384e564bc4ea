/* HTTP requests in an open loop: each is due by the clock, whatever has been answered, and its latency counts from when
 * it was due. So a server that stands still for a moment is charged for all that would have been asked meanwhile.
 *
 *   paced HOST PORT CONNECTIONS RATE SECONDS REQUESTS
 *
 * REQUESTS is a file of requests, each its length in decimals, a new line and its bytes; sent once, in order, from the
 * beginning again when there are no more. A request that is due goes to a connection that waits for nothing, and waits
 * itself when there is none. Prints one line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 17 };
static const uint64_t GRACE_NS = 10000000000u; /* for answers, after the last request was due */

struct connection {
    int fd;
    uint64_t due_ns;
    size_t have;
    char answer[READ_BYTES + 1];
};

static void fail(const char *what) { perror(what); exit(1); }

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int connected(const char *host, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* The status of the answer when all of it is there, else 0. */
static int whole(struct connection *c) {
    c->answer[c->have] = 0;
    char *end = strstr(c->answer, "\r\n\r\n");
    if (!end) return 0;
    int status = atoi(c->answer + 9);
    *end = 0;
    char *length = strcasestr(c->answer, "\r\ncontent-length:");
    size_t body = length ? strtoull(length + 17, NULL, 10) : 0;
    *end = '\r';
    return c->have >= (size_t)(end + 4 - c->answer) + body ? status : 0;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int words, char **word) {
    if (words != 7) return fprintf(stderr, "paced HOST PORT CONNECTIONS RATE SECONDS REQUESTS\n"), 2;
    int connections = atoi(word[3]), file = open(word[6], O_RDONLY);
    double rate = atof(word[4]);
    uint64_t all = (uint64_t)(rate * atof(word[5])), sent = 0, answered = 0, refused = 0;
    struct stat about;
    if (file < 0 || fstat(file, &about) < 0) fail(word[6]);
    char *first = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0), *next = first;
    if (first == MAP_FAILED) fail("mmap");

    struct connection *every = calloc((size_t)connections, sizeof *every);
    int epoll = epoll_create1(0);
    int *idle = calloc((size_t)connections, sizeof *idle); /* a ring: who has waited longest is next */
    uint64_t idle_in = 0, idle_out = 0;
    uint32_t *latency_us = calloc(all + 1, sizeof *latency_us);
    struct epoll_event *events = calloc((size_t)connections, sizeof *events);
    for (int at = 0; at < connections; at++) {
        every[at].fd = connected(word[1], atoi(word[2]));
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)at};
        epoll_ctl(epoll, EPOLL_CTL_ADD, every[at].fd, &event);
        idle[idle_in++ % (uint64_t)connections] = at;
    }

    const uint64_t began = now_ns(), ends = began + (uint64_t)(1e9 * (double)all / rate);
    while (answered < all) {
        uint64_t now = now_ns(), due = began + (uint64_t)(1e9 * (double)sent / rate);
        if (now > ends + GRACE_NS) break;
        while (sent < all && idle_out < idle_in && due <= now) {
            struct connection *c = &every[idle[idle_out++ % (uint64_t)connections]];
            char *bytes;
            size_t length = strtoull(next, &bytes, 10);
            bytes++;
            if (write(c->fd, bytes, length) != (ssize_t)length) fail("write");
            c->due_ns = due;
            c->have = 0;
            next = bytes + length;
            if (next >= first + about.st_size) next = first;
            due = began + (uint64_t)(1e9 * (double)++sent / rate);
        }
        uint64_t wait = sent < all && idle_out < idle_in ? (due > now ? due - now : 0) : 100000000u;
        struct timespec most = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
        int ready = epoll_pwait2(epoll, events, connections, &most, NULL);
        for (int n = 0; n < ready; n++) {
            struct connection *c = &every[events[n].data.u32];
            ssize_t got = read(c->fd, c->answer + c->have, READ_BYTES - c->have);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                fail("an answer was cut off");
            }
            c->have += (size_t)got;
            int status = whole(c);
            if (!status) continue;
            if (status >= 400) refused++;
            latency_us[answered++] = (uint32_t)((now_ns() - c->due_ns) / 1000);
            idle[idle_in++ % (uint64_t)connections] = (int)events[n].data.u32;
        }
    }
    qsort(latency_us, answered, sizeof *latency_us, ascending);
    double seconds = (double)(now_ns() - began) / 1e9;
    uint64_t last = answered ? answered - 1 : 0;
    printf("{\"asked\": %lu, \"answered\": %lu, \"refused\": %lu, \"seconds\": %.3f, \"p50_ms\": %.3f, \"p90_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"max_ms\": %.3f}\n", all, answered, refused, seconds,
           latency_us[last * 50 / 100] / 1e3, latency_us[last * 90 / 100] / 1e3, latency_us[last * 99 / 100] / 1e3,
           latency_us[last] / 1e3);
    return 0;
}
