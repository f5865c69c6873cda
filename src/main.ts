#!/usr/bin/env node
/** The process: a command, or the service with its settings, start, signals and exit code. */
// oxlint-disable-next-line import/no-unassigned-import -- it is there for what it sets, before all else.
import './thread-pool.ts';
import { startApp, type App } from './app.ts';
import { runCommand } from './commands.ts';
import { readConfig } from './config/config.ts';
import { AppError, toError } from './errors.ts';
import { createLogger } from './telemetry/logger.ts';

/** What a drain may take beyond `POPBRIDGE_SHUTDOWN_SECONDS` before the process ends without it. */
const FORCED_EXIT_MS = 5_000;

async function main(): Promise<void> {
  // At once: as the first process of a container this one gets no signal that it does not handle.
  let stop = (signal: NodeJS.Signals): void => process.exit(signal === 'SIGINT' ? 130 : 143);
  process.on('SIGTERM', (signal) => stop(signal)).on('SIGINT', (signal) => stop(signal));

  const config = readConfig(process.env);
  const logger = createLogger(config.logLevel);
  const app = await startApp({
    config,
    logger,
    env: process.env,
    onProgress: console.error,
    onUnreadable(reason) {
      // At once, as a crash is: what finishes its work would write what the newer program cannot read.
      logger.fatal({ reason }, 'Ended by a newer version');
      process.exit(1);
    },
  });
  introduce(app);
  logger.info({ url: app.url, role: config.role, pid: process.pid }, 'Ready');

  let stopping = false;
  stop = (signal) => {
    if (stopping) process.exit(1); // Asked twice: at once.
    stopping = true;
    logger.info({ signal }, 'Stopping');
    setTimeout(() => process.exit(1), config.shutdownMs + FORCED_EXIT_MS).unref();
    app.close().then(
      () => {
        logger.info('Stopped');
        process.exit(0);
      },
      (error: unknown) => {
        logger.fatal({ err: error }, 'Stopping failed');
        process.exit(1);
      },
    );
  };
}

function introduce({ madeKey, madeMasterKeys }: App): void {
  if (madeKey) console.error(`API key (shown once, kept in ${madeKey.path}): ${madeKey.value}`);
  if (madeMasterKeys) {
    console.error(
      `Master key made, in ${madeMasterKeys} (mode 600): keep a copy, as nothing that is stored opens without it.`,
    );
  }
}

async function command(args: readonly string[]): Promise<void> {
  process.exitCode = await runCommand(
    args,
    () => ({
      config: readConfig(process.env),
      // What is printed is the answer: the log would stand among it.
      logger: createLogger('silent'),
      env: process.env,
      onProgress: console.error,
    }),
    console.log,
  );
}

const args = process.argv.slice(2);
(args.length > 0 ? command(args) : main()).catch((error: unknown) => {
  console.error(error instanceof AppError ? `popbridge: ${error.message}` : toError(error).stack);
  process.exit(1);
});
