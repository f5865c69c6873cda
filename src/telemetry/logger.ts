/** The logger: JSON lines on standard output. Redaction is a second wall; no caller passes a secret in. */
import { pino, type DestinationStream, type Logger } from 'pino';

const SECRETS = [
  'password',
  'secret',
  'authorization',
  'key',
  'masterKeys',
  'operatorKey',
  'accessToken',
  'refreshToken',
  'clientSecret',
];
/** A Redis error carries its command, and that whatever was to be written. */
const COMMANDS = ['err.command', 'err.*.command', 'err.*[*].command'].map((path) => `${path}.args`);

export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: {
      paths: [...SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), ...COMMANDS],
      censor: '[redacted]',
    },
  };
  return destination ? pino(options, destination) : pino(options);
}
