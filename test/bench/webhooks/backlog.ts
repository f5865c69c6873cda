/** What deliveries that wait for a dead endpoint take in Redis. */
import { setTimeout as delay } from 'node:timers/promises';
import { announceToWebhooks } from '../../../src/webhook/announce.ts';
import { inTurns, mailboxIdOf, openStage, print, received, type Bound } from './stage.ts';

const BYTES_MAX = 1024;
/** Nobody listens there. */
const DEAD_URL = 'http://127.0.0.1:9/';

export async function measureBacklog({ waiting }: { waiting: number }): Promise<{ bounds: Bound[]; figures: object }> {
  const stage = await openStage();
  try {
    const tenant = 'dead';
    const mailboxId = mailboxIdOf(0);
    const ids = await stage.storeMessages(tenant, mailboxId, waiting);
    const webhook = await stage.makeWebhook(tenant, DEAD_URL);
    const before = await stage.usedBytes();
    await inTurns(ids, 50, (id) => announceToWebhooks(stage, received(tenant, mailboxId, id)));
    await stage.work();
    // By then the worker has found out that it is dead.
    while ((await stage.deliveries.readHealth(webhook)).openUntilMs === null) await delay(50);
    const bytes = ((await stage.usedBytes()) - before) / waiting;
    print(`\nBacklog: ${waiting} deliveries that wait for a dead endpoint`);
    const bound = {
      what: `bytes of Redis for each of ${waiting} deliveries to a dead endpoint`,
      bound: `${BYTES_MAX}`,
      measured: bytes.toFixed(0),
      isKept: bytes < BYTES_MAX,
    };
    return { bounds: [bound], figures: { bytes } };
  } finally {
    await stage.close();
  }
}
