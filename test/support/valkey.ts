/** Valkey for tests, as `test/support/unpack-valkey.sh` unpacked it. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SERVER = fileURLToPath(new URL('../../data/test-servers/valkey/valkey-server', import.meta.url));

/** Undefined where it is not unpacked. */
export function valkeyPath(): string | undefined {
  return existsSync(SERVER) ? SERVER : undefined;
}
