/** What may be asked of an upstream host: for all of them, and for those that POPBRIDGE_HOST_LIMITS names. */
import { domainToASCII } from 'node:url';
import { AppError } from '../errors.ts';
import { canonicalHost } from '../identity.ts';
import { hostConnectionsMax, hostLimitsMax, hostLoginsPerSecondMax } from './limits.ts';

export interface HostLimits {
  /** Connections at once, of all workers together. */
  connections: number;
  loginsPerSecond: number;
}

const ENTRY = /^(?<host>[^=/\s]{1,255})=(?<connections>\d{1,4})\/(?<logins>\d{1,4})$/;

/** What shares slots: a host, however it is spelled. */
export function slotKeyOf(host: string): string {
  const text = canonicalHost(host);
  return text.includes(':') ? domainToASCII(`[${text}]`) || text : text;
}

/**
 * By slot key.
 * @throws AppError `invalid_config`, naming the first bad entry.
 */
export function parseHostLimits(text: string, otherwise: HostLimits): (slotKey: string) => HostLimits {
  const entries = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  if (entries.length > hostLimitsMax) {
    throw new AppError('invalid_config', `POPBRIDGE_HOST_LIMITS has more than ${hostLimitsMax} entries.`);
  }
  const byHost = new Map(entries.map(parseEntry));
  return (slotKey) => byHost.get(slotKey) ?? otherwise;
}

function parseEntry(entry: string): [slotKey: string, limits: HostLimits] {
  const { host = '', connections = '', logins = '' } = ENTRY.exec(entry)?.groups ?? {};
  const limits = { connections: Number(connections), loginsPerSecond: Number(logins) };
  const isWithin = (value: number, max: number): boolean => value >= 1 && value <= max;
  if (!isWithin(limits.connections, hostConnectionsMax) || !isWithin(limits.loginsPerSecond, hostLoginsPerSecondMax)) {
    throw new AppError(
      'invalid_config',
      `POPBRIDGE_HOST_LIMITS: bad entry ${JSON.stringify(entry.slice(0, 100))}. An entry is HOST=CONNECTIONS/LOGINS_PER_SECOND, with ` +
        `1 to ${hostConnectionsMax} connections and 1 to ${hostLoginsPerSecondMax} logins: pop.example.com=20/10.`,
    );
  }
  return [slotKeyOf(host), limits];
}
