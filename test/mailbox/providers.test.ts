import { expect, it } from 'vitest';
import { PROVIDERS } from '../../src/mailbox/provider-table.ts';
import {
  providerLoginGapMs,
  providerOfDomain,
  providerOfExchange,
  providerOfHost,
} from '../../src/mailbox/providers.ts';

const NAME = /^(?:[a-z\d](?:[a-z\d-]*[a-z\d])?\.)+[a-z]{2,}$/;

it('names hosts and domains in the one spelling that they are looked up by', () => {
  for (const { domains, mx, pop3 } of PROVIDERS) {
    for (const name of [...domains.map((domain) => domain.replace(/^\*\./, '')), ...mx]) expect(name).toMatch(NAME);
    if (pop3) expect(pop3.host).toMatch(NAME);
  }
});

it('has no id, domain or mail exchange twice', () => {
  for (const list of [
    PROVIDERS.map(({ id }) => id),
    PROVIDERS.flatMap(({ domains }) => domains),
    PROVIDERS.flatMap(({ mx }) => mx),
  ]) {
    expect(list.filter((name, index) => list.indexOf(name) !== index)).toEqual([]);
  }
});

it('says for each how to log in, or why that cannot be', () => {
  for (const { id, pop3, auth, notes, domains, mx } of PROVIDERS) {
    expect([id, pop3 === null ? notes.length : auth.length]).not.toEqual([id, 0]);
    expect([id, domains.length + mx.length]).not.toEqual([id, 0]);
  }
});

it('finds a provider by the domain of an address, whole labels only', () => {
  expect(providerOfDomain('gmail.com')?.id).toBe('google');
  expect(providerOfDomain('contoso.onmicrosoft.com')?.id).toBe('microsoft365');
  expect(providerOfDomain('notgmail.com')).toBeNull();
  expect(providerOfDomain('mail.gmail.com')).toBeNull();
  expect(providerOfDomain('icloud.com')?.pop3).toBeNull();
});

it('finds a provider by the exchange of a domain, the longest ending first', () => {
  expect(providerOfExchange('ASPMX.L.Google.com.')?.id).toBe('google');
  expect(providerOfExchange('contoso-com.mail.protection.outlook.com')?.id).toBe('microsoft365');
  expect(providerOfExchange('eur.olc.protection.outlook.com')?.id).toBe('outlook');
  expect(providerOfExchange('notgoogle.com')).toBeNull();
});

it('knows what a host is known to want between two logins, however it is spelled', () => {
  expect(providerOfHost('POP3.web.de.')?.id).toBe('web.de');
  expect(providerLoginGapMs('POP3.web.de.')).toBe(720_000);
  expect(providerLoginGapMs('pop.example.com')).toBe(0);
});
