/** A connection that is logged in, with the secret that there is or with a new one. */
import type { Login } from '../mailbox/oauth2/logins.ts';
import { Pop3Error, type Pop3Client } from '../pop3/index.ts';

export interface LoginSteps {
  connect(secret: Login['secret']): Promise<Pop3Client>;
  logIn(client: Pop3Client): Promise<void>;
}

/** @throws Pop3Error of the last try; what `renew` throws. */
export async function openLoggedIn(login: Login, steps: LoginSteps): Promise<Pop3Client> {
  const client = await steps.connect(login.secret);
  try {
    await steps.logIn(client);
    return client;
  } catch (error) {
    client.close();
    // A token that was kept may have been revoked: a new one is tried before that counts as a refusal.
    const isRefused = error instanceof Pop3Error && error.code === 'upstream_auth_failed';
    const renewed = isRefused ? await login.renew() : null;
    if (!renewed) throw error;
    return openLoggedIn(renewed, steps);
  }
}
