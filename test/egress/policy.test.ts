import { describe, expect, test } from 'vitest';
import { parseEgressAllow } from '../../src/egress/allow-rule.ts';
import { addressesMax, urlCharsMax } from '../../src/egress/limits.ts';
import { createEgressPolicy } from '../../src/egress/policy.ts';
import { blocked, policyWith, unreachable } from './fake-dns.ts';

test.for(['metadata', 'metadata.google.internal', 'METADATA.Google.Internal.', 'metadata.goog', 'instance-data'])(
  'metadata name %s is blocked even where it is allowed and resolves to a public address',
  async (host) => {
    const policy = policyWith('metadata.google.internal:*,0.0.0.0/0:*', { [host]: ['8.8.8.8'] });
    expect(() => policy.checkPop3({ host, port: 110 })).toThrow(blocked);
    expect(() => policy.checkWebhookUrl(`https://${host}/`)).toThrow(blocked);
    await expect(policy.resolveWebhook(host, 443)).rejects.toThrow(blocked);
  },
);

describe('other spellings', () => {
  const policy = policyWith('');

  test.for([
    '127.0.0.1.',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '017700000001',
    '127.0.1',
    '0',
    '0x',
    '１２７.0.0.1',
    '①②⑦.0.0.1',
    'localhost',
    'LOCALHOST',
    'localhost.',
    'app.localhost',
    'ⓛocalhost',
    '::1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '0:0:0:0:0:0:0:1',
    'fe80::1%eth0',
    '[fe80::1%25eth0]',
    '8.8.8.8%eth0',
    '2606:4700:4700::1111%1',
    '[8.8.8.8]',
    '',
    '.',
    '..',
    'a..example',
    '.example',
    'mail example',
    'mail.example:110',
    'user@mail.example',
    'mail.example/',
    'mail.example\\',
    'mail.example?',
    'mail.example#',
    'mail%2eexample',
    'mail.example\u0000',
    'mail.example\r\nQUIT',
    '-mail.example',
    '*.example',
    '999.1.1.1',
    '1.2.3.4.5',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(127)}example`,
  ])('POP3 host %j is refused, before and at connect time', async (host) => {
    expect(() => policy.checkPop3({ host, port: 995 })).toThrow(blocked);
    await expect(policy.resolvePop3(host, 995)).rejects.toThrow(blocked);
    await expect(policy.resolveWebhook(host, 443)).rejects.toThrow(blocked);
  });

  test.for([
    'https://127.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://0177.0.0.01/',
    'https://%31%32%37.0.0.1/',
    'https://127.0.0.1./',
    'https://１２７.0.0.1/',
    'https://[::ffff:7f00:1]/',
    'https://[0:0:0:0:0:ffff:127.0.0.1]/',
    'https://[fe80::1%25eth0]/',
    'https://localhost/',
    'https://l%6Fcalhost/',
    'https://0/',
    'https://user@example.com/',
    'https://user:secret@example.com/',
    'https://@example.com/',
    'https://example.com@127.0.0.1/',
    'https://127.0.0.1#@example.com/',
    'https://example.com/#fragment',
    'https://example.com/#',
    'https:example.com',
    'https:/example.com',
    'https:///example.com',
    'https:\\\\example.com',
    'https://example.com\\@127.0.0.1/',
    'https://exa\nmple.com/',
    ' https://example.com/',
    'https://example.com/a b',
    'https://example.com:80/',
    'https://example.com:99999/',
    'https://example.com:0/',
    'http://example.com/',
    'http://example.com:443/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'data:text/html,x',
    'example.com',
    '',
  ])('webhook URL %j is refused', (url) => {
    expect(() => policy.checkWebhookUrl(url)).toThrow(blocked);
  });

  test.for([
    ['https://example.com/hook?token=1', 'https://example.com/hook?token=1'],
    ['HTTPS://EXAMPLE.com:8443', 'https://example.com:8443/'],
    ['https://bücher.example/', 'https://xn--bcher-kva.example/'],
    ['https://example.com./hook', 'https://example.com./hook'],
    ['https://134744072/', 'https://8.8.8.8/'],
  ] as const)('webhook URL %s is allowed', ([url, called]) => {
    expect(policy.checkWebhookUrl(url).href).toBe(called);
  });

  test('a token endpoint is held to the same, and called by its name', () => {
    expect(policy.checkTokenEndpoint('https://login.example.com/token').href).toBe('https://login.example.com/token');
    for (const url of ['http://login.example.com/token', 'https://127.0.0.1/token', 'https://a:b@example.com/token']) {
      expect(() => policy.checkTokenEndpoint(url)).toThrow(blocked);
    }
    expect(() => policy.checkTokenEndpoint('https://a:b@example.com/token')).toThrow('The token endpoint is not');
  });

  test('webhook URLs are bounded', () => {
    const longest = 'https://example.com/'.padEnd(urlCharsMax, 'a');
    expect(() => policy.checkWebhookUrl(longest)).not.toThrow();
    expect(() => policy.checkWebhookUrl(`${longest}a`)).toThrow(blocked);
  });

  test('names are resolved in lower-case ASCII, without the final dot', async () => {
    const names = policyWith('', { 'xn--bcher-kva.example': ['8.8.8.8'] });
    expect(await names.resolvePop3('BÜCHER.example.', 995)).toEqual([{ address: '8.8.8.8', family: 4 }]);
  });

  test('a refused URL is not repeated, because it may hold a password', () => {
    expect(() => policy.checkWebhookUrl('https://user:hunter2@example.com/')).not.toThrow('hunter2');
  });
});

describe('an allow-list', () => {
  test.for([
    ['127.0.0.0/8:*', '127.0.0.1', 40_110],
    ['127.0.0.0/8:*', '::ffff:127.0.0.1', 40_110],
    ['127.0.0.0/8:*', 'localhost', 40_110],
    ['[::1]:*', 'localhost', 110],
    ['10.0.0.0/8', '10.0.0.1', 110],
    ['10.0.0.0/8', '11.0.0.1', 995],
    ['[fd00::]/8:110', 'fd12::1', 110],
    ['8.8.8.8:2110', '8.8.8.8', 2110],
    ['10.0.0.1:2000-3000', '10.0.0.1', 2500],
  ] as const)('of %s lets %s port %d through', async ([allow, host, port]) => {
    const policy = policyWith(allow);
    policy.checkPop3({ host, port });
    expect(await policy.resolvePop3(host, port)).not.toHaveLength(0);
  });

  test.for([
    ['127.0.0.0/8:*', '::1', 110],
    ['10.0.0.0/8', '10.0.0.1', 2110],
    ['10.0.0.0/8:*', '64:ff9b::10.0.0.1', 110],
    ['10.0.0.5', '10.0.0.6', 110],
    ['[fd00::]/8:110', 'fd12::1', 995],
    ['8.8.8.8:2110', '8.8.4.4', 2110],
    ['10.0.0.1:2000-3000', '10.0.0.1', 1999],
    ['10.0.0.1:2000-3000', '10.0.0.1', 3001],
  ] as const)('of %s does not let %s port %d through', async ([allow, host, port]) => {
    const policy = policyWith(allow);
    expect(() => policy.checkPop3({ host, port })).toThrow(blocked);
    await expect(policy.resolvePop3(host, port)).rejects.toThrow(blocked);
  });

  const names = { 'mail.internal': ['10.0.0.1'], internal: ['10.0.0.1'], 'shop.example': ['8.8.8.8'] };

  test('by name lets that name alone resolve to private addresses, on its ports alone', async () => {
    const policy = policyWith('Mail.Internal:110', { ...names, 'other.internal': ['10.0.0.1'] });
    expect(await policy.resolvePop3('mail.INTERNAL.', 110)).toEqual([{ address: '10.0.0.1', family: 4 }]);
    await expect(policy.resolvePop3('mail.internal', 995)).rejects.toThrow(blocked);
    await expect(policy.resolvePop3('other.internal', 110)).rejects.toThrow(blocked);
    await expect(policy.resolvePop3('10.0.0.1', 110)).rejects.toThrow(blocked);
  });

  test('by wildcard covers the names below and not the name itself', async () => {
    const policy = policyWith('*.internal', names);
    expect(await policy.resolvePop3('mail.internal', 110)).toHaveLength(1);
    await expect(policy.resolvePop3('internal', 110)).rejects.toThrow(blocked);
    expect(() => policy.checkPop3({ host: 'evilinternal', port: 2110 })).toThrow(blocked);
  });

  test('by CIDR applies to the resolved address, which is not known before connect time', async () => {
    const policy = policyWith('10.0.0.0/8:2110', names);
    policy.checkPop3({ host: 'mail.internal', port: 2110 });
    policy.checkPop3({ host: 'shop.example', port: 2110 });
    expect(await policy.resolvePop3('mail.internal', 2110)).toHaveLength(1);
    await expect(policy.resolvePop3('shop.example', 2110)).rejects.toThrow(blocked);
  });

  test('is what plain HTTP needs, with the port named', async () => {
    const policy = policyWith('hooks.internal:8080,10.0.0.0/8:9000,mail.internal', names);
    expect(policy.checkWebhookUrl('http://hooks.internal:8080/').host).toBe('hooks.internal:8080');
    policy.checkWebhookUrl('http://10.1.2.3:9000/');
    policy.checkWebhookUrl('http://mail.internal:9000/');
    expect(await policy.resolveWebhook('mail.internal', 9000)).toHaveLength(1);
    for (const url of [
      'http://mail.internal/',
      'http://mail.internal:443/',
      'http://hooks.internal/',
      'http://10.1.2.3/',
    ]) {
      expect(() => policy.checkWebhookUrl(url)).toThrow(blocked);
    }
  });

  test('by CIDR on all ports does not let plain HTTP through to public hosts on the HTTPS ports', () => {
    const policy = policyWith('10.0.0.0/8:*');
    expect(() => policy.checkWebhookUrl('http://shop.example:443/')).toThrow(blocked);
    expect(() => policy.checkWebhookUrl('http://shop.example:8443/')).toThrow(blocked);
    expect(() => policy.checkWebhookUrl('http://10.0.0.1:443/')).not.toThrow();
  });
});

describe('ports', () => {
  test.for([110, 995])('POP3 is allowed on %d by default', (port) => {
    expect(() => policyWith('').checkPop3({ host: 'pop.example.com', port })).not.toThrow();
  });

  test.for([0, 25, 443, 6379, 65_536, -1, 110.5, Number.NaN])('POP3 is not allowed on %d by default', (port) => {
    expect(() => policyWith('').checkPop3({ host: 'pop.example.com', port })).toThrow(blocked);
  });

  test('DNS is not asked about a port that no rule allows', async () => {
    let asked = 0;
    const policy = createEgressPolicy({
      allow: [],
      resolve: async () => {
        asked += 1;
        return [];
      },
    });
    await expect(policy.resolvePop3('pop.example.com', 6379)).rejects.toThrow(blocked);
    expect(asked).toBe(0);
  });
});

describe('connect time', () => {
  test('blocked addresses among the answers are left out, in the order of the resolver', async () => {
    const policy = policyWith('', {
      'mixed.example': ['10.0.0.1', '2606:4700::1', '::ffff:127.0.0.1', 'fe80::1%eth0', '8.8.8.8'],
    });
    expect(await policy.resolvePop3('mixed.example', 995)).toEqual([
      { address: '2606:4700::1', family: 6 },
      { address: '8.8.8.8', family: 4 },
    ]);
  });

  test('IPv4-mapped addresses are pinned as the IPv4 addresses that they are', async () => {
    expect(await policyWith('').resolvePop3('::ffff:8.8.8.8', 995)).toEqual([{ address: '8.8.8.8', family: 4 }]);
  });

  test('a name that rebinds after the check gains nothing: every connection is judged by the answer that it uses', async () => {
    const answers = ['8.8.8.8', '127.0.0.1', '169.254.169.254', '::ffff:127.0.0.1', '8.8.4.4'];
    const policy = createEgressPolicy({ allow: [], resolve: async () => [{ address: answers.shift() ?? '0.0.0.0' }] });
    policy.checkWebhookUrl('https://rebind.example/');
    expect(answers).toHaveLength(5);
    expect(await policy.resolveWebhook('rebind.example', 443)).toEqual([{ address: '8.8.8.8', family: 4 }]);
    await expect(policy.resolveWebhook('rebind.example', 443)).rejects.toThrow(blocked);
    await expect(policy.resolveWebhook('rebind.example', 443)).rejects.toThrow(blocked);
    await expect(policy.resolveWebhook('rebind.example', 443)).rejects.toThrow(blocked);
    expect(await policy.resolveWebhook('rebind.example', 443)).toEqual([{ address: '8.8.4.4', family: 4 }]);
  });

  test('the error names the setting and not what was found inside', async () => {
    const policy = policyWith('', { 'intranet.example': ['10.11.12.13'], 'meta.example': ['169.254.169.254'] });
    const messageOf = async (host: string): Promise<string> =>
      policy.resolvePop3(host, 110).then(
        () => '',
        (error: Error) => error.message.replaceAll(host, 'HOST'),
      );
    const message = await messageOf('intranet.example');
    expect(message).toContain('POPBRIDGE_EGRESS_ALLOW');
    expect(message).not.toContain('10.11.12.13');
    expect(await messageOf('meta.example')).toBe(message);
  });

  test('an unknown host and a temporary DNS failure read differently', async () => {
    const policy = createEgressPolicy({
      allow: [],
      resolve: async (host) => {
        throw Object.assign(new Error(host), { code: host === 'gone.example' ? 'ENOTFOUND' : 'EAI_AGAIN' });
      },
    });
    await expect(policy.resolvePop3('gone.example', 995)).rejects.toThrow(unreachable);
    await expect(policy.resolvePop3('gone.example', 995)).rejects.toThrow('host name gone.example does not exist');
    await expect(policy.resolvePop3('slow.example', 995)).rejects.toThrow(unreachable);
    await expect(policy.resolvePop3('slow.example', 995)).rejects.toThrow('temporary DNS failure');
  });

  test('a name without addresses is unreachable, not blocked', async () => {
    await expect(policyWith('', { 'empty.example': [] }).resolvePop3('empty.example', 995)).rejects.toThrow(
      unreachable,
    );
  });

  test('an aborted signal ends the wait with its own reason', async () => {
    const policy = createEgressPolicy({ allow: [], resolve: () => new Promise(() => {}) });
    const controller = new AbortController();
    const resolved = policy.resolvePop3('pop.example.com', 995, controller.signal);
    const reason = new Error('fetch cancelled');
    controller.abort(reason);
    await expect(resolved).rejects.toBe(reason);
    await expect(policy.resolvePop3('pop.example.com', 995, controller.signal)).rejects.toBe(reason);
  });

  test('answers beyond the bound are not looked at', async () => {
    const many = Array.from({ length: addressesMax + 1 }, (_, index) => `8.8.${index >> 8}.${index & 255}`);
    expect(await policyWith('', { 'many.example': many }).resolvePop3('many.example', 995)).toHaveLength(addressesMax);
  });

  test('the system resolver is used unless another is given', async () => {
    const policy = createEgressPolicy({ allow: parseEgressAllow('127.0.0.0/8:*') });
    expect(await policy.resolvePop3('localhost', 110)).toEqual([{ address: '127.0.0.1', family: 4 }]);
    await expect(policy.resolvePop3('no-such-host.invalid', 995)).rejects.toThrow(unreachable);
  });
});
