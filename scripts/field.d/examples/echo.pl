# Echo with a process for each connection, as in perlipc.
use strict;
use warnings;
use IO::Socket::INET;

$SIG{CHLD} = 'IGNORE';
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ARGV[0]", Listen => SOMAXCONN, ReuseAddr => 1) or die $@;
while (1) {
    my $client = $server->accept or next;
    defined(my $pid = fork) or die "fork: $!";
    if ($pid == 0) {
        close $server;
        while (sysread($client, my $data, 65536)) {
            my $sent = 0;
            while ($sent < length $data) {
                $sent += syswrite($client, $data, 65536, $sent) // exit;
            }
        }
        exit;
    }
    close $client;
}
