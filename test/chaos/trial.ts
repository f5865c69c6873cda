/**
 * A trial: a maildrop of a real Dovecot that is fetched through a fault proxy until all is done, whatever dies meanwhile. And the
 * checker: whether all mail that is wanted is here, once, and under the ids that it must have; whether it was announced, under one id; whether
 * nothing was deleted upstream before it was here, nor that was to stay; and that no two sessions were in the maildrop at once.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { eventId, mailboxId, messageId } from '../../src/identity.ts';
import type { WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { readEvents, type EventBody } from '../support/event-feed.ts';
import type { Dovecot } from '../support/dovecot.ts';
import { eventually, type ApiResponse, type FetchBody, type Service } from '../support/service.ts';
import { startFaultProxy, type FaultProxy, type FaultProxyOptions } from './fault-proxy.ts';
import { digestOf, FILTER, isWanted, leftUpstream, type TrialPlan } from './plan.ts';

export const PASSWORD = 'chaos';
const WEBHOOK_SECRET = `whsec_${Buffer.alloc(32, 3).toString('base64')}`;
const ENDED = new Set(['succeeded', 'failed', 'cancelled']);
/** How long an answer is asked for. Some stalls take a server's time for a login, which is two minutes. */
const ASKED_MS_MAX = 150_000;
/** Fetches that one trial may need: each gets on, or ends for a reason that goes away. */
const FETCHES_MAX = 40;

export interface TrialOptions extends Pick<FaultProxyOptions, 'fault' | 'onServerBytes'> {
  dovecot: Dovecot;
  user: string;
  /** What is in the maildrop, oldest first. */
  mails: readonly Buffer[];
  plan: TrialPlan;
  /** Of the API, now: it may be another process than a moment ago. */
  service(): Promise<Service>;
  /** For fetches with inline settings. */
  receiver?: WebhookReceiver;
  /** What the client sends is held back until this resolves. */
  onLine?(line: string): Promise<void>;
  /** A process that stands still has its connection open while another one goes on: 1 unless set. */
  sessionsMax?: number;
  /** Redis may forget what was acknowledged a moment ago, which nobody's mail depends on. */
  forgetsAcknowledgements?: boolean;
}

export interface Trial {
  readonly proxy: FaultProxy;
  readonly mailbox: string;
  /** One more mail comes upstream. */
  deliver(mail: Buffer): Promise<void>;
  /** Fetches until all is fetched and nothing fails. */
  fetchAll(): Promise<void>;
  /** Throws where anything is wrong. */
  check(): Promise<void>;
  /** Both of them. */
  run(): Promise<void>;
  close(): Promise<void>;
}

export async function startTrial(options: TrialOptions): Promise<Trial> {
  const { user, plan, dovecot, receiver } = options;
  const mails = [...options.mails];
  /** Digests of what was acknowledged, or may be. */
  const acknowledged = new Set<string>();

  /** What is to be deleted must be here by now: its record, and all its bytes. */
  async function checkBeforeDeletion(uidl: string): Promise<void> {
    const id = messageId(mailbox, { uidl, occurrence: 0 });
    const raw = await ask(async (service) => {
      const answer = await service.api('GET', `/v1/messages/${id}/raw`);
      // Redis is away for now, which says nothing of what it has.
      if (answer.status === 503) throw new Error(answer.text);
      return answer;
    });
    if (raw.status !== 200) throw new Error(`${uidl} is to be deleted upstream and not here: ${raw.status}`);
    const mail = mails.find((one) => one.equals(raw.bytes));
    if (!mail) throw new Error(`${uidl} is to be deleted, and its bytes are not here`);
    const staying = leftUpstream(plan, mails, (digest) => acknowledged.has(digest));
    if (staying.includes(mail)) throw new Error(`${uidl} is to be deleted, and to stay by ${JSON.stringify(plan)}`);
  }

  const proxy = await startFaultProxy({
    port: dovecot.port,
    ...(options.fault && { fault: options.fault }),
    ...(options.onServerBytes && { onServerBytes: options.onServerBytes }),
    async onClientLine(line, { uidls }) {
      await options.onLine?.(line);
      const number = /^DELE (\d+)$/i.exec(line)?.[1];
      if (number !== undefined) await checkBeforeDeletion(uidls.get(Number(number)) ?? '');
    },
  });

  /** However often the service dies meanwhile, or is without what it needs. */
  async function ask<T>(question: (service: Service) => Promise<T>): Promise<T> {
    const untilMs = performance.now() + ASKED_MS_MAX;
    for (;;) {
      try {
        return await question(await options.service());
      } catch (error) {
        if (performance.now() > untilMs) throw error;
        await delay(100);
      }
    }
  }

  async function getAnswer(path: string): Promise<ApiResponse> {
    return ask(async (service) => {
      const answer = await service.api('GET', path);
      if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`);
      return answer;
    });
  }

  async function get<T>(path: string): Promise<T> {
    return (await getAnswer(path)).json() as T;
  }

  const source = { host: '127.0.0.1', port: proxy.port, tls: 'none', username: user, password: PASSWORD } as const;
  const filter = plan.hasFilter ? { filter: FILTER } : {};
  const inline = {
    source,
    ...filter,
    delete: plan.policy,
    ...(receiver && { webhook: { url: `${receiver.url}${user}`, secret: WEBHOOK_SECRET } }),
  };

  async function store(): Promise<string> {
    const body = { source, ...filter, delete: plan.policy, dryRun: plan.isDryRun };
    const made = await ask(async (service) => {
      const answer = await service.api('POST', '/v1/mailboxes', { body });
      // It was made, and the answer was lost.
      if (answer.status !== 201 && answer.status !== 409) throw new Error(answer.text);
      return answer;
    });
    return made.status === 201
      ? (made.json() as components['schemas']['Mailbox']).id
      : mailboxId('default', { ...source, username: user });
  }

  const mailbox = plan.by === 'mailbox' ? await store() : mailboxId('default', { ...source, username: user });

  async function fetchOnce(): Promise<FetchBody> {
    return ask(async (service) => {
      const headers = { prefer: 'wait=30' };
      const started =
        plan.by === 'mailbox'
          ? await service.api('POST', `/v1/mailboxes/${mailbox}/fetches`, { headers })
          : await service.api('POST', '/v1/fetches', { headers, body: inline });
      const fetch = started.json() as FetchBody;
      if (started.status >= 400 || !ENDED.has(fetch.state)) throw new Error(`Not ended: ${started.text}`);
      return fetch;
    });
  }

  async function fetchUntilDone(): Promise<void> {
    for (let fetches = 0; ; fetches += 1) {
      const { state, deletion, error } = await fetchOnce();
      if (state === 'succeeded' && deletion !== 'unknown') return;
      expect(fetches, `${state} ${error?.code} ${error?.detail}`).toBeLessThan(FETCHES_MAX);
    }
  }

  async function readSummaries(): Promise<readonly components['schemas']['MessageSummary'][]> {
    return (await get<components['schemas']['MessageSummaryPage']>(`/v1/messages?mailbox=${mailbox}&limit=100`)).items;
  }

  /** Every second one. */
  async function acknowledge(): Promise<void> {
    for (const { id, digest } of (await readSummaries()).filter((_, at) => at % 2 === 0)) {
      acknowledged.add(digest ?? '');
      await ask(async (service) => {
        const { status, text } = await service.api('POST', `/v1/messages/${id}/ack`);
        if (status !== 200) throw new Error(text);
      });
    }
  }

  async function check(): Promise<void> {
    const wanted = mails.filter((mail) => isWanted(plan, mail));
    const summaries = await readSummaries();
    expect(summaries.map((message) => message.digest ?? '').sort()).toEqual(wanted.map(digestOf).sort());
    expect(summaries.filter(({ duplicateOf }) => duplicateOf !== null)).toEqual([]);
    const derived = (uidl: string | null): string => messageId(mailbox, { uidl: uidl ?? '', occurrence: 0 });
    const ids = summaries.map(({ id }) => id).sort();
    expect(ids).toEqual(summaries.map(({ uidl }) => derived(uidl)).sort());
    for (const { id, digest } of summaries) {
      expect(digestOf((await getAnswer(`/v1/messages/${id}/raw`)).bytes)).toBe(digest);
    }
    if (plan.by === 'mailbox') await checkLedger(ids, derived);
    if (receiver) await checkAnnounced(receiver, ids);

    const upstream = (await dovecot.maildir(user)).map(digestOf);
    const left = leftUpstream(plan, mails, (digest) => acknowledged.has(digest)).map(digestOf);
    if (options.forgetsAcknowledgements === true) expect(upstream).toEqual(expect.arrayContaining(left));
    else expect(upstream).toEqual(left);
    await checkEvents(
      ids,
      summaries.filter(({ digest }) => !upstream.includes(digest ?? '')).map(({ id }) => id),
    );
    expect(proxy.complaints).toEqual([]);
    expect(proxy.openMax, 'sessions in one maildrop at once').toBeLessThanOrEqual(options.sessionsMax ?? 1);
  }

  async function checkLedger(ids: readonly string[], derived: (uidl: string | null) => string): Promise<void> {
    const { items } = await get<components['schemas']['LedgerPage']>(`/v1/mailboxes/${mailbox}/ledger?limit=1000`);
    const [skipped, had] = [items.filter(({ state }) => state === 'skipped'), items.filter((one) => one.messageId)];
    expect(had.map((entry) => entry.messageId)).toEqual(had.map(({ uidl }) => derived(uidl)));
    expect(had.map((entry) => entry.messageId ?? '').sort()).toEqual(ids);
    expect(skipped).toHaveLength(mails.filter((mail) => !isWanted(plan, mail)).length);
    expect(items).toHaveLength(skipped.length + had.length);
  }

  /** Each message is told of once, and so is its deletion, however often somebody died on the way there. */
  async function checkEvents(ids: readonly string[], gone: readonly string[]): Promise<void> {
    const events = await ask((service) => readEvents(service, `&mailbox=${mailbox}`));
    const subjectsOf = (type: EventBody['type']): string[] =>
      events.filter((event) => event.type === type).map(({ subject }) => subject);
    expect(subjectsOf('message.received').sort()).toEqual(ids);
    // A fetch with inline settings has a ledger of its own: what it could not tell, no other fetch knows.
    if (plan.by === 'mailbox') expect(subjectsOf('message.deleted_upstream').sort()).toEqual(gone.toSorted());
    expect(events.map(({ sequence }) => Number(sequence))).toEqual(events.map((_, at) => at + 1));
  }

  /** Each at least once, and none under two ids. */
  async function checkAnnounced({ received }: WebhookReceiver, ids: readonly string[]): Promise<void> {
    const announced = (): Map<string, Set<string>> => {
      const names = new Map<string, Set<string>>();
      for (const { path, headers, body } of received) {
        if (path !== `/${user}`) continue;
        const { message } = (JSON.parse(body.toString()) as components['schemas']['MessageReceivedEvent']).data;
        if (message) names.set(message.id, (names.get(message.id) ?? new Set()).add(String(headers['webhook-id'])));
      }
      return names;
    };
    const isAll = (found: readonly string[]): boolean => found.length >= ids.length;
    const found = await eventually(async () => [...announced().keys()].sort(), isAll, 60_000);
    expect(found).toEqual(ids);
    for (const [id, names] of announced()) expect([...names]).toEqual([eventId('message.received', id)]);
  }

  const trial: Trial = {
    proxy,
    mailbox,
    async deliver(mail) {
      mails.push(mail);
      await dovecot.deliver(user, mail);
    },
    async fetchAll() {
      await fetchUntilDone();
      if (plan.policy !== 'acknowledged') return;
      await acknowledge();
      await fetchUntilDone();
    },
    check,
    async run() {
      await trial.fetchAll();
      await check();
    },
    close: () => proxy.close(),
  };
  return trial;
}
