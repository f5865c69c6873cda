/**
 * A POP3 server whose maildrops are all empty, in a process of its own: what it takes is not to be counted as the client's. It
 * says on its standard output where it listens, and then of each login who and when (epoch milliseconds).
 */
import { createServer, type Socket } from 'node:net';

const ANSWERS: Readonly<Record<string, string>> = {
  CAPA: '+OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\nRESP-CODES\r\n.\r\n',
  STAT: '+OK 0 0\r\n',
  UIDL: '+OK\r\n.\r\n',
  LIST: '+OK\r\n.\r\n',
};

function serve(socket: Socket): void {
  let user = '';
  let rest = '';
  socket.on('error', () => socket.destroy());
  socket.setNoDelay(true).write('+OK ready\r\n');
  socket.setEncoding('latin1').on('data', (text: string) => {
    const lines = (rest + text).split('\r\n');
    rest = lines.pop() ?? '';
    let answers = '';
    for (const line of lines) {
      const [command = '', argument = ''] = line.split(' ');
      if (command === 'USER') user = argument;
      if (command === 'PASS') process.stdout.write(`${user} ${Date.now()}\n`);
      answers += ANSWERS[command] ?? '+OK\r\n';
      if (command === 'QUIT') socket.end(answers);
    }
    if (!socket.writableEnded) socket.write(answers);
  });
}

const server = createServer(serve).listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('It listens at no port');
  process.stdout.write(`${address.port}\n`);
});
