import { describe, expect, test } from 'vitest';
import type { AppError } from '../../src/errors.ts';
import { checkExtraHeaders } from '../../src/webhook/extra-headers.ts';

describe('extra headers of a webhook', () => {
  test.each([
    ['none', {}],
    ['a token', { Authorization: 'Bearer abc.def-1' }],
    ['an empty value', { 'x-empty': '' }],
    ['several', { 'x-a': '1', 'x-b': '2', "!#$%&'*+-.^_`|~": 'all that RFC 9110 allows' }],
  ])('%s: taken', (_what, headers) => {
    expect(() => checkExtraHeaders(headers)).not.toThrow();
  });

  test.each([
    'Connection',
    'keep-alive',
    'TE',
    'Trailer',
    'Transfer-Encoding',
    'Upgrade',
    'Proxy-Authorization',
    'proxy-x',
    'Host',
    'Content-Length',
    'content-type',
    'Content-Encoding',
    'Expect',
    'User-Agent',
    'Date',
    'webhook-id',
    'Webhook-Signature',
    'webhook-anything',
    'HTTP2-Settings',
    'Accept-Encoding',
  ])('%s: refused, as popbridge or the connection owns it', (name) => {
    expect(() => checkExtraHeaders({ [name]: 'x' })).toThrow('cannot be set');
  });

  test.each(['', 'a b', 'a:b', 'ä', 'a\r\nb', 'x'.repeat(65), 'a\0', '(a)'])('the name %j: refused', (name) => {
    expect(() => checkExtraHeaders({ [name]: 'x' })).toThrow('is not the name');
  });

  test.each(['a\r\nx: y', 'a\nb', 'a\rb', 'a\0b', '\tx', ' x', 'x ', 'ä', '\x7f'])('the value %j: refused', (value) => {
    const error = (() => {
      try {
        return checkExtraHeaders({ 'x-a': value });
      } catch (thrown) {
        return thrown as AppError;
      }
    })();
    expect(error).toMatchObject({
      code: 'invalid_request',
      fields: { errors: [{ in: 'body', pointer: '/headers/x-a' }] },
    });
  });

  test('one name in two spellings: refused', () => {
    expect(() => checkExtraHeaders({ 'X-A': '1', 'x-a': '2' })).toThrow('twice');
  });
});
