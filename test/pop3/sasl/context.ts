/** What mechanisms are made with in these tests, and a server's side of SCRAM, computed apart from the client's. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import type { ChannelBinding, SaslContext } from '../../../src/pop3/sasl/index.ts';

export const context: SaslContext = {
  place: 'mail.example:995',
  host: 'mail.example',
  port: 995,
  binding: null,
  offered: null,
  randomBytes,
};

export const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Gives the bytes of a nonce that an RFC prints in base64. */
export const fixedNonce = (nonce: string): { randomBytes: () => Buffer } => ({
  randomBytes: () => Buffer.from(nonce, 'base64'),
});

export interface ScramServerOptions {
  hash: 'sha1' | 'sha256';
  password: string;
  binding?: ChannelBinding;
}

/** One exchange of a SCRAM server that checks everything. */
export class ScramServer {
  readonly #options: ScramServerOptions;
  #header = '';
  #authMessage = '';
  #nonce = '';
  readonly #salt = randomBytes(16);

  constructor(options: ScramServerOptions) {
    this.#options = options;
  }

  first(clientFirst: Buffer): Buffer {
    const [, header = '', bare = '', nonce = ''] =
      /^([^,]*,[^,]*,)(n=[^,]*,r=([^,]*))$/.exec(clientFirst.toString()) ?? [];
    this.#header = header;
    this.#nonce = `${nonce}${randomBytes(9).toString('base64')}`;
    const answer = `r=${this.#nonce},s=${this.#salt.toString('base64')},i=4096`;
    this.#authMessage = `${bare},${answer}`;
    return Buffer.from(answer);
  }

  /** `v=...`, or `e=...` where the client did not prove what it has to. */
  final(clientFinal: Buffer): Buffer {
    const { hash, password, binding } = this.#options;
    const [, withoutProof = '', bound = '', nonce = '', proof = ''] =
      /^(c=([^,]*),r=([^,]*)),p=(.*)$/.exec(clientFinal.toString()) ?? [];
    const type = /^p=([^,]*)/.exec(this.#header)?.[1];
    const expected = Buffer.concat([Buffer.from(this.#header), binding?.data ?? Buffer.alloc(0)]);
    if (type !== binding?.type || bound !== expected.toString('base64')) return bytes('e=channel-bindings-dont-match');
    if (nonce !== this.#nonce) return bytes('e=other-error');

    const mac = (key: Buffer, text: string): Buffer => createHmac(hash, key).update(text).digest();
    const message = `${this.#authMessage},${withoutProof}`;
    const salted = pbkdf2Sync(password, this.#salt, 4096, hash === 'sha1' ? 20 : 32, hash);
    const storedKey = createHash(hash).update(mac(salted, 'Client Key')).digest();
    const signature = mac(storedKey, message);
    const clientKey = Buffer.from(proof, 'base64').map((byte, at) => byte ^ (signature[at] ?? 0));
    if (!createHash(hash).update(clientKey).digest().equals(storedKey)) return bytes('e=invalid-proof');
    return bytes(`v=${mac(mac(salted, 'Server Key'), message).toString('base64')}`);
  }
}
