import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { createLogger } from '../../src/telemetry/logger.ts';

const SECRET = 'hunter2';

function capture(level = 'trace') {
  let text = '';
  const sink = new Writable({
    write(chunk: Buffer, _, done) {
      text += chunk.toString();
      done();
    },
  });
  return { logger: createLogger(level, sink), read: () => text };
}

it('writes one JSON object a line, with the level by name and the time as ISO 8601', () => {
  const { logger, read } = capture('info');
  logger.info({ fetchId: 'fch_1', text: 'two\nlines\u2028' }, 'Something happened');
  logger.debug('not at this level');
  const [line, rest] = read().split('\n');
  expect(rest).toBe('');
  expect(JSON.parse(line!)).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
    fetchId: 'fch_1',
    text: 'two\nlines\u2028',
    msg: 'Something happened',
  });
});

it.each([
  'password',
  'secret',
  'authorization',
  'key',
  'masterKeys',
  'operatorKey',
  'accessToken',
  'refreshToken',
  'clientSecret',
])('redacts %s, down to two levels deep', (name) => {
  const { logger, read } = capture();
  logger.error({ [name]: SECRET, a: { [name]: SECRET, b: { [name]: [SECRET] } } }, 'Something happened');
  expect(read()).not.toContain(SECRET);
  expect(read().match(/\[redacted\]/g)).toHaveLength(3);
});

it('redacts what a Redis error says of the command that failed', () => {
  const { logger, read } = capture();
  const error = Object.assign(new Error('OOM command not allowed'), { command: { name: 'hset', args: ['k', SECRET] } });
  logger.error({ err: error }, 'Request failed');
  expect(read()).toContain('OOM command not allowed');
  expect(read()).not.toContain(SECRET);
  // Of a transaction, and of a node of a Cluster.
  const whole = Object.assign(new Error('EXECABORT'), { previousErrors: [error], lastNodeError: error });
  logger.error({ err: whole }, 'Request failed');
  expect(read()).toContain('EXECABORT');
  expect(read()).not.toContain(SECRET);
});
