/** `/v1/event-consumers`: consumers whose place in the event log is kept here, so that they need to keep nothing themselves. */
import type { components } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { Consumer, ConsumerStore } from '../event/consumer-store.ts';
import { formatPlace, isBehind, parsePlace, startOfLog, type Place } from '../event/log-codec.ts';
import { invalidRequest } from './contract.ts';
import { readPage, type EventPorts } from './events.ts';
import { pollsAtOnceMax } from './limits.ts';
import { createRoom } from './room.ts';
import type { Handlers } from './route.ts';
import { checkTypes } from './type-patterns.ts';

type ConsumerBody = components['schemas']['EventConsumer'];

export interface EventConsumerPorts extends EventPorts {
  consumers: ConsumerStore;
  clock: { now(): number };
}

type EventConsumerHandlers = Pick<
  Handlers,
  | 'putEventConsumer'
  | 'listEventConsumers'
  | 'getEventConsumer'
  | 'deleteEventConsumer'
  | 'readEventConsumer'
  | 'acknowledgeEvents'
>;

export function eventConsumerHandlers(ports: EventConsumerPorts): EventConsumerHandlers {
  const { consumers, events } = ports;
  const inRoom = createRoom(pollsAtOnceMax, 'consumers', 'kept waiting');

  const find = async (tenant: string, name: string): Promise<Consumer> =>
    (await consumers.find(tenant, name)) ?? refuse(name);

  return {
    async putEventConsumer({ body, path, principal: { tenant } }) {
      const { types = ['*'], mailbox = null, from } = body;
      checkTypes(types, 'body');
      const end = await events.end(tenant);
      const known = await consumers.find(tenant, path.consumer);
      const createdAt = known?.createdAt ?? new Date(ports.clock.now()).toISOString();
      const begin = from === 'earliest' ? await findBeginning(ports, tenant) : end;
      const settings = { types, mailboxId: mailbox, createdAt };
      const isNew = await consumers.put(tenant, path.consumer, settings, begin, from !== undefined);
      const consumer = await find(tenant, path.consumer);
      return isNew
        ? {
            status: 201,
            headers: { location: `/v1/event-consumers/${consumer.name}` },
            body: render(consumer, end),
          }
        : { status: 200, body: render(consumer, end) };
    },

    async listEventConsumers({ principal: { tenant } }) {
      const [all, end] = await Promise.all([consumers.list(tenant), events.end(tenant)]);
      return { status: 200, body: { items: all.map((consumer) => render(consumer, end)) } };
    },

    async getEventConsumer({ path, principal: { tenant } }) {
      const consumer = await find(tenant, path.consumer);
      return { status: 200, body: render(consumer, await events.end(tenant)) };
    },

    async deleteEventConsumer({ path, principal: { tenant } }) {
      if (!(await consumers.delete(tenant, path.consumer))) refuse(path.consumer);
      return new Response(null, { status: 204 });
    },

    async readEventConsumer({ path, query, principal: { tenant }, signal }) {
      const { limit = 25, wait = 0 } = query;
      const { types, mailboxId, cursor: after } = await find(tenant, path.consumer);
      const wanted = { types, mailboxId, after, limit, waitMs: wait * 1000 };
      const read = () => readPage(ports, tenant, wanted, AbortSignal.any([signal, ports.shutdown]));
      return { status: 200, body: await (wait > 0 ? inRoom(read) : read()) };
    },

    async acknowledgeEvents({ body, path, principal: { tenant } }) {
      const cursor = parsePlace(body.cursor);
      const end = await events.end(tenant);
      // It would pass over what is still to happen.
      if (isBehind(cursor, end)) {
        throw invalidRequest([{ in: 'body', pointer: '/cursor', detail: 'is behind the end of the log' }]);
      }
      if (!(await consumers.acknowledge(tenant, path.consumer, cursor))) refuse(path.consumer);
      return { status: 200, body: render(await find(tenant, path.consumer), end) };
    },
  };
}

/** The place before the oldest event that there is. */
async function findBeginning({ events }: EventConsumerPorts, tenant: string): Promise<Place> {
  const query = { types: ['*'], mailboxId: null, after: null, limit: 1, waitMs: 0 };
  const page = await events.read(tenant, query, new AbortController().signal);
  const [oldest] = page?.events ?? [];
  if (!oldest) return page?.end ?? startOfLog;
  return { ms: oldest.place.ms, number: oldest.place.number - 1 };
}

function render({ name, types, mailboxId, cursor, createdAt }: Consumer, end: Place): ConsumerBody {
  const behind = Math.max(0, end.number - cursor.number);
  return { name, types: [...types], mailbox: mailboxId, cursor: formatPlace(cursor), behind, createdAt };
}

function refuse(name: string): never {
  throw new AppError('not_found', `There is no consumer ${name}. PUT it to make one.`);
}
