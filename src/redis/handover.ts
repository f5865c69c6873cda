/** Gets a server running in a folder that another one may still hold: never two on one AOF, and no live owner is robbed. */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../errors.ts';
import { type FolderOwner, judgeOwner, type OwnerState, readOwner } from './folder-owner.ts';
import { handoverLimits } from './limits.ts';
import { type ServerOptions, type ServerProcess, startServer } from './server-process.ts';
import { probe, requestShutdown } from './socket-probe.ts';

/**
 * Resolves when the server is ready. One left behind by a popbridge that died is waited for, and asked to end where it
 * does not by itself. Throws `invalid_config` where the folder's owner lives, and what `startServer` throws.
 */
export async function takeFolder(options: ServerOptions): Promise<ServerProcess> {
  const { folder, owner: self, logger, signal } = options;
  const startedAt = performance.now();
  let isAsked = false;
  for (;;) {
    const server = (await isAnswering(folder)) ? undefined : await startServer(options);
    if (server !== undefined) return server;

    const owner = await readOwner(folder);
    const state = await judge(owner, self);
    const waitedMs = performance.now() - startedAt;
    if (state === 'alive' || waitedMs > handoverLimits.timeoutMs) throw refusal(folder, owner, state);
    if (owner !== undefined && state === 'gone' && waitedMs > handoverLimits.orphanGraceMs && !isAsked) {
      isAsked = true;
      logger.warn({ folder, ownerPid: owner.pid }, 'ending the Redis server that a popbridge left behind');
      await requestShutdown(owner.socketPath);
    }
    await delay(handoverLimits.pollMs, undefined, { signal });
  }
}

/** All that can be asked where there is no `flock`; elsewhere it saves the attempt. */
async function isAnswering(folder: string): Promise<boolean> {
  const owner = await readOwner(folder);
  return owner !== undefined && (await probe(owner.socketPath)) !== 'silent';
}

async function judge(owner: FolderOwner | undefined, self: FolderOwner): Promise<OwnerState> {
  if (owner === undefined) return 'unknown';
  // What is left of one's own server that ended: a child of it that still rewrites the AOF.
  return owner.id === self.id ? 'unknown' : await judgeOwner(owner);
}

function refusal(folder: string, owner: FolderOwner | undefined, state: OwnerState): AppError {
  const who = {
    alive: `popbridge process ${owner?.pid}`,
    gone: `a Redis server that popbridge process ${owner?.pid} left behind and that does not end`,
    unknown:
      owner === undefined
        ? 'an unknown process'
        : `the Redis server of popbridge process ${owner.pid}, perhaps in another container`,
  }[state];
  return new AppError(
    'invalid_config',
    `The folder ${folder} of the embedded Redis is in use by ${who}. ` +
      'Stop it, or set POPBRIDGE_DATA_DIR to another folder, or set REDIS_URL to share one Redis.',
    { fields: { folder, ownerPid: owner?.pid } },
  );
}
