// Echo with a 'data' handler and write(), as in most tutorials: the result of write() is ignored.
const net = require('node:net');

const server = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.on('data', (chunk) => socket.write(chunk));
});
server.listen(Number(process.argv[2]), '127.0.0.1');
