/** One trace from the caller of the API to the receiver of the webhook, across an API, a queue and a worker, as a collector gets it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { startFakePop3, type FakePop3 } from '../support/fake-pop3.ts';
import { startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from '../support/otlp-receiver.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { startService, type Service } from '../support/service.ts';

const planted = 'planted7q3x';
const callerTrace = '4bf92f3577b34da6a3ce929d0e0e4736';
const callerSpan = '00f067aa0ba902b7';

let redis: TestRedis;
let collector: OtlpReceiver;
let api: Service;
let worker: Service;
let pop3: FakePop3;
let receiver: WebhookReceiver;

beforeAll(async () => {
  redis = await startRedis();
  collector = await startOtlpReceiver();
  receiver = await startWebhookReceiver();
  pop3 = await startFakePop3({
    mails: [`Subject: ${planted}\r\nFrom: ${planted}@example.com\r\n\r\n${planted}\r\n`],
    on: {
      PASS: (args, session) => {
        if (args !== planted) return `-ERR [AUTH] not ${args}`;
        session.logIn();
        return '+OK';
      },
    },
  });
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/` };
  api = await startService({ redis, env: { ...env, POPBRIDGE_ROLE: 'api' } });
  worker = await startService({ redis, dataDir: api.dataDir, env: { ...env, POPBRIDGE_ROLE: 'worker' } });
});

afterAll(async () => {
  await worker?.close();
  await api?.close();
  await pop3?.close();
  await receiver?.close();
  await collector?.close();
  await redis?.close();
});

it(
  'a fetch, its session and its deliveries are one trace, with what has caused what, and no word of any user',
  { timeout: 60_000 },
  async () => {
    const hook = { url: `${receiver.url}/${planted}`, events: ['message.received', 'fetch.succeeded'] };
    await api.api('POST', '/v1/webhooks', { body: hook });
    const source = (password: string) => ({
      host: pop3.host,
      port: pop3.port,
      tls: 'none',
      username: planted,
      password,
    });
    const headers = { prefer: 'wait=30', traceparent: `00-${callerTrace}-${callerSpan}-01` };
    const webhook = { url: receiver.url, secret: `whsec_${Buffer.alloc(32, 1).toString('base64')}` };
    const done = (
      await api.api('POST', '/v1/fetches', { body: { source: source(planted), webhook }, headers })
    ).asFetch();
    expect(done).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
    // Of the fetch's own webhook one, and two of the tenant's.
    const received = await receiver.waitFor(3, 20_000);
    await api.fetchMail({ source: source('wrong') as never });
    // What has not been sent by then is sent at the end.
    expect(await worker.kill('SIGTERM')).toMatchObject({ code: 0 });
    expect(await api.kill('SIGTERM')).toMatchObject({ code: 0 });

    const spans = collector.spans.filter(({ traceId }) => traceId === callerTrace);
    const byId = new Map(spans.map((span) => [span.spanId, span]));
    const pathOf = ({ name, parentSpanId }: ReceivedSpan): string => {
      const parent = byId.get(parentSpanId);
      if (parent) return `${pathOf(parent)} > ${name}`;
      return `${parentSpanId === callerSpan ? 'caller' : 'nobody'} > ${name}`;
    };
    const asked = 'caller > POST /v1/fetches';
    const session = `${asked} > fetch.run > pop3.session`;
    expect(spans.map(pathOf).toSorted()).toEqual(
      [
        asked,
        `${asked} > fetch.enqueue`,
        `${asked} > fetch.run`,
        session,
        ...['connect', 'login', 'list', 'retrieve', 'delete'].map((phase) => `${session} > pop3.${phase}`),
        `${session} > pop3.retrieve > messages.store`,
        // One to the webhook of the fetch, one to that of the tenant.
        `${session} > pop3.retrieve > webhook.deliver`,
        `${session} > pop3.retrieve > webhook.deliver`,
        `${asked} > fetch.end`,
        `${asked} > fetch.end > webhook.deliver`,
      ].toSorted(),
    );

    // The receiver is told of the very delivery that it gets.
    const delivered = spans
      .filter(({ name }) => name === 'webhook.deliver')
      .map(({ spanId }) => `00-${callerTrace}-${spanId}-01`);
    expect(received.map((request) => String(request.headers['traceparent'])).toSorted()).toEqual(delivered.toSorted());

    const failed = collector.spans.find(({ name, traceId }) => name === 'fetch.run' && traceId !== callerTrace);
    expect(failed).toMatchObject({ status: 2, attributes: { 'error.type': 'upstream_auth_failed' } });
    expect(failed?.parentSpanId).toBe(
      collector.spans.find(({ name, traceId }) => name === 'POST /v1/fetches' && traceId === failed?.traceId)?.spanId,
    );
    const all = collector.bodies.join('');
    for (const secret of [planted, pop3.host, api.operatorKey]) expect(all).not.toContain(secret);
  },
);

it('without an endpoint there is no traceparent, and the jobs and records hold none', { timeout: 30_000 }, async () => {
  const plain = await startService({ redis });
  const webhook = { url: receiver.url, secret: `whsec_${Buffer.alloc(32, 1).toString('base64')}` };
  const before = receiver.received.length;
  await plain.fetchMail({
    source: { host: pop3.host, port: pop3.port, tls: 'none', username: planted, password: planted },
    webhook,
  } as never);
  const received = await receiver.waitFor(before + 1, 20_000);
  expect(received.slice(before).filter(({ headers }) => 'traceparent' in headers)).toEqual([]);
  await plain.close();
});
