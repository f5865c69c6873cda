/** Settings by an address, from a real name server and a real HTTPS server on loopback. */
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { findSettings, type FindSettingsPorts, type FoundSettings } from '../../src/autoconfig/find-settings.ts';
import { parseEgressAllow } from '../../src/egress/allow-rule.ts';
import { createEgressPolicy } from '../../src/egress/policy.ts';
import { makeCertificates, type Certificates } from '../support/certificates.ts';
import { startDnsServer, type DnsServer, type Zone } from '../support/dns-server.ts';

/** The one that a test certificate is for; `autoconfig.` below it has none. */
const DOMAIN = 'elsewhere.example.com';
const XML =
  '<clientConfig version="1.1"><emailProvider id="x"><incomingServer type="pop3"><hostname>mail.elsewhere.example.com</hostname>' +
  '<port>995</port><socketType>SSL</socketType><authentication>password-cleartext</authentication></incomingServer></emailProvider></clientConfig>';

let certificates: Certificates;
const authorities = getCACertificates('default');
beforeAll(async () => {
  certificates = await makeCertificates();
  setDefaultCACertificates([...authorities, certificates.ca]);
});
afterAll(async () => {
  setDefaultCACertificates(authorities);
  await certificates?.remove();
});

interface World {
  readonly dns: DnsServer;
  readonly requests: readonly string[];
  find(email: string, more?: Partial<FindSettingsPorts>, signal?: AbortSignal): Promise<FoundSettings>;
}

async function startWorld(zone: Zone, onRequest: RequestListener, allow = '127.0.0.0/8:*'): Promise<World> {
  const dns = await startDnsServer(zone);
  onTestFinished(() => dns.close());
  const requests: string[] = [];
  const { cert, key } = certificates.otherName;
  const web = createServer({ cert, key }, (request, response) => {
    requests.push(`${request.headers.host?.split(':')[0]}${request.url}`);
    onRequest(request, response);
  });
  web.on('tlsClientError', () => undefined);
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  onTestFinished(async () => {
    web.closeAllConnections();
    web.close();
    await once(web, 'close');
  });
  const egress = createEgressPolicy({
    allow: parseEgressAllow(allow),
    resolve: async () => [{ address: '127.0.0.1' }],
  });
  const ports: FindSettingsPorts = {
    createDns() {
      const resolver = new Resolver({ timeout: 2_000, tries: 1 });
      resolver.setServers([dns.address]);
      return resolver;
    },
    https: { resolve: egress.resolveWebhook, proxy: null },
    checkPop3: egress.checkPop3,
    httpsPort: (web.address() as AddressInfo).port,
  };
  return {
    dns,
    requests,
    find: (email, more, signal = new AbortController().signal) => findSettings({ ...ports, ...more }, email, signal),
  };
}

const notFound: RequestListener = (_request, response) => void response.writeHead(404).end();
const outcomes = ({ tried }: FoundSettings): string[] => tried.map(({ origin, outcome }) => `${origin} ${outcome}`);

describe('a large provider', () => {
  it('is answered from the table, and nobody is asked', async () => {
    const world = await startWorld({}, notFound);
    const found = await world.find('jo@GMAIL.com');
    expect(found).toMatchObject({
      domain: 'gmail.com',
      pop3: 'offered',
      candidates: [
        {
          origin: 'provider',
          source: { host: 'pop.gmail.com', port: 995, tls: 'implicit', username: 'jo@gmail.com' },
          auth: [{ method: 'oauth2', preset: 'google' }, { method: 'app_password' }],
        },
      ],
    });
    expect((await world.find('jo@free.fr')).candidates[0]?.source.username).toBe('jo');
    expect([...world.dns.asked, ...world.requests]).toEqual([]);
  });

  it('without POP3 says so', async () => {
    const world = await startWorld({}, notFound);
    expect(await world.find('jo@icloud.com')).toMatchObject({
      pop3: 'not_offered',
      candidates: [],
      notes: [expect.stringContaining('no POP3')],
    });
  });

  it('is found by the MX records of a domain of its customers', async () => {
    const zone = { [`MX ${DOMAIN}`]: [{ preference: 1, exchange: 'aspmx.l.google.com' }] };
    const found = await (await startWorld(zone, notFound)).find(`jo@${DOMAIN}`);
    expect(found.candidates).toMatchObject([
      { origin: 'provider', provider: { id: 'google' }, source: { username: `jo@${DOMAIN}` } },
    ]);
  });
});

describe('a domain of its own', () => {
  it('is asked for its document, and the whole address goes to no other host', async () => {
    const world = await startWorld({}, (request, response) =>
      request.url?.startsWith('/.well-known/') ? response.end(XML) : response.writeHead(404).end(),
    );
    const found = await world.find(`jo@${DOMAIN}`);
    expect(found.candidates).toMatchObject([
      {
        origin: 'autoconfig',
        source: { host: `mail.${DOMAIN}`, port: 995, tls: 'implicit', username: `jo@${DOMAIN}` },
      },
    ]);
    // The certificate is not for `autoconfig.`: nothing is told to whoever answers there.
    expect(outcomes(found)).toEqual([
      'autoconfig tls_failed',
      'autoconfig found',
      'provider none',
      'srv none',
      'srv none',
    ]);
    expect(world.requests).toEqual([`${DOMAIN}/.well-known/autoconfig/mail/config-v1.1.xml`]);
    expect(JSON.stringify(found.tried)).not.toContain('jo@');
  });

  it('has SRV records taken by priority and weight, implicit TLS first, and a foreign host flagged', async () => {
    const srv = (priority: number, weight: number, target: string, port: number) => ({
      priority,
      weight,
      target,
      port,
    });
    const zone = {
      [`SRV _pop3s._tcp.${DOMAIN}`]: [
        srv(20, 0, 'last.other.example', 995),
        srv(10, 1, `light.${DOMAIN}`, 995),
        srv(10, 9, `heavy.${DOMAIN}`, 995),
      ],
      [`SRV _pop3._tcp.${DOMAIN}`]: [srv(0, 0, `heavy.${DOMAIN}`, 110)],
    };
    const { candidates } = await (await startWorld(zone, notFound)).find(`jo@${DOMAIN}`);
    expect(candidates.map(({ source }) => [source.host, source.tls])).toEqual([
      [`heavy.${DOMAIN}`, 'implicit'],
      [`light.${DOMAIN}`, 'implicit'],
      ['last.other.example', 'implicit'],
      [`heavy.${DOMAIN}`, 'starttls'],
    ]);
    expect(candidates.map(({ notes }) => notes.some((note) => note.includes('confirm')))).toEqual([
      false,
      false,
      true,
      false,
    ]);
  });

  it('that says by SRV that it has no POP3 is believed', async () => {
    const none = [{ priority: 0, weight: 0, target: '.', port: 0 }];
    const zone = { [`SRV _pop3s._tcp.${DOMAIN}`]: none, [`SRV _pop3._tcp.${DOMAIN}`]: none };
    expect(await (await startWorld(zone, notFound)).find(`jo@${DOMAIN}`)).toMatchObject({
      pop3: 'not_offered',
      candidates: [],
    });
  });

  it('that denies one service, and does not answer for the other, is not taken to have none', async () => {
    const zone: Zone = {
      [`SRV _pop3._tcp.${DOMAIN}`]: [{ priority: 0, weight: 0, target: '.', port: 0 }],
      [`SRV _pop3s._tcp.${DOMAIN}`]: 'silent',
    };
    const world = await startWorld(zone, notFound);
    expect(await world.find(`jo@${DOMAIN}`, { timeoutMs: 700 })).toMatchObject({ pop3: 'unknown', candidates: [] });
  });

  it('loses a server that the egress policy forbids, and the answer says so', async () => {
    const zone = {
      [`SRV _pop3s._tcp.${DOMAIN}`]: [
        { priority: 0, weight: 0, target: '169.254.169.254', port: 995 },
        { priority: 1, weight: 0, target: `mail.${DOMAIN}`, port: 22 },
      ],
    };
    const found = await (await startWorld(zone, notFound, '127.0.0.1')).find(`jo@${DOMAIN}`);
    expect(found).toMatchObject({ pop3: 'unknown', candidates: [] });
    expect(outcomes(found).filter((outcome) => outcome === 'srv blocked')).toHaveLength(2);
    // Neither is its web server reached on a port that is not allowed.
    expect(outcomes(found).slice(0, 2)).toEqual(['autoconfig blocked', 'autoconfig blocked']);
  });

  it.each<[string, RequestListener]>([
    ['redirects elsewhere', (_request, response) => response.writeHead(302, { location: 'https://127.0.0.1/' }).end()],
    [
      'is endless',
      (_request, response) => {
        const more = (): void => {
          while (response.write('<a/>'.repeat(4096)));
          response.once('drain', more);
        };
        response.on('error', () => undefined);
        more();
      },
    ],
    ['is no XML', (_request, response) => response.end('Hello')],
  ])('whose document %s gets a typed answer', async (_what, onRequest) => {
    const world = await startWorld({}, onRequest);
    const found = await world.find(`jo@${DOMAIN}`);
    expect(outcomes(found)[1]).toBe('autoconfig unusable');
    expect(world.requests).toHaveLength(1);
  });

  it('that does not answer costs the budget and no more; what came until then is given out', async () => {
    const zone: Zone = {
      [`MX ${DOMAIN}`]: 'silent',
      [`SRV _pop3._tcp.${DOMAIN}`]: [{ priority: 0, weight: 0, target: `mail.${DOMAIN}`, port: 110 }],
    };
    const world = await startWorld(zone, () => undefined);
    const found = await world.find(`jo@${DOMAIN}`, { timeoutMs: 700 });
    expect(outcomes(found).slice(1, 3)).toEqual(['autoconfig timeout', 'provider timeout']);
    expect(found.candidates).toMatchObject([{ origin: 'srv', source: { port: 110, tls: 'starttls' } }]);
  });

  it('is asked no further when the caller has gone', async () => {
    const caller = new AbortController();
    const world = await startWorld({ [`MX ${DOMAIN}`]: 'silent' }, () => caller.abort());
    await expect(world.find(`jo@${DOMAIN}`, {}, caller.signal)).rejects.toMatchObject({ code: 'cancelled' });
  });
});
