/**
 * Lets a worker start in half of the time, for trials that kill hundreds: mail is parsed in the main thread, and nothing is served by HTTP.
 * All else is as it is.
 */
import { registerHooks } from 'node:module';

const REPLACED = new Map([
  ['./mime/pool.ts', new URL('lean-parser.ts', import.meta.url).href],
  ['./api.ts', new URL('lean-api.ts', import.meta.url).href],
]);
/** What takes the time. */
const LEFT_OUT = /\/src\/(?:http\/app|mime\/pool)\.ts$/;

registerHooks({
  resolve(specifier, context, next) {
    const isComposing = /\/src\/(?:app|parts)\.ts$/.test(context.parentURL ?? '');
    const replacement = isComposing ? REPLACED.get(specifier) : undefined;
    const resolved = next(replacement ?? specifier, context);
    // Or nobody would notice that it is loaded by another way.
    if (LEFT_OUT.test(resolved.url)) throw new Error(`The lean worker loads ${resolved.url}`);
    return resolved;
  },
});
