/** Happy Eyeballs (RFC 8305): several addresses are tried in parallel, each a little after the one before. */
import { connectStaggerMs } from '../limits.ts';
import { connect, type Socket } from 'node:net';
import type { ResolvedAddress } from './endpoint.ts';
import { ignore, type Cutoff } from './waits.ts';

export interface RaceOptions {
  cutoff: Cutoff;
  /** Filled with the error of each attempt that failed. */
  failures: Error[];
}

/** The socket that connected first; null when all attempts failed. Every other socket is destroyed. @throws what cuts it off. */
export async function connectToFirst(
  addresses: readonly ResolvedAddress[],
  port: number,
  { cutoff, failures }: RaceOptions,
): Promise<Socket | null> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket | null>();
  const waiting = [...addresses];
  const connecting = new Set<Socket>();
  let timer: NodeJS.Timeout | undefined;

  function attemptNext(): void {
    clearTimeout(timer);
    const next = waiting.shift();
    if (!next) {
      if (connecting.size === 0) resolve(null);
      return;
    }
    // An IP literal is connected to as it is: no second look-up that could answer differently from the hook.
    const socket = connect({ host: next.address, port, noDelay: true });
    connecting.add(socket);
    socket.once('connect', () => resolve(socket));
    socket.once('error', (error) => {
      connecting.delete(socket);
      failures.push(error);
      attemptNext();
    });
    // It stays: an error of a socket that nobody listens to would end the process, at whatever time it comes.
    socket.on('error', ignore);
    if (waiting.length > 0) timer = setTimeout(attemptNext, connectStaggerMs);
  }

  const abort = (reason: Error): void => reject(reason);
  cutoff.listen(abort);
  if (cutoff.reason) abort(cutoff.reason);
  else attemptNext();
  try {
    const winner = await promise;
    if (winner) connecting.delete(winner);
    return winner;
  } finally {
    clearTimeout(timer);
    cutoff.unlisten(abort);
    waiting.length = 0;
    for (const socket of connecting) socket.destroy();
  }
}

/** One reason where all attempts have the same; otherwise each with its addresses. */
export function explainAttempts(failures: readonly Error[]): string {
  const byReason = Map.groupBy(failures, explainSocketError);
  if (byReason.size === 1) return [...byReason.keys()].join('');
  return [...byReason].map(([reason, errors]) => `${reason} (${errors.map(addressOf).join(', ')})`).join(', ');
}

function addressOf(error: Error): string {
  return 'address' in error ? String(error.address) : 'unknown address';
}

function explainSocketError(error: Error): string {
  const code = 'code' in error ? String(error.code) : '';
  switch (code) {
    case 'ECONNREFUSED':
      return 'the connection was refused';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EADDRNOTAVAIL':
      return 'there is no route to it';
    case 'ECONNRESET':
      return 'the connection was reset';
    case 'ETIMEDOUT':
      return 'it does not answer';
    default:
      return code === '' ? 'the connection failed' : `the connection failed (${code})`;
  }
}
