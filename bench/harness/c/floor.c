/* The least that a fan-out costs: an epoll server in C that sends one ready-made frame to each socket.
 *
 *   floor PORT SOCKETS BYTES RATE SECONDS
 *
 * Answers each request with 101 and, once SOCKETS are open, sends a text frame of BYTES to every one of them RATE times
 * a second for SECONDS, with one send() a socket; RATE 0 means as fast as it can. Prints "frames N seconds S cpu S". */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

static void fail(const char *what) { perror(what); exit(1); }

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int accept_all(int listening, int epoll, int *fds, int have, int most) {
    for (;;) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK), on = 1;
        if (fd < 0 || have == most) return have;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        fds[have++] = fd;
    }
}

/* Reads whatever comes for so long (ms); each first read is a request. Returns how many are open. */
static int serve(int listening, int epoll, int *fds, int *have, int most, int open, int ms, char *asked) {
    struct epoll_event events[256];
    char buffer[4096];
    int ready = epoll_wait(epoll, events, 256, ms);
    for (int i = 0; i < ready; i++) {
        int fd = events[i].data.fd;
        if (fd == listening) {
            *have = accept_all(listening, epoll, fds, *have, most);
        } else if (read(fd, buffer, sizeof buffer) <= 0) {
            epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
        } else if (!asked[fd]) {
            asked[fd] = 1, open++;
            if (write(fd, ANSWER, sizeof ANSWER - 1) < 0) fail("answer");
        }
    }
    return open;
}

int main(int count, char **words) {
    if (count != 6) {
        fprintf(stderr, "floor PORT SOCKETS BYTES RATE SECONDS\n");
        return 2;
    }
    int most = atoi(words[2]), bytes = atoi(words[3]), have = 0, open = 0, on = 1;
    double rate = atof(words[4]), length = atof(words[5]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listening, (struct sockaddr *)&here, sizeof here) < 0 || listen(listening, 4096) < 0) fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listening};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &event);
    int *fds = calloc((size_t)most, sizeof *fds);
    char *asked = calloc((size_t)most + 4096, 1);
    unsigned char *frame = malloc((size_t)bytes + 4);
    if (!fds || !asked || !frame || bytes < 126 || bytes > 65535) fail("start");
    frame[0] = 0x81, frame[1] = 126, frame[2] = (unsigned char)(bytes >> 8), frame[3] = (unsigned char)bytes;
    memset(frame + 4, 'x', (size_t)bytes);
    printf("ready\n"), fflush(stdout);
    while (open < most) open = serve(listening, epoll, fds, &have, most, open, 1000, asked);
    double began = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), due = began;
    uint64_t frames = 0;
    while (seconds(CLOCK_MONOTONIC) < began + length) {
        double wait = due - seconds(CLOCK_MONOTONIC);
        if (rate > 0 && wait > 0) {
            serve(listening, epoll, fds, &have, most, open, (int)(wait * 1000) + 1, asked);
            continue;
        }
        if (rate > 0) due += 1 / rate;
        for (int i = 0; i < have; i++)
            if (send(fds[i], frame, (size_t)bytes + 4, MSG_NOSIGNAL | MSG_DONTWAIT) == bytes + 4) frames++;
    }
    double took = seconds(CLOCK_MONOTONIC) - began;
    printf("frames %llu seconds %.3f cpu %.3f\n", (unsigned long long)frames, took, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    sleep(1);
    return 0;
}
