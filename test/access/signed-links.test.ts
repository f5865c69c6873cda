import { createHmac, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSignedLinks } from '../../src/access/signed-links.ts';

const NOW_MS = 1_795_435_200_000;
const PATH = '/v1/messages/msg_1/raw';
const key = (fill: number): Buffer => Buffer.alloc(32, fill);
const linksAt = (nowMs = NOW_MS, keys: [string, Buffer][] = [['k1', key(1)]]) =>
  createSignedLinks(keys, { now: () => nowMs });
const link = { tenant: 'default', path: PATH, expiresAtMs: NOW_MS + 60_000 };
const token = linksAt().sign(link);
const code = (open: () => unknown): string => {
  try {
    open();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'opened';
};

describe('a signed link', () => {
  it('opens its path for its tenant, on any replica that has its key', () => {
    expect(linksAt().open(token, PATH)).toEqual({ tenant: 'default' });
    const keys: [string, Buffer][] = [
      ['k2', key(2)],
      ['k1', key(1)],
    ];
    expect(linksAt(NOW_MS, keys).open(token, PATH)).toEqual({ tenant: 'default' });
    expect(linksAt().open(linksAt().sign({ ...link, tenant: 'other' }), PATH)).toEqual({ tenant: 'other' });
  });

  it('is made with the first key, and is worth nothing once that key is gone or another by its name', () => {
    const made = linksAt(NOW_MS, [
      ['k2', key(2)],
      ['k1', key(1)],
    ]).sign(link);
    expect(made).toMatch(/^v1\.k2\.default\.1795435260\./);
    expect(code(() => linksAt().open(made, PATH))).toBe('unauthorized');
    expect(code(() => linksAt(NOW_MS, [['k2', key(3)]]).open(made, PATH))).toBe('unauthorized');
  });

  it('expires to the second, and says so to who has had it', () => {
    expect(code(() => linksAt(NOW_MS + 59_999).open(token, PATH))).toBe('opened');
    expect(code(() => linksAt(NOW_MS + 60_000).open(token, PATH))).toBe('link_expired');
    expect(code(() => linksAt(NOW_MS + 60_000).open(token, `${PATH}x`))).toBe('unauthorized');
  });

  it('opens no other path, however it is written', () => {
    for (const path of [
      '',
      '/',
      '/v1/messages/msg_1',
      `${PATH}/`,
      `${PATH}?`,
      '/v1/messages/msg_2/raw',
      '/v1/messages/MSG_1/raw',
      '/v1/messages/msg%5F1/raw',
      '/v1/messages/../messages/msg_1/raw',
    ]) {
      expect(code(() => linksAt().open(token, path))).toBe('unauthorized');
    }
  });

  it('is refused with any character changed, taken away or put in', () => {
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.string({ unit: 'binary-ascii', maxLength: 2 }), (at, put) => {
        const changed = token.slice(0, at) + put + token.slice(at + 1);
        fc.pre(changed !== token);
        expect(code(() => linksAt().open(changed, PATH))).toBe('unauthorized');
      }),
    );
    const [version, id, tenant, expiry, mac] = token.split('.') as [string, string, string, string, string];
    const last = mac.charCodeAt(mac.length - 1);
    const spelling = String.fromCharCode(last + 1);
    for (const forged of [
      '',
      token.slice(0, -1) + spelling,
      '.',
      `${token}.`,
      ` ${token}`,
      `${token}\n`,
      token.repeat(100),
      [version, id, tenant, '9999999999', mac].join('.'),
      [version, id, tenant, `0${expiry}`, mac].join('.'),
      [version, id, 'other', expiry, mac].join('.'),
      [version, '__proto__', tenant, expiry, mac].join('.'),
      ['v2', id, tenant, expiry, mac].join('.'),
      [version, id, tenant, expiry, ''].join('.'),
      [version, id, tenant, expiry, mac.slice(0, -1)].join('.'),
      [version, id, tenant, expiry, `${mac}A`].join('.'),
    ]) {
      expect(code(() => linksAt().open(forged, PATH))).toBe('unauthorized');
    }
  });

  it('is not signed with the master key itself, and has this form for all time', () => {
    const signed = JSON.stringify(['v1', 'k1', 'default', '1795435260', 'read', PATH]);
    const macOf = (by: Buffer) => createHmac('sha256', by).update(signed).digest('base64url');
    const derived = Buffer.from(hkdfSync('sha256', key(1), '', 'popbridge signed links', 32));
    expect(token).toBe(`v1.k1.default.1795435260.${macOf(derived)}`);
    expect(token).not.toContain(macOf(key(1)));
  });

  it('cannot be made without a key, or for a tenant that would not fit', () => {
    expect(code(() => createSignedLinks([], { now: () => 0 }))).toBe('invalid_config');
    expect(code(() => linksAt().sign({ ...link, tenant: 'a.b' }))).toBe('internal_error');
    expect(
      linksAt(NOW_MS, [['k'.repeat(64), key(1)]]).open(
        linksAt(NOW_MS, [['k'.repeat(64), key(1)]]).sign({ ...link, tenant: 't'.repeat(64) }),
        PATH,
      ),
    ).toEqual({ tenant: 't'.repeat(64) });
  });
});
