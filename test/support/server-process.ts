/** What the real servers of the tests have in common: ports that are free, and an end that is waited for. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

export interface Ports {
  /** Plain, with STLS on offer. */
  readonly port: number;
  /** TLS from the first byte. */
  readonly tlsPort: number;
}

/** By name, which becomes the name of a folder, too. */
export type MailUsers = Readonly<Record<string, { readonly password: string; readonly mails?: readonly Buffer[] }>>;

export interface MailServer extends Ports {
  readonly host: string;
  /** PEM; the server's certificate is for localhost and 127.0.0.1. */
  readonly ca: string;
  /** Puts a mail into a user's maildrop while the server runs. */
  deliver(user: string, raw: Buffer): Promise<void>;
  /** The mails left in a user's maildrop, oldest first. */
  maildir(user: string): Promise<Buffer[]>;
  /** Ends the server and removes its folder. */
  close(): Promise<void>;
}

export const HOST = '127.0.0.1';
const STOP_TIMEOUT_MS = 5_000;
const PORT_ATTEMPTS_MAX = 5;

/** Free a moment ago: whoever binds them must be ready to see them taken. */
export async function findFreePorts(): Promise<Ports> {
  const servers = [createServer(), createServer()];
  const [port = 0, tlsPort = 0] = await Promise.all(
    servers.map(async (server) => {
      server.listen(0, HOST);
      await once(server, 'listening');
      return (server.address() as AddressInfo).port;
    }),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return { port, tlsPort };
}

/** Launches on other ports where somebody else was quicker to take them. */
export async function launchOnFreePorts(
  findPorts: () => Promise<Ports>,
  launch: (ports: Ports) => Promise<ChildProcess>,
): Promise<{ child: ChildProcess; ports: Ports }> {
  for (let attempt = 1; ; attempt += 1) {
    const ports = await findPorts();
    try {
      return { child: await launch(ports), ports };
    } catch (error) {
      if (attempt === PORT_ATTEMPTS_MAX || !String(error).includes('Address already in use')) throw error;
    }
  }
}

/** Why a child ended or could not be started; settles then. Ask for it before anything is awaited. */
export function awaitEnd(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(`it ended with ${code ?? signal}`));
  });
}

/** Resolves when the child has ended: by the signal, or in time by SIGKILL. */
export async function stopProcess(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  child.kill(signal);
  await ended;
  clearTimeout(timer);
}
