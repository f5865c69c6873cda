/** Events as a consumer reads them, each held against the contract. */
import type { components } from '../../src/contract.gen.ts';
import { createContractChecker } from './contract.ts';
import { eventually, OPERATOR_KEY, type Service } from './service.ts';

export type EventBody = components['schemas']['Event'];
export type EventPage = components['schemas']['EventPage'];

const { checkEvent } = createContractChecker();

export async function readEventPage(service: Service, query = ''): Promise<EventPage> {
  const answer = await service.api('GET', `/v1/events${query}`);
  if (answer.status !== 200) throw new Error(`Events were answered ${answer.status}: ${answer.text}`);
  const page = answer.json() as EventPage;
  page.items.forEach(checkEvent);
  return page;
}

/** All that there are, page by page. */
export async function readEvents(service: Service, query = ''): Promise<EventBody[]> {
  const events: EventBody[] = [];
  let after = '';
  for (;;) {
    const { items, nextCursor, hasMore } = await readEventPage(service, `?limit=7${query}${after}`);
    events.push(...items);
    if (!hasMore) return events;
    after = `&after=${nextCursor}`;
  }
}

/** All of a mailbox, once there is one of that type. */
export async function eventsOf(service: Service, mailboxId: string, until: EventBody['type']): Promise<EventBody[]> {
  return eventually(
    () => readEvents(service, `&mailbox=${mailboxId}`),
    (events) => events.some(({ type }) => type === until),
  );
}

export interface StreamedEvent {
  id: string;
  /** Null where there is an id and no event. */
  event: EventBody | null;
}

/** A stream of events until it ends or whoever reads it leaves. */
export async function* streamEvents(
  service: Pick<Service, 'url'>,
  query = '',
  headers: Record<string, string> = {},
): AsyncGenerator<StreamedEvent, void> {
  const response = await fetch(`${service.url}/v1/events/stream${query}`, {
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, ...headers },
  });
  if (response.status !== 200) throw new Error(`The stream was answered ${response.status}: ${await response.text()}`);
  let text = '';
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString();
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const [, id, data] = /^(?::\n)?id: (\S+)(?:\ndata: (.*))?$/.exec(block) ?? [];
      if (id === undefined) throw new Error(`This is no event: ${block}`);
      const event = data === undefined ? null : (JSON.parse(data) as EventBody);
      if (event) checkEvent(event);
      yield { id, event };
    }
  }
}
