// Echo with Boost.Asio, after its example 'async_tcp_echo_server'.
#include <boost/asio.hpp>
#include <cstdlib>
#include <memory>

using boost::asio::ip::tcp;

class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(tcp::socket socket) : socket_(std::move(socket)) {}

    void read() {
        auto self = shared_from_this();
        socket_.async_read_some(boost::asio::buffer(data_), [this, self](boost::system::error_code error, size_t length) {
            if (!error)
                write(length);
        });
    }

private:
    void write(size_t length) {
        auto self = shared_from_this();
        boost::asio::async_write(socket_, boost::asio::buffer(data_, length),
                                 [this, self](boost::system::error_code error, size_t) {
                                     if (!error)
                                         read();
                                 });
    }

    tcp::socket socket_;
    char data_[8192];
};

void accept(tcp::acceptor& acceptor) {
    acceptor.async_accept([&acceptor](boost::system::error_code error, tcp::socket socket) {
        if (!error)
            std::make_shared<Session>(std::move(socket))->read();
        accept(acceptor);
    });
}

int main(int, char** arguments) {
    boost::asio::io_context context;
    auto port = static_cast<unsigned short>(std::atoi(arguments[1]));
    tcp::acceptor acceptor(context, {boost::asio::ip::address_v4::loopback(), port});
    accept(acceptor);
    context.run();
}
