# Echo with a thread for each connection.
require 'socket'

Thread.report_on_exception = false
server = TCPServer.new('127.0.0.1', ARGV[0].to_i)
loop do
  Thread.new(server.accept) do |client|
    IO.copy_stream(client, client)
  rescue SystemCallError
    # The connection is over.
  ensure
    client.close
  end
end
