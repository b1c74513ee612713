# Echo with AnyEvent::Handle, which buffers without a limit.
use strict;
use warnings;
use AnyEvent;
use AnyEvent::Handle;
use AnyEvent::Socket;

my %open;
tcp_server '127.0.0.1', $ARGV[0], sub {
    my ($socket) = @_;
    my $handle;
    $handle = AnyEvent::Handle->new(
        fh       => $socket,
        on_read  => sub { $_[0]->push_write($_[0]{rbuf}); $_[0]{rbuf} = '' },
        on_error => sub { delete $open{$handle}; $handle->destroy },
        on_eof   => sub { delete $open{$handle}; $handle->push_shutdown },
    );
    $open{$handle} = $handle;
};
AnyEvent->condvar->recv;
