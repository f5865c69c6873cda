/**
 * From settings to a session that is as secure as they say: TCP, TLS or STLS, the greeting. No capabilities are asked for
 * before STLS, as nothing that was said in the clear is to be relied on behind it (RFC 2595 §4).
 */
import { noCapabilities } from './capabilities.ts';
import { Connection } from './connection.ts';
import { Pop3ConnectionError } from './errors.ts';
import type { Pop3Timeouts } from './limits.ts';
import { sessionRefused } from './refusals.ts';
import { Secrets } from './secrets.ts';
import type { Pop3Options, Pop3Settings } from './settings.ts';
import { describe, openTcp, readTlsAlert, startTls, type SecuredSocket, type TransportOptions } from './transport.ts';

export interface OpenSession {
  connection: Connection;
  /** The text of the greeting. */
  greeting: string;
  /** The socket that TLS is on; null without. */
  secured: SecuredSocket | null;
}

/** @throws Pop3ConnectionError, Pop3ProtocolError, Pop3CommandError (a greeting of -ERR), the signal's reason, or the resolver's error. */
export async function openSession(
  settings: Pop3Settings,
  options: Pop3Options,
  timeouts: Readonly<Pop3Timeouts>,
): Promise<OpenSession> {
  const startedMs = performance.now();
  const place = describe(settings);
  const { chunks, onWire, resolve, resolveProxy, signal } = options;
  const transport: TransportOptions = {
    timeouts,
    ...(signal && { signal }),
    ...(resolve && { resolve }),
    ...(resolveProxy && { resolveProxy }),
  };
  const tcp = await openTcp(settings, transport);
  let secured = settings.tls === 'implicit' ? await startTls(tcp, settings, transport) : null;
  const connection = new Connection(secured ?? tcp, {
    place,
    timeouts,
    sessionMs: remainingMs(timeouts.sessionMs, startedMs),
    signal,
    secrets: secretsOf(settings),
    isImplicitTls: settings.tls === 'implicit',
    lendsChunks: chunks === 'lent',
    onWire,
    readAlert: (error) => (settings.tls === 'none' ? null : readTlsAlert(error, settings)),
  });
  try {
    const greeting = await connection.send({ phase: 'greeting', line: null, timeoutMs: timeouts.greetingMs });
    if (!greeting.ok) {
      const quote = (text: string): string => connection.quote(text);
      throw sessionRefused(greeting, null, { place, capabilities: noCapabilities, quote });
    }
    if (settings.tls === 'starttls') secured = await secureByStls(connection, settings, transport);
    return { connection, greeting: greeting.text, secured };
  } catch (error) {
    connection.close();
    throw error;
  }
}

async function secureByStls(
  connection: Connection,
  settings: Pop3Settings,
  transport: TransportOptions,
): Promise<SecuredSocket> {
  const reply = await connection.send({ phase: 'tls', line: 'STLS', timeoutMs: transport.timeouts.commandMs });
  if (!reply.ok) {
    throw new Pop3ConnectionError(
      'upstream_tls_failed',
      'tls',
      `${describe(settings)} refuses STLS: ${connection.quote(reply.line)}. Nothing was sent in the clear. Set tls to "implicit" (mostly port 995).`,
    );
  }
  const secured = await startTls(connection.handOver(), settings, transport);
  connection.adopt(secured);
  return secured;
}

/** In whole seconds where there are some: Node keeps a list of timers for each length, and makes it anew for one that no other has. */
function remainingMs(totalMs: number, startedMs: number): number {
  const leftMs = Math.max(0, totalMs - (performance.now() - startedMs));
  return leftMs > 1000 ? Math.floor(leftMs / 1000) * 1000 : leftMs;
}

function secretsOf({ username, password, accessToken }: Pop3Settings): Secrets {
  const known = [password, accessToken].filter((secret) => secret !== undefined);
  return new Secrets(known, [username]);
}
