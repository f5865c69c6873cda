/**
 * A port that does not answer, on loopback: its process is stopped and its queue of connections is full, so that the kernel
 * drops whatever else comes, as a firewall would.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

export interface BlackHole {
  readonly port: number;
  close(): Promise<void>;
}

const SERVER = `const { createServer } = require('node:net');
const server = createServer().listen({ host: process.argv[1], port: 0, backlog: 1 }, () => console.log(server.address().port));`;

export async function openBlackHole(host: string): Promise<BlackHole> {
  const child = spawn(process.execPath, ['-e', SERVER, host], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(line);
  child.kill('SIGSTOP');
  // Linux queues one more than the backlog.
  const fillers: Socket[] = [];
  for (let count = 0; count < 2; count += 1) {
    const filler = connect({ host, port }).on('error', () => {});
    fillers.push(filler);
    await once(filler, 'connect');
  }
  return {
    port,
    async close() {
      for (const filler of fillers) filler.destroy();
      child.kill('SIGKILL');
      await exited;
    },
  };
}
