/* Echo with libev: a buffer and two watchers for each connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    ev_io read, write;
    size_t start, end;
    char buffer[65536];
};

static void end(struct ev_loop *loop, struct client *client) {
    ev_io_stop(loop, &client->read);
    ev_io_stop(loop, &client->write);
    close(client->read.fd);
    free(client);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events) {
    struct client *client = watcher->data;
    ssize_t sent = write(watcher->fd, client->buffer + client->start, client->end - client->start);
    if (sent < 0 && errno != EAGAIN)
        return end(loop, client);
    client->start += sent > 0 ? (size_t)sent : 0;
    if (client->start == client->end) {
        ev_io_stop(loop, &client->write);
        ev_io_start(loop, &client->read);
    }
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events) {
    struct client *client = watcher->data;
    ssize_t count = read(watcher->fd, client->buffer, sizeof client->buffer);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0)
        return end(loop, client);
    client->start = 0;
    client->end = (size_t)count;
    ev_io_stop(loop, &client->read);
    ev_io_start(loop, &client->write);
}

static void on_accept(struct ev_loop *loop, ev_io *watcher, int events) {
    int fd = accept(watcher->fd, NULL, NULL);
    if (fd < 0)
        return;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    struct client *client = calloc(1, sizeof *client);
    ev_io_init(&client->read, on_readable, fd, EV_READ);
    ev_io_init(&client->write, on_writable, fd, EV_WRITE);
    client->read.data = client->write.data = client;
    ev_io_start(loop, &client->read);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(server, (struct sockaddr *)&address, sizeof address) != 0 || listen(server, SOMAXCONN) != 0)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    ev_io accepting;
    ev_io_init(&accepting, on_accept, server, EV_READ);
    ev_io_start(EV_DEFAULT, &accepting);
    return ev_run(EV_DEFAULT, 0);
}
