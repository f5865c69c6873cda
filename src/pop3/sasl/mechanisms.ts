/** Every mechanism by its name. */
import { cramMd5 } from './cram-md5.ts';
import { refusedLogin } from './errors.ts';
import { external } from './external.ts';
import { login } from './login.ts';
import type { Credentials, Mechanism, MechanismName, SaslContext } from './mechanism.ts';
import { oauthBearer, xoauth2 } from './oauth.ts';
import { plain } from './plain.ts';
import { scram } from './scram.ts';

/**
 * A mechanism for one exchange.
 * @throws Pop3CommandError where it cannot carry these credentials: of another kind, or with a character it has no place for.
 */
export function createMechanism(name: MechanismName, credentials: Credentials, context: SaslContext): Mechanism {
  switch (name) {
    case 'SCRAM-SHA-256-PLUS':
    case 'SCRAM-SHA-1-PLUS':
    case 'SCRAM-SHA-256':
    case 'SCRAM-SHA-1':
      return scram(name, demand(credentials, 'password', name), context);
    case 'CRAM-MD5':
      return cramMd5(demand(credentials, 'password', name), context);
    case 'PLAIN':
      return plain(demand(credentials, 'password', name), context);
    case 'LOGIN':
      return login(demand(credentials, 'password', name), context);
    case 'OAUTHBEARER':
      return oauthBearer(demand(credentials, 'token', name), context);
    case 'XOAUTH2':
      return xoauth2(demand(credentials, 'token', name), context);
    case 'EXTERNAL':
      return external(demand(credentials, 'external', name), context);
  }
}

function demand<Kind extends Credentials['kind']>(
  credentials: Credentials,
  kind: Kind,
  name: MechanismName,
): Extract<Credentials, { kind: Kind }> {
  if (credentials.kind === kind) return credentials as Extract<Credentials, { kind: Kind }>;
  throw refusedLogin(`${name} needs credentials of the kind "${kind}"; these are of the kind "${credentials.kind}".`);
}
