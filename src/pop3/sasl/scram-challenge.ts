/** SCRAM's first message from the server (RFC 5802 §7), held to bounds before anything is computed from it. */
import { brokenExchange } from './errors.ts';
import {
  scramIterationsMax,
  scramIterationsMin,
  scramNonceCharsMax,
  scramSaltBytesMax,
  scramSaltBytesMin,
} from './limits.ts';

export interface ServerFirst {
  serverNonce: string;
  salt: Buffer;
  iterations: number;
}

/**
 * `r=...,s=...,i=...`, with extensions behind it that may be ignored and one before it (`m=`) that may not.
 * @param nonce ours, which the server's must extend.
 * @throws Pop3ProtocolError
 */
export function readServerFirst(challenge: Buffer, nonce: string, place: string): ServerFirst {
  const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9]\d{0,9})(?:,|$)/.exec(
    challenge.toString('latin1'),
  );
  const [, serverNonce = '', encodedSalt = '', writtenIterations = ''] = match ?? [];
  if (!match) throw brokenExchange(place, 'sent a first SCRAM message that cannot be read');
  if (!serverNonce.startsWith(nonce) || serverNonce.length === nonce.length) {
    throw brokenExchange(
      place,
      'answered SCRAM with a nonce that does not extend the one sent: maybe a replayed answer',
    );
  }
  if (serverNonce.length > scramNonceCharsMax) throw brokenExchange(place, 'sent an over-long SCRAM nonce');
  const salt = Buffer.from(encodedSalt, 'base64');
  if (salt.length < scramSaltBytesMin || salt.length > scramSaltBytesMax) {
    throw brokenExchange(
      place,
      `sent a SCRAM salt of ${salt.length} octets, outside ${scramSaltBytesMin} to ${scramSaltBytesMax}`,
    );
  }
  const iterations = Number(writtenIterations);
  if (iterations < scramIterationsMin || iterations > scramIterationsMax) {
    throw brokenExchange(
      place,
      `asks for ${iterations} SCRAM iterations, outside ${scramIterationsMin} to ${scramIterationsMax}`,
    );
  }
  return { serverNonce, salt, iterations };
}
