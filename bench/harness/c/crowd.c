/* A crowd of WebSocket clients in one thread, so that what is measured is the server and not its clients.
 *
 *   crowd HOST PORT SOCKETS AT_ONCE REQUEST HELLO FIND RECORDS
 *
 * Opens SOCKETS connections, AT_ONCE of them in their handshake at a time, from as many addresses of 127.0.0.0/8 as they need, sends the bytes of the file
 * REQUEST on each, waits for 101, then sends those of HELLO (frames, masked already). Prints "open MS" when all are
 * open and "all MS" when each has had its first text frame. Then, until SIGTERM, each text frame becomes a record in
 * the file RECORDS: {u64 monotonic ns, u32 socket, u32 bytes, i64 number}, the number being what stands after the
 * text FIND in it, or -1. At the end it prints "frames N bytes N lost N": lost sockets are those the server closed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTING, ASKED, OPEN, GONE };
enum { EACH_ADDRESS = 8000, READ_BYTES = 1 << 18 };

struct client {
    int fd, state;
    int seen;             /* had a text frame */
    size_t have;          /* bytes of an incomplete frame or head */
    unsigned char *rest;
};
struct record {
    uint64_t at_ns;
    uint32_t socket, bytes;
    int64_t number;
};

static volatile sig_atomic_t ended;
static struct client *clients;
static char *request, *hello, *find;
static size_t request_bytes, hello_bytes, find_bytes;
static int sockets, begun, opened, first_frames, lost, epoll;
static uint64_t frames, payload_bytes, began_ns;
static FILE *records;

static void stop(int number) { (void)number; ended = 1; }

static void fail(const char *what) { perror(what); exit(1); }

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double since_ms(void) { return (double)(now_ns() - began_ns) / 1e6; }

static char *content(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    char *data = malloc(1 << 16);
    *bytes = fread(data, 1, 1 << 16, file);
    fclose(file);
    return data;
}

static void connect_one(int at, const char *host, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    inet_pton(AF_INET, host, &to.sin_addr);
    from.sin_addr.s_addr = htonl(0x7f000001u + (uint32_t)(at / EACH_ADDRESS));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0) fail("socket");
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0) fail("bind");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) fail("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)at};
    clients[at] = (struct client){.fd = fd, .state = CONNECTING};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void gone(struct client *c) {
    if (c->state == GONE) return;
    c->state = GONE;
    close(c->fd);
    lost++;
}

static void frame(int at, const unsigned char *payload, size_t bytes, uint64_t at_ns) {
    int64_t number = -1;
    if (find_bytes) {
        const char *found = memmem(payload, bytes, find, find_bytes);
        if (found) number = strtoll(found + find_bytes, NULL, 10);
    }
    struct record record = {at_ns, (uint32_t)at, (uint32_t)bytes, number};
    fwrite(&record, sizeof record, 1, records);
    frames++;
    payload_bytes += bytes;
    if (!clients[at].seen) {
        clients[at].seen = 1;
        if (++first_frames == sockets) printf("all %.1f\n", since_ms()), fflush(stdout);
    }
}

/* Takes what is whole; returns how many bytes that were. */
static size_t take(int at, unsigned char *data, size_t bytes, uint64_t at_ns) {
    struct client *c = &clients[at];
    size_t used = 0;
    if (c->state == ASKED) {
        unsigned char *end = memmem(data, bytes, "\r\n\r\n", 4);
        if (!end) return 0;
        if (bytes < 12 || memcmp(data + 9, "101", 3)) {
            fprintf(stderr, "refused: %.*s\n", 60, (char *)data);
            gone(c);
            return bytes;
        }
        used = (size_t)(end - data) + 4;
        c->state = OPEN;
        if (hello_bytes && write(c->fd, hello, hello_bytes) != (ssize_t)hello_bytes) fail("hello");
        if (++opened == sockets) printf("open %.1f\n", since_ms()), fflush(stdout);
    }
    while (bytes - used >= 2) {
        unsigned char *head = data + used;
        size_t length = head[1] & 0x7f, skip = 2;
        if (length == 126) {
            if (bytes - used < 4) break;
            length = (size_t)head[2] << 8 | head[3], skip = 4;
        } else if (length == 127) {
            if (bytes - used < 10) break;
            length = 0, skip = 10;
            for (int i = 2; i < 10; i++) length = length << 8 | head[i];
        }
        if (bytes - used < skip + length) break;
        if ((head[0] & 0x0f) == 1) frame(at, head + skip, length, at_ns);
        used += skip + length;
    }
    return used;
}

static void readable(int at, unsigned char *buffer) {
    struct client *c = &clients[at];
    if (c->have) memcpy(buffer, c->rest, c->have);
    ssize_t got = read(c->fd, buffer + c->have, READ_BYTES - c->have);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        gone(c);
        return;
    }
    size_t bytes = c->have + (size_t)got, used = take(at, buffer, bytes, now_ns());
    c->have = bytes - used;
    if (c->have) {
        c->rest = realloc(c->rest, c->have);
        memcpy(c->rest, buffer + used, c->have);
    } else if (c->rest) {
        free(c->rest);
        c->rest = NULL;
    }
}

static void writable(int at) {
    struct client *c = &clients[at];
    if (c->state != CONNECTING) return;
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error || write(c->fd, request, request_bytes) != (ssize_t)request_bytes) {
        fprintf(stderr, "not connected: %s\n", strerror(error ? error : errno));
        gone(c);
        return;
    }
    c->state = ASKED;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)at};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

int main(int count, char **words) {
    if (count != 9) {
        fprintf(stderr, "crowd HOST PORT SOCKETS AT_ONCE REQUEST HELLO FIND RECORDS\n");
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    sockets = atoi(words[3]);
    request = content(words[5], &request_bytes);
    hello = content(words[6], &hello_bytes);
    find = words[7];
    find_bytes = strlen(find);
    records = fopen(words[8], "wb");
    clients = calloc((size_t)sockets, sizeof *clients);
    epoll = epoll_create1(0);
    if (!records || !clients || epoll < 0) fail("start");
    unsigned char *buffer = malloc(READ_BYTES);
    struct epoll_event events[512];
    began_ns = now_ns();
    int at_once = atoi(words[4]);
    while (!ended && lost < sockets) {
        while (begun < sockets && begun - opened - lost < at_once) connect_one(begun++, words[1], atoi(words[2]));
        int ready = epoll_wait(epoll, events, 512, 100);
        for (int i = 0; i < ready; i++) {
            int at = (int)events[i].data.u32;
            if (clients[at].state == CONNECTING && events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) writable(at);
            if (clients[at].state != GONE && events[i].events & (EPOLLIN | EPOLLHUP)) readable(at, buffer);
        }
    }
    fclose(records);
    printf("frames %llu bytes %llu lost %d\n", (unsigned long long)frames, (unsigned long long)payload_bytes, lost);
    return 0;
}
