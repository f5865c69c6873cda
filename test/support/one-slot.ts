/**
 * Every test of a store on one server shows that a Redis Cluster, too, would take what it does: a command, a script or a transaction that
 * names keys of several slots fails, and takes its connection with it. COPY is of tests alone.
 */
import { Command, Redis } from 'ioredis';

const { sendCommand } = Redis.prototype;
/** Of the connections that are between MULTI and EXEC. */
const slotsOf = new WeakMap<Redis, Set<number | null>>();

Redis.prototype.sendCommand = function (this: Redis, command: Command, ...rest) {
  const { name } = command;
  if (name === 'multi') slotsOf.set(this, new Set());
  const slots = slotsOf.get(this) ?? new Set();
  if (name === 'exec' || name === 'discard') slotsOf.delete(this);
  for (const key of command.getKeys()) {
    if (key.toString().startsWith('pb:') && name !== 'copy') slots.add(new Command('get', [key]).getSlot());
  }
  if (slots.size <= 1) return sendCommand.call(this, command, ...rest);
  throw new Error(`CROSSSLOT ${name} names keys of several slots: ${command.getKeys().join(' ')}`);
};
