/** Where Redis is, and how it is spoken to: the settings as what connections are made of. */
import { readFile } from 'node:fs/promises';
import { AppError, toError } from '../errors.ts';

/** A `redis://` or `rediss://` URL, or the path of a unix socket. */
export type Address = string;

export type RedisPlace =
  | Address
  | {
      readonly mode: 'single';
      readonly address: Address;
      /** PEM. */
      readonly ca?: string;
    }
  | { readonly mode: 'cluster'; readonly nodes: readonly Host[]; readonly login: Login }
  | {
      readonly mode: 'sentinel';
      readonly sentinels: readonly Host[];
      /** What they call the master. */
      readonly name: string;
      /** At the sentinels. */
      readonly username: string | undefined;
      readonly password: string | undefined;
      readonly login: Login;
    };

export interface Host {
  readonly host: string;
  readonly port: number;
}

/** At the servers that hold the data. */
export interface Login {
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls?: { readonly ca?: string };
}

/** As `config/redis-settings.ts` has them, checked. */
export interface PlaceSettings {
  readonly mode: 'single' | 'cluster' | 'sentinel';
  readonly urls: readonly string[];
  readonly sentinel:
    | { readonly name: string; readonly username: string | undefined; readonly password: string | undefined }
    | undefined;
  readonly caFile: string | undefined;
}

const DEFAULT_PORTS = { cluster: 6379, sentinel: 26_379 } as const;

/** @throws AppError `invalid_config` where the file of certificates cannot be read, or is none. */
export async function readPlace({ mode, urls, sentinel, caFile }: PlaceSettings): Promise<RedisPlace> {
  const ca = caFile === undefined ? {} : { ca: await readCertificates(caFile) };
  const [first = ''] = urls;
  if (mode === 'single') return { mode, address: first, ...ca };
  const { protocol, username, password, pathname } = new URL(first);
  const login: Login = {
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    ...(mode === 'sentinel' && { db: Number(pathname.slice(1)) }),
    ...(protocol === 'rediss:' && { tls: ca }),
  };
  const hosts = urls.map((url) => readHost(url, DEFAULT_PORTS[mode]));
  if (mode === 'cluster') return { mode, nodes: hosts, login };
  return { mode, sentinels: hosts, name: '', username: undefined, password: undefined, ...sentinel, login };
}

/** For people to read: without user and password. */
export function describePlace(place: RedisPlace): string {
  if (typeof place === 'string') return /^rediss?:\/\//.test(place) ? new URL(place).host : place;
  if (place.mode === 'single') return describePlace(place.address);
  const hosts = place.mode === 'cluster' ? place.nodes : place.sentinels;
  const list = hosts.map(({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)).join(', ');
  return place.mode === 'cluster' ? list : `${place.name} of the sentinels ${list}`;
}

export function hasTls(place: RedisPlace): boolean {
  if (typeof place === 'string') return place.startsWith('rediss://');
  return place.mode === 'single' ? hasTls(place.address) : place.login.tls !== undefined;
}

function readHost(url: string, defaultPort: number): Host {
  const { hostname, port } = new URL(url);
  // Brackets are of the URL, not of the address.
  return { host: hostname.replaceAll(/^\[|\]$/g, ''), port: port === '' ? defaultPort : Number(port) };
}

async function readCertificates(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    const why = toError(error).message;
    throw new AppError('invalid_config', `POPBRIDGE_REDIS_CA_FILE cannot be read: ${why}`, { cause: error });
  });
  if (!text.includes('-----BEGIN CERTIFICATE-----')) {
    throw new AppError('invalid_config', `POPBRIDGE_REDIS_CA_FILE holds no PEM certificate: ${path}`);
  }
  return text;
}
