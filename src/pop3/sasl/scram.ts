/**
 * SCRAM (RFC 5802, 7677) with and without channel binding: the password is never sent, and the server proves that it
 * knows it too, without which a login does not count.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { Pop3CommandError } from '../errors.ts';
import { quoteServerText } from '../replies.ts';
import { brokenExchange, refusedLogin } from './errors.ts';
import { escapeName, gs2Header } from './gs2.ts';
import { scramNonceBytes } from './limits.ts';
import type { Mechanism, MechanismName, PasswordCredentials, SaslContext } from './mechanism.ts';
import { saslprep } from './saslprep.ts';
import { readServerFirst } from './scram-challenge.ts';

type ScramName = Extract<MechanismName, `SCRAM-${string}`>;

/** What the server may say only when somebody between it and us has changed what either of us said (RFC 5802 §7). */
const SIGNS_OF_ATTACK = new Set(['server-does-support-channel-binding', 'channel-bindings-dont-match']);

/** On a thread of the pool: the event loop is free meanwhile. */
const stretch = promisify(pbkdf2);

/** @throws Pop3CommandError where the user name or the password cannot be prepared. */
export function scram(name: ScramName, credentials: PasswordCredentials, context: SaslContext): Mechanism {
  const { place, randomBytes } = context;
  const hash = name.startsWith('SCRAM-SHA-256') ? 'sha256' : 'sha1';
  const { header, bindingData } = bindChannel(name, credentials.authzid ?? '', context);
  const username = prepare('user name', credentials.username);
  const password = prepare('password', credentials.password);

  const nonce = randomBytes(scramNonceBytes).toString('base64');
  const clientFirst = `n=${escapeName(username)},r=${nonce}`;
  /** What the server has to sign with; known once it has sent its part of the nonce. */
  let expectedSignature: Buffer | undefined;
  let state: 'greeted' | 'proved' | 'verified' | 'refused' = 'greeted';
  let failure: Pop3CommandError | null = null;

  async function prove(challenge: Buffer): Promise<Buffer> {
    const { serverNonce, salt, iterations } = readServerFirst(challenge, nonce, place);
    const binding = Buffer.concat([Buffer.from(header, 'utf8'), bindingData]).toString('base64');
    const clientFinal = `c=${binding},r=${serverNonce}`;
    const authMessage = Buffer.concat([
      Buffer.from(`${clientFirst},`, 'utf8'),
      challenge,
      Buffer.from(`,${clientFinal}`, 'utf8'),
    ]);
    const salted = await stretch(password, salt, iterations, hash === 'sha256' ? 32 : 20, hash);
    const sign = (key: Buffer, data: Buffer | string): Buffer => createHmac(hash, key).update(data).digest();
    const clientKey = sign(salted, 'Client Key');
    const storedKey = createHash(hash).update(clientKey).digest();
    const clientSignature = sign(storedKey, authMessage);
    const proof = clientKey.map((byte, at) => byte ^ (clientSignature[at] ?? 0));
    expectedSignature = sign(sign(salted, 'Server Key'), authMessage);
    state = 'proved';
    return Buffer.from(`${clientFinal},p=${Buffer.from(proof).toString('base64')}`, 'utf8');
  }

  function verify(challenge: Buffer): Buffer {
    const written = /^v=([A-Za-z0-9+/]+={0,2})(?:,|$)/.exec(challenge.toString('latin1'))?.[1];
    if (written === undefined) throw brokenExchange(place, `ended ${name} without its signature`);
    const signature = Buffer.from(written, 'base64');
    if (signature.length !== expectedSignature?.length || !timingSafeEqual(signature, expectedSignature)) {
      throw unproven(name, place);
    }
    state = 'verified';
    return Buffer.alloc(0);
  }

  function acceptError(value: string): Buffer {
    if (SIGNS_OF_ATTACK.has(value)) {
      throw brokenExchange(
        place,
        `and this client saw different TLS connections or offers (${value}): something between them may be changing the traffic`,
      );
    }
    state = 'refused';
    failure = new Pop3CommandError(
      value === 'no-resources' ? 'upstream_unavailable' : 'upstream_auth_failed',
      'login',
      `${place} refused ${name}: ${quoteServerText(value, [credentials.password, password])}.`,
    );
    return Buffer.alloc(0);
  }

  return {
    name,
    start: () => Buffer.from(`${header}${clientFirst}`, 'utf8'),
    respond(challenge) {
      if (state === 'verified' || state === 'refused') throw brokenExchange(place, `does not end ${name}`);
      const error = /^e=([^,]*)/.exec(challenge.toString('utf8'))?.[1];
      if (error !== undefined) return acceptError(error);
      return state === 'greeted' ? prove(challenge) : verify(challenge);
    },
    get complete() {
      return state !== 'greeted';
    },
    finish() {
      if (state !== 'verified') throw unproven(name, place);
    },
    get failure() {
      return failure;
    },
  };
}

/**
 * RFC 5802 §6. `y` says: I could bind, but you did not offer it. A server that did offer it knows by that, that its list
 * was changed on the way. Without a list from CAPA nothing can be said about it, and `n` is the truth.
 */
function bindChannel(
  name: ScramName,
  authzid: string,
  { binding, offered }: SaslContext,
): { header: string; bindingData: Buffer } {
  if (name.endsWith('-PLUS')) {
    if (!binding) throw refusedLogin(`${name} needs channel binding, which this connection does not give.`);
    return { header: gs2Header(`p=${binding.type}`, authzid), bindingData: binding.data };
  }
  const isUnoffered = binding && offered && !offered.sasl.some((mechanism) => /^SCRAM-.*-PLUS$/.test(mechanism));
  return { header: gs2Header(isUnoffered ? 'y' : 'n', authzid), bindingData: Buffer.alloc(0) };
}

function prepare(what: string, text: string): string {
  const prepared = saslprep(text);
  if (prepared !== null) return prepared;
  throw refusedLogin(
    `The ${what} is empty or holds a character that SCRAM does not allow (RFC 4013): name another login mechanism, as PLAIN.`,
  );
}

function unproven(name: string, place: string): Error {
  return brokenExchange(
    place,
    `did not prove by ${name} that it knows the password: it may not be the server it claims to be`,
  );
}
