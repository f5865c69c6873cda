import { describe, expect, it } from 'vitest';
import { parseCapabilities } from '../../src/pop3/capabilities.ts';

describe('capabilities', () => {
  it('are typed where an RFC gives them a meaning', () => {
    const said = parseCapabilities([
      'TOP',
      'pipelining',
      'SASL plain SCRAM-SHA-256',
      'RESP-CODES',
      'EXPIRE 60 USER',
      'LOGIN-DELAY 900',
      'UTF8 USER',
      'LANG',
      'IMPLEMENTATION Shlemazle-Plotz-v302  of old',
    ]);
    expect(said.has('top')).toBe(true);
    expect(said).toMatchObject({
      pipelining: true,
      sasl: ['PLAIN', 'SCRAM-SHA-256'],
      responseCodes: true,
      expire: { days: 60, isPerUser: true },
      loginDelay: { seconds: 900, isPerUser: false },
      utf8: { user: true },
      lang: true,
      implementation: 'Shlemazle-Plotz-v302 of old',
    });
  });

  it('that are not there are null or false', () => {
    expect(parseCapabilities([])).toMatchObject({
      pipelining: false,
      sasl: [],
      responseCodes: false,
      expire: null,
      loginDelay: null,
      utf8: null,
      lang: false,
      implementation: null,
    });
  });

  it.each([
    ['EXPIRE NEVER', { days: Number.POSITIVE_INFINITY, isPerUser: false }],
    ['EXPIRENEVER', { days: Number.POSITIVE_INFINITY, isPerUser: false }],
    ['EXPIRE30 USER', { days: 30, isPerUser: true }],
    ['EXPIRE 0', { days: 0, isPerUser: false }],
    ['EXPIRE soon', null],
    ['EXPIRE', null],
  ])('%j keeps mail for %j', (line, expire) => {
    expect(parseCapabilities([line]).expire).toEqual(expire);
  });

  it.each([
    ['LOGIN-DELAY 10 USER', { seconds: 10, isPerUser: true }],
    ['LOGIN-DELAY10', { seconds: 10, isPerUser: false }],
    ['LOGIN-DELAY -1', null],
    ['LOGIN-DELAY 9999999999', null],
  ])('%j wants a pause of %j', (line, loginDelay) => {
    expect(parseCapabilities([line]).loginDelay).toEqual(loginDelay);
  });

  it('AUTH-RESP-CODE means response codes, too', () => {
    expect(parseCapabilities(['AUTH-RESP-CODE']).responseCodes).toBe(true);
  });
});
