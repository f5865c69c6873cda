/** Connections of outbound HTTP: only to addresses that the egress policy gives at connect time, directly or through the operator's proxy. */
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { buildConnector } from 'undici';
import { AppError, toError } from '../errors.ts';
import { tunnelTriesMax } from './limits.ts';
import type { EgressProxy } from './proxy.ts';

/** The addresses that may be connected to; throws AppError `egress_blocked`. Called for IP literals too. */
export type ResolveAddresses = (host: string, port: number) => Promise<readonly { address: string; family: 4 | 6 }[]>;

/** What it took to make a connection, in milliseconds, and where it leads. */
export interface Connected {
  dnsMs: number;
  /** Through a proxy: until the tunnel stands. */
  connectMs: number;
  /** Null without TLS. */
  tlsMs: number | null;
  /** The endpoint's, which is not the peer of a socket that goes through a proxy. Null where the peer has gone already. */
  address: string | null;
}

/** The way of outbound HTTP. */
export interface HttpsRoute {
  resolve: ResolveAddresses;
  /** Null: the endpoint itself is connected to. */
  proxy: EgressProxy | null;
}

export interface ConnectorPorts extends HttpsRoute {
  timeoutMs: number;
  /** Told of each connection that was made. */
  observe?(socket: Socket, connected: Connected): void;
}

type Options = Parameters<buildConnector.connector>[0];
type Pinned = Awaited<ReturnType<ResolveAddresses>>;

/** A socket before TLS, or with it, and where it leads. */
interface Way {
  socket: Socket;
  connectedMs: number;
  address: string | null;
}

/**
 * Resolves and checks at connect time, then connects to the checked addresses: a name cannot be rebound in between. A proxy is asked
 * for these addresses, too, and not for the name, which only Host and TLS have.
 */
export function createCheckedConnector({
  resolve,
  proxy,
  timeoutMs,
  observe,
}: ConnectorPorts): buildConnector.connector {
  async function connect(options: Options): Promise<Socket> {
    const fromMs = performance.now();
    const host = options.hostname.replace(/^\[|\]$/g, '');
    const isTls = options.protocol === 'https:';
    const port = Number(options.port || (isTls ? 443 : 80));
    const addresses = await resolve(host, port);
    const [first] = addresses;
    if (!first) throw new AppError('upstream_unreachable', 'The host has no address.');
    const resolvedMs = performance.now();
    // For an address as the host Node asks no look-up at all.
    const pinned = { ...options, hostname: isIP(host) === 0 ? host : first.address };
    const { socket, connectedMs, address } = proxy
      ? await connectThrough(proxy, pinned, addresses, port, timeoutMs)
      : await connectDirectly(pinned, addresses, timeoutMs);
    observe?.(socket, {
      dnsMs: resolvedMs - fromMs,
      connectMs: connectedMs - resolvedMs,
      tlsMs: isTls ? performance.now() - connectedMs : null,
      address,
    });
    return socket;
  }
  return (options, callback) => {
    connect(options).then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(toError(error), null),
    );
  };
}

async function connectDirectly(options: Options, addresses: Pinned, timeoutMs: number): Promise<Way> {
  const lookup: LookupFunction = (_host, _options, done) => done(null, [...addresses]);
  let connectedMs: number | null = null;
  // Where one address does not answer, the next one is tried.
  const socket = await open({ timeout: timeoutMs, autoSelectFamily: true, lookup }, options, (opening) =>
    opening.once('connect', () => {
      connectedMs = performance.now();
    }),
  );
  return { socket, connectedMs: connectedMs ?? performance.now(), address: socket.remoteAddress ?? null };
}

async function connectThrough(
  proxy: EgressProxy,
  options: Options,
  addresses: Pinned,
  port: number,
  timeoutMs: number,
): Promise<Way> {
  const untilMs = performance.now() + timeoutMs;
  const tries = addresses.slice(0, tunnelTriesMax);
  for (const [index, { address }] of tries.entries()) {
    const left = tries.length - index;
    const tunnel = await openTunnel(address, Math.ceil((untilMs - performance.now()) / left), left === 1);
    if (!tunnel) continue;
    const connectedMs = performance.now();
    if (options.protocol !== 'https:') return { socket: tunnel, connectedMs, address };
    const timeout = Math.max(1, Math.ceil(untilMs - connectedMs));
    const socket = await open({ timeout }, { ...options, httpSocket: tunnel }, () => undefined);
    return { socket, connectedMs, address };
  }
  throw new AppError('upstream_unreachable', 'The host has no address.');

  /** Null where another address may fare better. */
  async function openTunnel(address: string, withinMs: number, isLast: boolean): Promise<Socket | null> {
    const timeout = AbortSignal.timeout(Math.max(1, withinMs));
    try {
      return await proxy.open({ address, port, host: options.host ?? options.hostname }, timeout);
    } catch (error) {
      if (error instanceof AppError && error.code === 'egress_unavailable') throw error;
      if (isLast) throw timeout.aborted ? tunnelTimedOut() : error;
      return null;
    }
  }
}

function open(how: buildConnector.BuildOptions, options: Options, watch: (opening: Socket) => void): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const connect = buildConnector({ ...how, allowH2: false });
  const opening = connect(options, (...[error, socket]) => (error === null ? resolve(socket) : reject(error)));
  // Its types do not say that this is the socket.
  watch(opening as unknown as Socket);
  return promise;
}

function tunnelTimedOut(): AppError {
  return new AppError('upstream_timeout', 'No connection: the egress proxy had none in time.');
}
