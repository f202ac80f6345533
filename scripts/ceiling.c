/* The fastest SOCKS relay that we can think of, as the ceiling of what scripts/bench-server measures.
 *
 * One thread, epoll, splice(2) through a pipe for each direction, and nothing else: no check, no limit, no
 * timer, no log; a request is believed to come in two pieces and to name an IPv4 address. Of use to nobody.
 *
 *     cc -O2 -o ceiling ceiling.c && ./ceiling PORT [BYTES]
 *
 * BYTES: what is moved of one connection before the others have a turn (1 MiB).
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1 << 20, CONNECTIONS = 65536 };

static struct end {
    int other;        /* the socket at the other side of the tunnel; -1 before there is one */
    int state;        /* 0 the greeting, 1 the request, 2 its connect() is under way, 3 a tunnel */
    int pipe[2];      /* what comes from this end; -1 until there was much */
    size_t held;      /* bytes in it */
    int ended, shut;  /* nothing more comes; and the other end knows */
    unsigned wanted;  /* what epoll was asked for */
} ends[CONNECTIONS];

static int epoll;
static size_t quantum = MOST;
static char buffer[65536];

static void want(int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (ends[fd].wanted != events + 1) {
        epoll_ctl(epoll, ends[fd].wanted ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
        ends[fd].wanted = events + 1;
    }
}

static void begin(int fd, int other, int state)
{
    int on = 1;
    ends[fd] = (struct end){.other = other, .state = state, .pipe = {-1, -1}};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void end(int fd)
{
    int other = ends[fd].other;
    for (int each = fd; each >= 0; each = each == fd ? other : -1) {
        if (ends[each].pipe[0] >= 0) {
            close(ends[each].pipe[0]);
            close(ends[each].pipe[1]);
        }
        close(each);
        ends[each].wanted = 0;
    }
}

/* Move what has come from `from`; whether the tunnel is still there. */
static int move(int from)
{
    struct end *end_ = &ends[from];
    int to = end_->other;
    ssize_t count;
    if (!end_->held && !end_->ended) {
        if (end_->pipe[0] < 0) {
            count = recv(from, buffer, sizeof buffer, 0);
            if (count > 0) {
                ssize_t sent = send(to, buffer, count, MSG_NOSIGNAL);
                if (sent < 0)
                    sent = 0;
                if (sent < count || count == sizeof buffer) {
                    pipe2(end_->pipe, O_NONBLOCK);
                    fcntl(end_->pipe[1], F_SETPIPE_SZ, MOST);
                    if (sent < count)
                        end_->held = write(end_->pipe[1], buffer + sent, count - sent);
                }
            }
        } else {
            count = splice(from, NULL, end_->pipe[1], NULL, quantum, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            end_->held = count > 0 ? count : 0;
        }
        end_->ended = count == 0;
    }
    while (end_->held) {
        count = splice(end_->pipe[0], NULL, to, NULL, end_->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (count <= 0)
            break;
        end_->held -= count;
    }
    if (end_->ended && !end_->held && !end_->shut) {
        end_->shut = 1;
        if (ends[to].shut) {
            end(from);
            return 0;
        }
        shutdown(to, SHUT_WR);
    }
    want(from, (end_->held || end_->ended ? 0 : EPOLLIN) | (ends[to].held ? EPOLLOUT : 0));
    want(to, (ends[to].held || ends[to].ended ? 0 : EPOLLIN) | (end_->held ? EPOLLOUT : 0));
    return 1;
}

static void handle(int fd, unsigned events)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    switch (ends[fd].state) {
    case 0:
        if (recv(fd, buffer, 3, 0) <= 0) {
            close(fd);
            ends[fd].wanted = 0;
            return;
        }
        send(fd, "\5\0", 2, MSG_NOSIGNAL);
        ends[fd].state = 1;
        return;
    case 1: {
        if (recv(fd, buffer, 10, 0) != 10)
            return;
        if (buffer[1] != 1) {
            send(fd, "\5\7\0\1\0\0\0\0\0\0", 10, MSG_NOSIGNAL);
            return;
        }
        memcpy(&address.sin_addr, buffer + 4, 4);
        memcpy(&address.sin_port, buffer + 8, 2);
        int target = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        begin(target, fd, 2);
        connect(target, (struct sockaddr *)&address, sizeof address);
        ends[fd].other = target;
        ends[fd].state = 3;
        want(fd, 0);
        want(target, EPOLLOUT);
        return;
    }
    case 2:
        send(ends[fd].other, "\5\0\0\1\0\0\0\0\0\0", 10, MSG_NOSIGNAL);
        ends[fd].state = 3;
        want(fd, EPOLLIN);
        want(ends[fd].other, EPOLLIN);
        return;
    default:
        if (events & EPOLLERR) {
            end(fd);
            return;
        }
        if (events & EPOLLOUT && !move(ends[fd].other))
            return;
        if (events & (EPOLLIN | EPOLLHUP))
            move(fd);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[256];
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (argc < 2)
        return 2;
    if (argc > 2)
        quantum = strtoul(argv[2], NULL, 0);
    address.sin_port = htons(atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("ceiling");
        return 1;
    }
    epoll = epoll_create1(0);
    want(listener, EPOLLIN);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int each = 0; each < count; each++) {
            int fd = events[each].data.fd;
            if (fd != listener) {
                /* An earlier event of these may have closed it. */
                if (ends[fd].wanted)
                    handle(fd, events[each].events);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                begin(fd, -1, 0);
                want(fd, EPOLLIN);
            }
        }
    }
}
