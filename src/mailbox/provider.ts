/** What is known of a provider. */
import type { TlsMode } from './source.ts';

/** What takes the place of a password, by what the provider calls it. `oauth2` names whose, where that is known. */
export type LoginMethod =
  | { method: 'password' | 'app_password' | 'authorization_code'; preset: null }
  | { method: 'oauth2'; preset: 'google' | 'microsoft' | null };

export interface ProviderServer {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMode;
  /** The user name: the whole address, or what is before its @. */
  readonly username: 'address' | 'local_part';
}

export interface Provider {
  readonly id: string;
  readonly name: string;
  /** What comes after the @; `*.example` for all below example. Lower-case ASCII. */
  readonly domains: readonly string[];
  /** MX hosts that end with one of these are the provider's: domains of its customers. */
  readonly mx: readonly string[];
  /** Null where the provider has no POP3. */
  readonly pop3: ProviderServer | null;
  /** Best first. */
  readonly auth: readonly LoginMethod[];
  /** Seconds between two logins to one mailbox; null where no public source gives a figure. */
  readonly minIntervalSeconds: number | null;
  /** The listing shows a part of the mail, and more once that was retrieved. */
  readonly isListingPartial: boolean;
  readonly notes: readonly string[];
  readonly documentation: string | null;
}
