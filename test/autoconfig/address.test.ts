import { expect, it } from 'vitest';
import { parseEmailAddress } from '../../src/autoconfig/address.ts';

it('gives the domain in ASCII and in lower case, and leaves what is before the @ as it is', () => {
  expect(parseEmailAddress('Jo+x@Bücher.Example.')).toEqual({
    text: 'Jo+x@xn--bcher-kva.example',
    localPart: 'Jo+x',
    domain: 'xn--bcher-kva.example',
  });
});

it.each([
  '',
  'jo',
  '@example.com',
  'jo@',
  'jo@localhost',
  'jo@127.0.0.1',
  'jo@[::1]',
  'jo@0x7f.1',
  'jo@example.com/path',
  'jo@example.com:25',
  'jo@exa%6dple.com',
  'jo@-a.example',
  'jo@a..example',
  'j o@example.com',
  'jo\r\n@example.com',
  'jo@evil.example@example.com',
  `${'j'.repeat(65)}@example.com`,
  `jo@${'a.'.repeat(126)}example`,
])('refuses %j', (written) => {
  expect(() => parseEmailAddress(written)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
});
