import { describe, expect, it } from 'vitest';
import { apopCommand, readApopChallenge } from '../../../src/pop3/sasl/index.ts';
import { apopChallengeBytesMax } from '../../../src/pop3/sasl/limits.ts';

describe('a greeting gives an APOP challenge', () => {
  it.each([
    ['Dovecot ready. <1f4d.1.5e6d.ZnFvbw==@mail.example.com>', '<1f4d.1.5e6d.ZnFvbw==@mail.example.com>'],
    ['<1896.697170952@dbc.mtview.ca.us>', '<1896.697170952@dbc.mtview.ca.us>'],
    ['ready <a+b/c_d@[127.0.0.1]> hello', '<a+b/c_d@[127.0.0.1]>'],
    ['ready <1.2@localhost>', '<1.2@localhost>'],
  ])('%j', (greeting, challenge) => {
    expect(readApopChallenge(greeting)).toBe(challenge);
  });
});

describe('a greeting gives none', () => {
  it.each([
    ['without one', 'ready'],
    ['that is empty', ''],
    ['without an @', '<1896.697170952>'],
    ['with two @', '<a@b@c>'],
    ['with two of them', '<a@b> <c@d>'],
    ['with one in another', '<<a@b>>'],
    ['with empty parts', '<@>'],
    ['with dots side by side', '<a..b@c>'],
    ['with a dot at an end', '<a.@b>'],
    ['with a space', '<a b@c>'],
    ['with the bytes of a collision', `<${'\x8b\xc2\xa3'.repeat(20)}@mail.example>`],
    ['with a control character', '<a\x01b@c>'],
    ['with a NUL', '<a@b\0>'],
    ['with another script', '<\u0430@b>'],
    ['with a half of it missing', '<a@b'],
    ['beyond its bound', `<${'a'.repeat(apopChallengeBytesMax - 3)}@b>`],
  ])('%s', (_, greeting) => {
    expect(readApopChallenge(greeting)).toBeNull();
  });

  it('made of what matches almost, at no more cost than its length', () => {
    // Were matching exponential, this would not end.
    expect(readApopChallenge(`<${'a.'.repeat(120)}!>`)).toBeNull();
    expect(readApopChallenge('<'.repeat(1_000_000))).toBeNull();
  });
});

it.each(['', 'two words', 'tab\tbed', 'line\r\nDELE 1', 'nul\0'])('APOP takes no user name %j', (username) => {
  expect(() => apopCommand({ kind: 'password', username, password: 'p' }, '<a@b>')).toThrow(
    expect.objectContaining({ code: 'upstream_auth_failed' }),
  );
});
