// Echo with a pipe, as in the documentation of Node's 'net'.
const net = require('node:net');

const server = net.createServer({ allowHalfOpen: process.argv[3] === 'half-open' }, (socket) => {
  socket.on('error', () => {});
  socket.pipe(socket);
});
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
