/** The settings that say where Redis is: what they mean together, and where they contradict each other. */
import { resolve } from 'node:path';
import type { Settings } from './settings.ts';

export interface RedisSettings {
  readonly mode: Settings['POPBRIDGE_REDIS_MODE'];
  /** Of the server, of nodes of the cluster, or of sentinels. Alike in all but host and port. */
  readonly urls: readonly string[];
  /** With `sentinel`. */
  readonly sentinel:
    | { readonly name: string; readonly username: string | undefined; readonly password: string | undefined }
    | undefined;
  /** Absolute. */
  readonly caFile: string | undefined;
}

/** @param settings in which `wrongRedis` has found nothing. */
export function toRedis(settings: Settings): RedisSettings | undefined {
  if (settings.REDIS_URL === undefined) return undefined;
  const { POPBRIDGE_REDIS_MODE: mode, POPBRIDGE_REDIS_SENTINEL_NAME: name } = settings;
  return Object.freeze({
    mode,
    urls: split(settings.REDIS_URL),
    sentinel:
      name === undefined
        ? undefined
        : {
            name,
            username: settings.POPBRIDGE_REDIS_SENTINEL_USERNAME,
            password: settings.POPBRIDGE_REDIS_SENTINEL_PASSWORD,
          },
    caFile: settings.POPBRIDGE_REDIS_CA_FILE && resolve(settings.POPBRIDGE_REDIS_CA_FILE),
  });
}

const SENTINEL_SETTINGS = [
  'POPBRIDGE_REDIS_SENTINEL_NAME',
  'POPBRIDGE_REDIS_SENTINEL_USERNAME',
  'POPBRIDGE_REDIS_SENTINEL_PASSWORD',
] as const;

/** One line for each contradiction; beyond what the schema says, so that nothing is refused twice. No value is repeated. */
export function wrongRedis(settings: Readonly<Record<string, unknown>>): string[] {
  const {
    REDIS_URL: url,
    POPBRIDGE_REDIS_MODE: mode,
    POPBRIDGE_REDIS_SENTINEL_NAME: name,
    POPBRIDGE_REDIS_SENTINEL_USERNAME: username,
    POPBRIDGE_REDIS_SENTINEL_PASSWORD: password,
    POPBRIDGE_REDIS_CA_FILE: caFile,
  } = settings;
  const problems: string[] = [];
  const isSentinel = mode === 'sentinel';
  if (isSentinel && name === undefined) {
    problems.push('POPBRIDGE_REDIS_SENTINEL_NAME must be set with POPBRIDGE_REDIS_MODE=sentinel');
  }
  if (isSentinel && username !== undefined && password === undefined) {
    problems.push('POPBRIDGE_REDIS_SENTINEL_USERNAME is set, and POPBRIDGE_REDIS_SENTINEL_PASSWORD is not');
  }
  if (!isSentinel) {
    const lost = SENTINEL_SETTINGS.filter((setting) => settings[setting] !== undefined);
    problems.push(...lost.map((setting) => `${setting} is set, and POPBRIDGE_REDIS_MODE is not sentinel`));
  }
  if (url === undefined) {
    if (isSentinel || mode === 'cluster') problems.push(`REDIS_URL must be set with POPBRIDGE_REDIS_MODE=${mode}`);
    if (caFile !== undefined) problems.push('POPBRIDGE_REDIS_CA_FILE is set, and REDIS_URL is not');
    return problems;
  }
  if (typeof url !== 'string' || !/^rediss?:\/\//.test(url)) return problems;
  return [...problems, ...wrongUrls(split(url), String(mode), caFile !== undefined)];
}

function wrongUrls(written: readonly string[], mode: string, hasCa: boolean): string[] {
  if (!written.every((url) => URL.canParse(url))) {
    return ['REDIS_URL is not a valid URL (special characters in a password must be percent-encoded)'];
  }
  const urls = written.map((url) => new URL(url));
  const problems: string[] = [];
  if (mode === 'single' && urls.length > 1) {
    problems.push('REDIS_URL names several servers: set POPBRIDGE_REDIS_MODE to cluster or sentinel, or name one');
  }
  if (mode !== 'single' && urls.some(({ hostname, search, hash }) => !hostname || search || hash)) {
    problems.push(`REDIS_URL may have no more than scheme, user, password, host, port and database with ${mode}`);
  }
  if (urls.some(({ pathname }) => !/^\/?\d{0,5}$/.test(pathname))) {
    problems.push('REDIS_URL names a database that is no number');
  } else if (mode === 'cluster' && urls.some(({ pathname }) => Number(pathname.slice(1)) !== 0)) {
    problems.push('REDIS_URL names a database, and a Redis Cluster has but one: leave the number out');
  }
  const common = new Set(urls.map((url) => [url.protocol, url.username, url.password, url.pathname].join('\n')));
  if (common.size > 1) problems.push('REDIS_URL must be alike in scheme, user, password and database for all servers');
  if (hasCa && urls.some(({ protocol }) => protocol !== 'rediss:')) {
    problems.push('POPBRIDGE_REDIS_CA_FILE is set, and REDIS_URL is not rediss://');
  }
  return problems;
}

/** A comma in a password is none between URLs. */
function split(urls: string): string[] {
  return urls.split(/\s*,\s*(?=rediss?:\/\/)/).map((url) => url.trim());
}
