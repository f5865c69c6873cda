/** LOGIN (draft-murchison-sasl-login): user name and password, each asked for. Never standardised, much deployed. */
import { brokenExchange } from './errors.ts';
import type { Mechanism, PasswordCredentials, SaslContext } from './mechanism.ts';

/** Prompts are not read: servers word them as they like (`Username:`, `User Name`), but all ask in this order. */
export function login({ username, password }: PasswordCredentials, { place }: SaslContext): Mechanism {
  const answers = [username, password];
  return {
    name: 'LOGIN',
    start: () => null,
    respond() {
      const answer = answers.shift();
      if (answer === undefined) throw brokenExchange(place, 'asks for more than LOGIN has to say');
      return Buffer.from(answer, 'utf8');
    },
    get complete() {
      return answers.length === 0;
    },
    finish() {},
    failure: null,
  };
}
