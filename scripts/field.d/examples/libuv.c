/* Echo as in the guide of libuv: each read is answered with a write request; reads go on meanwhile. */
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

struct request {
    uv_write_t write;
    uv_buf_t buffer;
};

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
    *buffer = uv_buf_init(malloc(size), (unsigned)size);
}

static void on_close(uv_handle_t *handle) {
    free(handle);
}

static void on_written(uv_write_t *write, int status) {
    struct request *request = (struct request *)write;
    free(request->buffer.base);
    free(request);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    uv_close((uv_handle_t *)request->handle, on_close);
    free(request);
}

static void on_read(uv_stream_t *client, ssize_t count, const uv_buf_t *buffer) {
    if (count > 0) {
        struct request *request = malloc(sizeof *request);
        request->buffer = uv_buf_init(buffer->base, (unsigned)count);
        uv_write(&request->write, client, &request->buffer, 1, on_written);
        return;
    }
    free(buffer->base);
    if (count == UV_EOF)
        uv_shutdown(malloc(sizeof(uv_shutdown_t)), client, on_shutdown);
    else if (count < 0)
        uv_close((uv_handle_t *)client, on_close);
}

static void on_connection(uv_stream_t *server, int status) {
    uv_tcp_t *client = malloc(sizeof *client);
    uv_tcp_init(server->loop, client);
    if (uv_accept(server, (uv_stream_t *)client) == 0)
        uv_read_start((uv_stream_t *)client, on_alloc, on_read);
    else
        uv_close((uv_handle_t *)client, on_close);
}

int main(int argc, char **argv) {
    /* libuv leaves this to the program. */
    signal(SIGPIPE, SIG_IGN);
    uv_tcp_t server;
    struct sockaddr_in address;
    uv_tcp_init(uv_default_loop(), &server);
    uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address);
    uv_tcp_bind(&server, (const struct sockaddr *)&address, 0);
    if (uv_listen((uv_stream_t *)&server, 128, on_connection) != 0)
        return 1;
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
