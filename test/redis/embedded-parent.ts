/**
 * A popbridge reduced to its embedded Redis: `node embedded-parent.ts SERVER DATA_DIR`. Prints the socket's path and stays,
 * also when interrupted, which it says.
 */
import { pino } from 'pino';
import { startEmbeddedRedis } from '../../src/redis/embedded.ts';

const [serverPath = '', dataDir = ''] = process.argv.slice(2);
const redis = await startEmbeddedRedis({ serverPath, dataDir, logger: pino({ level: 'silent' }) });
process.on('SIGINT', () => process.stdout.write('interrupted\n'));
process.stdout.write(`${redis.socketPath}\n`);
