import { describe, expect, it } from 'vitest';
import { createAccess } from '../../src/access/access.ts';
import { AppError } from '../../src/errors.ts';

const KEY = 'pbk_0123456789abcdef';
const access = createAccess(KEY);

function refusal(authorization: string | undefined, to = access): AppError {
  try {
    to.authenticate(authorization);
  } catch (error) {
    if (error instanceof AppError) return error;
  }
  throw new Error(`Not refused: ${authorization}`);
}

describe('access', () => {
  it.each([`Bearer ${KEY}`, `bearer ${KEY}`, `BEARER   ${KEY}  `])(
    'gives the tenant of the key: the scheme may be in any case (%s)',
    (authorization) => {
      expect(access.authenticate(authorization)).toEqual({ tenant: 'default' });
    },
  );

  it.each([
    `Bearer ${KEY}x`,
    `Bearer ${KEY.slice(0, -1)}`,
    `Bearer ${KEY.toUpperCase()}`,
    `Bearer ${KEY},${KEY}`,
    `Bearer "${KEY}"`,
    `Bearer ${'k'.repeat(30_000)}`,
    'Bearer \u00e4\u00f6\u00fc',
    'Bearer undefined',
    'Bearer __proto__',
  ])('refuses another key, whatever its length or characters (%.40s)', (authorization) => {
    const { code, message } = refusal(authorization);
    expect([code, message]).toEqual(['unauthorized', 'The API key is not known here.']);
  });

  it.each([
    undefined,
    '',
    ' ',
    'Bearer',
    'Bearer ',
    KEY,
    `Basic ${KEY}`,
    `Bearer\t${KEY}`,
    `Bearer ${KEY} ${KEY}`,
    `Bearer ${KEY}\n`,
    `xBearer ${KEY}`,
    `Basic x, Bearer ${KEY}`,
    `Bearer ${' '.repeat(30_000)}`,
  ])('takes what has not the form for no key at all (%.40s)', (authorization) => {
    const { code, message } = refusal(authorization);
    expect(code).toBe('unauthorized');
    expect(message).toContain('has no API key');
  });

  it('never repeats a key, neither the right one nor what was sent', () => {
    const { message, stack, fields } = refusal(`Bearer ${KEY}-almost`);
    expect(`${message}${stack}${JSON.stringify(fields)}`).not.toContain(KEY);
  });

  it('lets nobody in where the key is empty', () => {
    const closed = createAccess('');
    for (const authorization of ['Bearer', 'Bearer ', 'Bearer x', undefined]) {
      expect(refusal(authorization, closed).code).toBe('unauthorized');
    }
  });
});
