/**
 * The operator's own way out: an HTTP proxy, over TLS or not, that is asked for a tunnel (CONNECT, RFC 9110 §9.3.6) to an address
 * that the egress policy has given. Where the proxy itself is, is the operator's word and no question of the policy.
 *
 * What is wrong with the proxy is a fault of ours (`egress_unavailable`), and no endpoint is to pay for it; what it says of the
 * target is the target's.
 */
import { Agent as HttpAgent, request as requestHttp, type ClientRequest } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import type { Socket } from 'node:net';
import { AppError } from '../errors.ts';
import { proxyConnectTimeoutMs } from './limits.ts';

export interface TunnelTarget {
  /** An IP literal, without brackets. */
  address: string;
  port: number;
  /** Of the URL that is called, with its port: for whom the tunnel is. */
  host: string;
}

export interface EgressProxy {
  /**
   * A socket that leads to the target.
   * @throws AppError `egress_unavailable` for the proxy, `upstream_unreachable` for what it says of the target; the signal's reason, once
   * the proxy has taken up the connection.
   */
  open(target: TunnelTarget, signal: AbortSignal): Promise<Socket>;
  /** Whether something for that host waits for the proxy to take up its connection. */
  isAwaited(host: string): boolean;
  /** Ends what is being opened. */
  close(): void;
}

interface ProxyAddress {
  isTls: boolean;
  host: string;
  port: number;
  /** Null where the URL has no user. */
  authorization: string | null;
  /** `http://host:port`, for the log: without the login. */
  label: string;
}

/** By which a proxy says that it may not, or could not, get to the target. Any other status is about the proxy itself, or our login to it. */
const isAboutTarget = (status: number): boolean =>
  status === 403 || status === 404 || status === 451 || (status >= 500 && status !== 501);

/** @throws AppError `invalid_config`, which quotes nothing of the URL: it may hold a password. */
export function createEgressProxy(written: string, connectTimeoutMs = proxyConnectTimeoutMs): EgressProxy {
  const proxy = parseEgressProxy(written);
  // Never kept: a tunnel takes its connection over, whatever the answer.
  const agent = proxy.isTls ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  const awaited = new Map<string, number>();
  const closing = new AbortController();

  const fault = (what: string): AppError =>
    new AppError('egress_unavailable', `The egress proxy ${what}. What goes through it is tried again later.`, {
      fields: { proxy: proxy.label },
    });

  function ask({ address, port }: TunnelTarget, signal: AbortSignal): ClientRequest {
    const place = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    const headers = { host: place, ...(proxy.authorization && { 'proxy-authorization': proxy.authorization }) };
    const options = { method: 'CONNECT', host: proxy.host, port: proxy.port, path: place, headers, agent, signal };
    return proxy.isTls ? requestHttps(options) : requestHttp(options);
  }

  function count(host: string, by: 1 | -1): void {
    const left = (awaited.get(host) ?? 0) + by;
    if (left === 0) awaited.delete(host);
    else awaited.set(host, left);
  }

  return {
    async open(target, signal) {
      const either = AbortSignal.any([signal, closing.signal]);
      either.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<Socket>();
      let isReached = false;
      const reach = (): void => {
        if (isReached) return;
        isReached = true;
        clearTimeout(timer);
        count(target.host, -1);
      };
      const asking = ask(target, either);
      const timer = setTimeout(
        () => asking.destroy(fault(`did not answer within ${connectTimeoutMs / 1000} s`)),
        connectTimeoutMs,
      );
      count(target.host, 1);
      asking
        .once('socket', (socket) => socket.once(proxy.isTls ? 'secureConnect' : 'connect', reach))
        // Whatever the status: Node takes every answer to CONNECT for this.
        .once('connect', ({ statusCode = 0 }, socket: Socket, head: Buffer) => {
          // Whoever takes it has a listener of its own; until then an error ends it, and nothing else.
          socket.on('error', () => undefined);
          if (statusCode >= 200 && statusCode < 300) {
            if (head.length > 0) socket.unshift(head);
            return resolve(socket);
          }
          socket.destroy();
          reject(explainStatus(statusCode));
        })
        .once('error', (error) => {
          if (closing.signal.aborted || (signal.aborted && isReached)) reject(either.reason as Error);
          else if (signal.aborted) reject(fault('did not answer in time'));
          else if (error instanceof AppError) reject(error);
          else reject(fault(`${isReached ? 'gave no answer' : 'cannot be reached'} (${codeOf(error)})`));
        })
        .end();
      try {
        return await promise;
      } finally {
        reach();
      }
    },
    isAwaited: (host) => awaited.has(host),
    close: () => closing.abort(new AppError('egress_unavailable', 'The service is stopping.')),
  };

  function explainStatus(status: number): AppError {
    if (isAboutTarget(status)) {
      return new AppError('upstream_unreachable', `No connection: the egress proxy answered ${status}.`);
    }
    if (status !== 407) return fault(`answered ${status}`);
    return fault(
      `${proxy.authorization ? 'refuses the user name or the password' : 'wants a user name and a password'} (407)`,
    );
  }
}

function parseEgressProxy(written: string): ProxyAddress {
  const refuse = (why: string): AppError =>
    new AppError('invalid_config', `POPBRIDGE_EGRESS_PROXY cannot be used: ${why}.`);
  const url = URL.parse(written);
  if (url === null || !/^https?:$/.test(url.protocol)) throw refuse('it is no http:// or https:// URL');
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw refuse('something follows its host and port (in a password, / ? # and @ are percent-encoded)');
  }
  const isTls = url.protocol === 'https:';
  const port = url.port === '' ? (isTls ? 443 : 80) : Number(url.port);
  if (port === 0) throw refuse('its port is 0');
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return {
    isTls,
    host,
    port,
    authorization: readLogin(url, refuse),
    label: `${url.protocol}//${url.hostname}:${port}`,
  };
}

/** RFC 7617. */
function readLogin({ username, password }: URL, refuse: (why: string) => AppError): string | null {
  if (username === '' && password === '') return null;
  let login: [user: string, password: string];
  try {
    login = [decodeURIComponent(username), decodeURIComponent(password)];
  } catch {
    throw refuse('the percent-encoding of its user name or password is malformed');
  }
  if (login[0].includes(':')) throw refuse('its user name has a colon, which no proxy can read');
  return `Basic ${Buffer.from(login.join(':')).toString('base64')}`;
}

function codeOf(error: Error): string {
  return ('code' in error && typeof error.code === 'string' ? error.code : error.name).slice(0, 100);
}
