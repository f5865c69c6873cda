/** The shape of the mechanisms that are one message from the client: PLAIN and EXTERNAL. */
import { brokenExchange } from './errors.ts';
import type { Mechanism, MechanismName, SaslContext } from './mechanism.ts';

export function singleMessage(name: MechanismName, message: Buffer, { place }: SaslContext): Mechanism {
  return {
    name,
    start: () => message,
    respond() {
      throw brokenExchange(place, `asks for more than ${name} has to say`);
    },
    complete: true,
    finish() {},
    failure: null,
  };
}
