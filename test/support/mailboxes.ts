/** Stored mailboxes of a service under test: made, fetched and looked at over its API. */
import { expect, onTestFinished } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { startFakePop3, type FakePop3, type FakePop3Options } from './fake-pop3.ts';
import type { FetchBody, Service } from './service.ts';

export type MailboxBody = components['schemas']['Mailbox'];
export type LedgerPage = components['schemas']['LedgerPage'];

export interface MailboxClient {
  /** Each is another user's: its id follows from that. */
  store(server: FakePop3, more?: object, source?: object): Promise<MailboxBody>;
  /** Resolves with a fetch that has ended. */
  fetch(mailbox: MailboxBody): Promise<FetchBody>;
  ledger(mailbox: MailboxBody, query?: string): Promise<LedgerPage['items']>;
  look(mailbox: MailboxBody): Promise<MailboxBody>;
  subjects(fetch: FetchBody): Promise<(string | null)[]>;
}

/** @param service is asked for each time: a test may have started another. */
export function createMailboxClient(service: () => Service): MailboxClient {
  let count = 0;
  return {
    async store({ port }, more = {}, source = {}) {
      count += 1;
      const place = { host: '127.0.0.1', port, tls: 'none', username: `user-${count}`, password: 'p', ...source };
      const answer = await service().api('POST', '/v1/mailboxes', { body: { source: place, ...more } });
      expect(answer.status, answer.text).toBe(201);
      return answer.json() as MailboxBody;
    },
    async fetch({ id }) {
      const answer = await service().api('POST', `/v1/mailboxes/${id}/fetches`, { headers: { prefer: 'wait=30' } });
      expect(answer.status, answer.text).toBe(200);
      return answer.json() as FetchBody;
    },
    async ledger({ id }, query = '') {
      const answer = await service().api('GET', `/v1/mailboxes/${id}/ledger${query}`);
      expect(answer.status, answer.text).toBe(200);
      return (answer.json() as LedgerPage).items;
    },
    async look({ id }) {
      return (await service().api('GET', `/v1/mailboxes/${id}`)).json() as MailboxBody;
    },
    async subjects({ id }) {
      return (await service().listMessages(id)).map(({ subject }) => subject);
    },
  };
}

/** Ends with the test. */
export async function serveMails(options: FakePop3Options): Promise<FakePop3> {
  const server = await startFakePop3(options);
  onTestFinished(() => server.close());
  return server;
}
