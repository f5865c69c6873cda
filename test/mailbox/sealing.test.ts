import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { AppError } from '../../src/errors.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';

const CONTEXT = ['default', 'fch_1', 'password'];
const OLD = `old:${randomBytes(32).toString('base64')}`;
const NEW = `new:${randomBytes(32).toString('base64')}`;
const unavailable = expect.objectContaining({ code: 'credentials_unavailable' }) as Error;

describe('sealing', () => {
  test.each(['', 'p', 'pässwörd 🔑 with spaces\n', 'x'.repeat(10_000)])('gives back what was sealed: %j', (plain) => {
    const sealer = createSealer(NEW);
    expect(sealer.open(sealer.seal(plain, CONTEXT), CONTEXT)).toBe(plain);
  });

  test('the first key seals, and every key opens: keys can be replaced one after the other', () => {
    const before = createSealer(OLD).seal('secret', CONTEXT);
    const rotating = createSealer(`${NEW}, ${OLD}`);
    expect(rotating.open(before, CONTEXT)).toBe('secret');
    const after = rotating.seal('secret', CONTEXT);
    expect(createSealer(NEW).open(after, CONTEXT)).toBe('secret');
    expect(() => createSealer(OLD).open(after, CONTEXT)).toThrow(unavailable);
  });

  test('the same secret never looks the same twice, and never looks like itself', () => {
    const sealer = createSealer(NEW);
    const sealed = Array.from({ length: 50 }, () => sealer.seal('correct horse', CONTEXT));
    expect(new Set(sealed.map((text) => text.split('.')[2])).size).toBe(50);
    for (const text of sealed) {
      for (const encoding of ['base64url', 'hex', 'utf8'] as const) {
        expect(text).not.toContain(Buffer.from('correct').toString(encoding));
      }
    }
  });

  test.each([
    ['another tenant', ['other', 'fch_1', 'password']],
    ['another fetch', ['default', 'fch_2', 'password']],
    ['another field', ['default', 'fch_1', 'webhook-secret']],
    ['parts that read alike when joined', ['default', 'fch_1password', '']],
    ['no context', []],
  ])('does not open as the secret of %s', (_whose, context) => {
    const sealer = createSealer(NEW);
    const sealed = sealer.seal('secret', CONTEXT);
    expect(() => sealer.open(sealed, context)).toThrow(unavailable);
  });

  test('any changed bit of nonce, tag or text is refused', () => {
    const sealer = createSealer(NEW);
    const [version, id, ...parts] = sealer.seal('secret', CONTEXT).split('.');
    const tampered = parts.flatMap((part, which) => {
      const bytes = Buffer.from(part, 'base64url');
      return Array.from({ length: bytes.length * 8 }, (_, bit) => {
        const changed = Buffer.from(bytes);
        changed[bit >> 3]! ^= 1 << (bit & 7);
        const others = parts.with(which, changed.toString('base64url'));
        return [version, id, ...others].join('.');
      });
    });
    expect(tampered).toHaveLength((12 + 16 + 6) * 8);
    for (const text of tampered) expect(() => sealer.open(text, CONTEXT)).toThrow(unavailable);
  });

  test('a tag that was cut is refused, though AES-GCM would take some lengths', () => {
    const sealer = createSealer(NEW);
    const [version, id, nonce, tag = '', text] = sealer.seal('secret', CONTEXT).split('.');
    for (const bytes of [0, 4, 8, 12, 13, 14, 15]) {
      const cut = Buffer.from(tag, 'base64url').subarray(0, bytes).toString('base64url');
      expect(() => sealer.open([version, id, nonce, cut, text].join('.'), CONTEXT)).toThrow(unavailable);
    }
  });

  test.each(['', 'v1', 'v2.new.a.b.c', 'v1.new', 'v1.new...', 'v1.new.AAAA.BBBB.CCCC', 'not sealed at all'])(
    'text that is no seal is refused: %j',
    (text) => {
      expect(() => createSealer(NEW).open(text, CONTEXT)).toThrow(unavailable);
    },
  );

  test('the same key id with another value than before is credentials_unavailable', () => {
    const sealed = createSealer(NEW).seal('secret', CONTEXT);
    expect(() => createSealer(`new:${randomBytes(32).toString('base64')}`).open(sealed, CONTEXT)).toThrow(unavailable);
  });
});

describe('POPBRIDGE_MASTER_KEYS', () => {
  const SHORT = randomBytes(31).toString('base64');
  const GOOD = randomBytes(32).toString('base64');

  test.each([
    ['nothing', '', 'entry 1'],
    ['a key without an id', GOOD, 'entry 1'],
    ['a key that is too short', `k1:${SHORT}`, 'entry 1'],
    ['a key that is too long', `k1:${randomBytes(33).toString('base64')}`, 'entry 1'],
    ['an id that the sealed form cannot hold', `k.1:${GOOD}`, 'entry 1'],
    ['a bad second key', `k1:${GOOD},k2:${SHORT}`, 'entry 2'],
    ['a comma at the end', `k1:${GOOD},`, 'entry 2'],
    ['two keys by one name', `k1:${GOOD},k1:${randomBytes(32).toString('base64')}`, 'two keys alike'],
  ])('%s is refused by name, and no key is repeated in the error', (_what, keys, place) => {
    let thrown: AppError | undefined;
    try {
      createSealer(keys);
    } catch (error) {
      thrown = error as AppError;
    }
    expect(thrown).toMatchObject({ code: 'invalid_config' });
    expect(thrown?.message).toContain('POPBRIDGE_MASTER_KEYS');
    expect(thrown?.message).toContain(place);
    const told = `${thrown?.message} ${JSON.stringify(thrown)} ${thrown?.stack}`;
    for (const key of [GOOD, SHORT, keys]) if (key !== '') expect(told).not.toContain(key.slice(0, 12));
  });

  test('white space around entries and base64 without padding are taken', () => {
    const sealer = createSealer(` k1:${GOOD.replace(/=+$/, '')} , k2:${GOOD} `);
    expect(sealer.open(sealer.seal('x', []), [])).toBe('x');
  });
});
