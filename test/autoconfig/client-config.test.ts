import { describe, expect, it } from 'vitest';
import { parseEmailAddress } from '../../src/autoconfig/address.ts';
import { DocumentError, readClientConfig } from '../../src/autoconfig/client-config.ts';
import { depthMax, documentBytesMax, elementsMax, serversMax } from '../../src/autoconfig/limits.ts';

const ADDRESS = parseEmailAddress('j$&o@example.com');
const read = (text: string) => readClientConfig(Buffer.from(text), ADDRESS);
const document = (servers: string): string =>
  `<?xml version="1.0"?><clientConfig version="1.1"><emailProvider id="x">${servers}</emailProvider></clientConfig>`;
const server = (fields: Record<string, string>, type = 'pop3'): string => {
  const all = { hostname: 'pop.example.com', port: '995', socketType: 'SSL', ...fields };
  const inner = Object.entries(all).map(([name, value]) => `<${name}>${value}</${name}>`);
  return `<incomingServer type="${type}">${inner.join('')}</incomingServer>`;
};

it('reads POP3 servers in their order, with placeholders filled in, and nothing of IMAP and SMTP', () => {
  const found = read(
    document(
      server({}, 'imap') +
        server({ hostname: 'pop.%EMAILDOMAIN%', username: '%EMAILLOCALPART%', authentication: 'password-encrypted' }) +
        '<outgoingServer type="smtp"><hostname>smtp.example.com</hostname></outgoingServer>' +
        server({ port: ' 110 ', socketType: 'STARTTLS', username: '<![CDATA[%EMAILADDRESS%]]>' }) +
        server({ authentication: 'OAuth2</authentication><authentication>password-cleartext' }),
    ),
  );
  expect(found).toEqual([
    { host: 'pop.example.com', port: 995, tls: 'implicit', username: 'j$&o', methods: ['password'] },
    { host: 'pop.example.com', port: 110, tls: 'starttls', username: 'j$&o@example.com', methods: ['password'] },
    {
      host: 'pop.example.com',
      port: 995,
      tls: 'implicit',
      username: 'j$&o@example.com',
      methods: ['oauth2', 'password'],
    },
  ]);
});

it.each([
  { socketType: 'plain' },
  { socketType: 'toString' },
  { port: '0' },
  { port: '65536' },
  { port: '1e3' },
  { hostname: '' },
  { authentication: 'constructor' },
  { username: 'a\nb' },
  { username: 'u'.repeat(201) },
])('leaves out a server with %j', (fields) => {
  expect(read(document(server(fields)))).toEqual([]);
});

describe('a hostile document', () => {
  const laughs = Array.from({ length: 9 }, (_, i) => `<!ENTITY l${i + 1} "${`&l${i};`.repeat(10)}">`).join('');
  it.each([
    ['billion laughs', `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">${laughs}]>${document('&l9;')}`],
    ['an outside entity', `<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>${document('&f;')}`],
    ['an unknown entity', document(server({ hostname: '&f;' }))],
    ['too large', document(' '.repeat(documentBytesMax))],
    ['too many elements', document('<a/>'.repeat(elementsMax))],
    ['too deep', document('<a>'.repeat(depthMax) + '</a>'.repeat(depthMax))],
    ['cut off', document(server({})).slice(0, -20)],
    ['garbage', '\u0000\ufffd<<<>'],
    ['empty', ''],
    ['a web page', '<!doctype html><html><body>Not found</body></html>'],
    ['other XML', '<Autodiscover/>'],
  ])('is refused: %s', (_name, text) => {
    expect(() => read(text)).toThrow(DocumentError);
  });

  it('gives no more servers than its bound', () => {
    expect(read(document(server({}).repeat(serversMax + 1)))).toHaveLength(serversMax);
  });
});
