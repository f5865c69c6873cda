/**
 * The floor in Node: sockets, a window of commands, and a count. Knows nothing of errors, deadlines, back-pressure or stuffed
 * dots, and hands out nothing.
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Job, Tally } from '../job.ts';

const WINDOW = 1_000;
const END = Buffer.from('\r\n.\r\n');
const LF = 0x0a;
const PLUS = 0x2b;

const job = JSON.parse(process.argv[2] ?? '') as Job;
const ca = job.caPath === null ? undefined : readFileSync(job.caPath);

function open(): Socket {
  const { host, port } = job;
  return ca === undefined ? connectTcp({ host, port, noDelay: true }) : connectTls({ host, port, ca });
}

/** Single-line commands, one after the other. */
function converse(socket: Socket, lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let next = 0;
    const onData = (chunk: Buffer): void => {
      if (chunk[0] !== PLUS) return reject(new Error(chunk.toString()));
      if (chunk.at(-1) !== LF) return;
      const line = lines[next++];
      if (line !== undefined) return void socket.write(`${line}\r\n`);
      socket.off('data', onData);
      resolve();
    };
    socket.on('data', onData).once('error', reject);
  });
}

function fetchAll(socket: Socket, count: number): Promise<Tally> {
  return new Promise((resolve, reject) => {
    let sent = 0;
    let done = 0;
    let octets = 0;
    let inBody = false;
    let tail = Buffer.alloc(0);

    function refill(): void {
      if (sent - done > WINDOW / 2) return;
      let lines = '';
      while (sent < count && sent - done < WINDOW) lines += `RETR ${++sent}\r\n`;
      if (lines !== '') socket.write(lines);
    }

    /** Where the terminator ends, perhaps begun in the chunk before. */
    function findEnd(chunk: Buffer, from: number): number {
      const seam = Buffer.concat([tail, chunk.subarray(from, from + END.length - 1)]).indexOf(END);
      if (seam !== -1) return from + seam + END.length - tail.length;
      const at = chunk.indexOf(END, from);
      return at === -1 ? -1 : at + END.length;
    }

    socket.on('data', (chunk) => {
      for (let at = 0; at < chunk.length;) {
        if (!inBody) {
          if (tail.length === 0 && chunk[at] !== PLUS) return reject(new Error(chunk.toString('latin1', at, at + 80)));
          const lf = chunk.indexOf(LF, at);
          inBody = lf !== -1;
          // An empty body ends with the line that the status line began.
          tail = inBody ? END.subarray(0, 2) : chunk.subarray(at, at + 1);
          at = inBody ? lf + 1 : chunk.length;
          continue;
        }
        const end = findEnd(chunk, at);
        if (end === -1) {
          octets += chunk.length - at;
          tail = Buffer.concat([tail, chunk.subarray(Math.max(at, chunk.length - 4))]).subarray(-4);
          break;
        }
        octets += end - at - 3;
        at = end;
        inBody = false;
        tail = Buffer.alloc(0);
        done += 1;
      }
      if (done === count) resolve({ messages: done, octets });
      else refill();
    });
    socket.once('error', reject);
    refill();
  });
}

async function fetchMaildrop(): Promise<Tally> {
  const socket = open();
  await converse(socket, [`USER ${job.username}`, `PASS ${job.password}`, 'STAT']);
  const tally = await fetchAll(socket, job.messages);
  socket.end('QUIT\r\n');
  await once(socket, 'close');
  return tally;
}

async function pollAll(): Promise<Tally> {
  let left = job.polls;
  const pollInTurn = async (): Promise<void> => {
    while (left-- > 0) {
      const socket = open();
      await converse(socket, [`USER ${job.username}`, `PASS ${job.password}`, 'STAT', 'QUIT']);
      socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: job.pollsAtOnce }, pollInTurn));
  return { messages: job.polls, octets: 0 };
}

if (job.startOnly !== true) {
  const tally = await (job.polls > 0 ? pollAll() : fetchMaildrop());
  process.stdout.write(JSON.stringify(tally));
}
