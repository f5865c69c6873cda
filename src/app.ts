/**
 * The composition root: builds every part, starts them in order, closes them in reverse. It holds the wiring and no rules.
 */
import { createAccess } from './access/access.ts';
import { type MadeKey } from './config/keys.ts';
import { buildParts, readKeys, type AppOptions, type Closer } from './parts.ts';
import { watchData } from './redis/data-version.ts';
import { startMetricsServer } from './telemetry/metrics-server.ts';
import { startApi } from './api.ts';
import { startWorkers } from './workers.ts';

export interface App {
  /** Where the API, or a worker's health, listens. */
  url: string;
  /** The operator key, where this start has made it. */
  madeKey: Pick<MadeKey, 'value' | 'path'> | null;
  /** The file of master keys that this start has made. */
  madeMasterKeys: string | null;
  /** Drains: no new work, `config.shutdownMs` for what runs. Safe to call twice. */
  close(): Promise<void>;
}

export interface RunOptions extends AppOptions {
  /** Called where a newer program has changed the data beyond what this one can read: it must write no more. */
  onUnreadable(reason: string): void;
}

/** @throws AppError `invalid_config` or `storage_unavailable`; what had been started is closed again. */
export async function startApp(options: RunOptions): Promise<App> {
  const drainers: Closer[] = [];
  const closers: Closer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(drainers.splice(0).map(async (drain) => drain()));
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const { config } = options;
    const keys = await readKeys(config);
    const parts = await buildParts(options, keys, {
      onDrain: (drain) => drainers.push(drain),
      onClose: (closer) => closers.push(closer),
    });
    if (config.metricsPort !== undefined) {
      const server = await startMetricsServer(parts.metrics, config.host, config.metricsPort);
      closers.push(() => server.close());
      options.logger.info({ url: server.url }, 'Metrics served');
    }
    // The port first: no job is taken up by a process that cannot start.
    let isStarted = false;
    const url = await startApi(parts, createAccess(keys.operator.value), () => isStarted);
    if (config.role !== 'api') {
      drainers.push(watchData(parts.redis, options.onUnreadable));
      await startWorkers(parts);
    }
    isStarted = true;
    const { operator, master } = keys;
    return {
      url,
      madeKey: operator.isNew ? operator : null,
      madeMasterKeys: master.isNew ? master.place : null,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
