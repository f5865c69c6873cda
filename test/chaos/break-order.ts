/** Breaks the order of steps on purpose, to show that the trials find that out: puts a message store that lies in the place of ours. */
import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, next) {
    const isOurs = specifier.endsWith('/message/message-store.ts') && context.parentURL?.endsWith('/src/parts.ts');
    return next(isOurs === true ? new URL('lying-store.ts', import.meta.url).href : specifier, context);
  },
});
