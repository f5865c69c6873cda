/**
 * A far network: passes bytes on after half a round trip each way, as many as come. Bandwidth is not limited, and a slow
 * reader holds up nobody, as its bytes are kept. A process of its own, so that no measured one pays for it; ends with its stdin.
 *
 *     node delay-proxy.ts TARGET-PORT ROUND-TRIP-MS     prints the port that it listens on
 */

import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

const HOST = '127.0.0.1';
const [targetPort = 0, roundTripMs = 0] = process.argv.slice(2).map(Number);

/** One direction: what comes is due half a round trip later, and in order; not before the connection stands. */
function delayBytes(from: Socket, to: Socket, earliestMs: number): void {
  const waiting: { dueMs: number; chunk: Buffer | null }[] = [];
  const pass = (): void => {
    const nowMs = performance.now();
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      if (next.dueMs > nowMs) {
        setTimeout(pass, next.dueMs - nowMs);
        return;
      }
      waiting.shift();
      if (next.chunk === null) to.end();
      else to.write(next.chunk);
    }
  };
  const take = (chunk: Buffer | null): void => {
    const dueMs = Math.max(performance.now() + roundTripMs / 2, earliestMs);
    waiting.push({ dueMs, chunk });
    if (waiting.length === 1) setTimeout(pass, dueMs - performance.now());
  };
  from.on('data', take).on('end', () => take(null));
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  // SYN, its answer and the ACK: only then does the server know of the connection, and greets.
  const connectedMs = performance.now() + 1.5 * roundTripMs;
  setTimeout(() => {
    const far = connect({ host: HOST, port: targetPort, allowHalfOpen: true, noDelay: true });
    delayBytes(near, far, connectedMs);
    delayBytes(far, near, connectedMs);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => other.destroy());
    }
  }, 1.5 * roundTripMs);
});
server.listen(0, HOST, () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
process.stdin.resume().on('end', () => process.exit());
