/** The main job on a real mail server: mail leaves Dovecot and comes out as JSON, as raw bytes and as signed webhooks. */
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { createContractChecker } from '../support/contract.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { eventually, startService, type FetchRequestBody, type Service } from '../support/service.ts';

const MAILS = sandboxMails().map(({ raw }) => raw);
const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
const PASSWORD = 'a real password';

describe.skipIf(!dovecotAvailable())('popbridge and Dovecot (skipped where dovecot-pop3d is not installed)', () => {
  let dovecot: Dovecot;
  let service: Service;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    const users = Object.fromEntries(
      ['implicit', 'starttls', 'none', 'twice', 'deleted', 'empty'].map((name) => [
        name,
        { password: PASSWORD, mails: name === 'empty' ? [] : MAILS },
      ]),
    );
    dovecot = await startDovecot({ users });
    receiver = await startWebhookReceiver();
    service = await startService();
  });
  afterAll(async () => {
    await service?.close();
    await receiver?.close();
    await dovecot?.close();
  });

  function request(username: string, tls: 'implicit' | 'starttls' | 'none'): FetchRequestBody {
    return {
      source: {
        host: '127.0.0.1',
        port: tls === 'implicit' ? dovecot.tlsPort : dovecot.port,
        tls,
        username,
        password: PASSWORD,
        ...(tls !== 'none' && { ca: dovecot.ca }),
      },
      delete: 'never',
      limits: {},
    };
  }

  it.each(['implicit', 'starttls', 'none'] as const)('gives out every mail whole, with tls %s', async (tls) => {
    const fetch = await service.fetchMail(request(tls, tls));
    expect(fetch).toMatchObject({
      state: 'succeeded',
      error: null,
      deletion: 'none',
      counts: { listed: MAILS.length, retrieved: MAILS.length, skipped: 0, failed: 0, deleted: 0 },
    });
    expect(fetch.bytes.retrieved).toBe(MAILS.reduce((sum, raw) => sum + raw.length, 0));

    const messages = await service.listMessages(fetch.id);
    const raws = await Promise.all(messages.map(({ id }) => service.api('GET', `/v1/messages/${id}/raw`)));
    expect(raws.map(({ bytes }) => bytes.toString('latin1'))).toEqual(MAILS.map((raw) => raw.toString('latin1')));
    expect(messages.map(({ subject }) => subject)).toContain('会議のお知らせ');
    expect(await dovecot.maildir(tls)).toHaveLength(MAILS.length);
  });

  it('gives the same ids when the same mail is fetched again, and delivers it under the same webhook ids', async () => {
    const body = { ...request('twice', 'implicit'), webhook: { url: receiver.url, secret: SECRET } };
    const first = await service.fetchMail(body);
    const second = await service.fetchMail(body);
    const [before, after] = await Promise.all([first, second].map(({ id }) => service.listMessages(id)));
    expect(after?.map(({ id }) => id)).toEqual(before?.map(({ id }) => id));

    const webhooks = await receiver.waitFor(2 * MAILS.length, 10_000);
    const verifier = new Webhook(SECRET);
    const { checkWebhook } = createContractChecker();
    for (const webhook of webhooks) {
      verifier.verify(webhook.body, webhook.headers as Record<string, string>);
      checkWebhook(webhook);
    }
    expect(new Set(webhooks.map(({ headers }) => headers['webhook-id'])).size).toBe(MAILS.length);
    // The receiver has it before that is on record.
    const { webhook } = await eventually(
      async () => (await service.api('GET', `/v1/fetches/${second.id}`)).asFetch(),
      (fetch) => fetch.webhook?.deliveries.pending === 0,
    );
    expect(webhook).toMatchObject({ deliveries: { delivered: MAILS.length, failed: 0 }, lastFailure: null });
  });

  it('deletes upstream what is stored, when asked to, and still has it', async () => {
    const fetch = await service.fetchMail({ ...request('deleted', 'implicit'), delete: 'stored' });
    expect(fetch).toMatchObject({ state: 'succeeded', deletion: 'confirmed', counts: { deleted: MAILS.length } });
    expect(await dovecot.maildir('deleted')).toEqual([]);
    expect(await service.listMessages(fetch.id)).toHaveLength(MAILS.length);

    const again = await service.fetchMail({ ...request('deleted', 'implicit'), delete: 'stored' });
    expect(again.counts).toMatchObject({ listed: 0, retrieved: 0, deleted: 0 });
  });

  it('succeeds on an empty maildrop', async () => {
    const fetch = await service.fetchMail(request('empty', 'implicit'));
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { listed: 0, retrieved: 0 } });
  });

  it('stops at the limits, says which, and leaves the rest on the server', async () => {
    const fetch = await service.fetchMail({
      ...request('none', 'none'),
      limits: { messages: 3 },
    });
    expect(fetch).toMatchObject({
      state: 'succeeded',
      limitReached: 'messages',
      counts: { retrieved: 3, skipped: MAILS.length - 3 },
    });
  });

  it('takes the header section of a message over the size limit, and the others whole', async () => {
    // What is here whole stays so.
    const before = await service.fetchMail(request('none', 'none'));
    const known = (await service.listMessages(before.id)).find(({ size }) => size > 5000);
    await service.api('DELETE', `/v1/messages/${known!.id}`);
    const fetch = await service.fetchMail({
      ...request('none', 'none'),
      limits: { messageBytes: 5000 },
    });
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: MAILS.length - 1, omitted: 1, failed: 0 } });
    const large = (await service.listMessages(fetch.id)).find(({ omitted }) => omitted !== null);
    const whole = MAILS.find((raw) => raw.length > 5000)!;
    expect(large).toMatchObject({ omitted: 'too_large', digest: null, text: null, attachments: [] });
    expect(whole.toString('latin1')).toContain(`Subject: ${large!.subject}`);
    expect((await service.api('GET', `/v1/messages/${large!.id}/raw`)).status).toBe(404);
  });

  it('reports a wrong password as such, without repeating it', async () => {
    const body = request('none', 'none');
    const fetch = await service.fetchMail({ ...body, source: { ...body.source, password: 'not-the-password' } });
    expect(fetch).toMatchObject({
      state: 'failed',
      error: { code: 'upstream_auth_failed', phase: 'login', retryable: false, nextAttemptAt: null },
    });
    expect(JSON.stringify(fetch)).not.toContain('not-the-password');
  });

  it('refuses a certificate that it cannot trust, before the password is sent', async () => {
    const { ca: _ca, ...source } = request('none', 'implicit').source;
    const fetch = await service.fetchMail({ ...request('none', 'implicit'), source });
    expect(fetch).toMatchObject({ state: 'failed', error: { code: 'upstream_tls_failed', phase: 'tls' } });
    expect(fetch.error?.detail).toMatch(/certificate/);
  });
});
