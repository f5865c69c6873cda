/** A POP3 server whose maildrops are all empty, in a process of its own: what it takes is not to be counted as the client's. */
import { startFakePop3 } from '../../support/fake-pop3.ts';

const { port } = await startFakePop3({ mails: [] });
process.stdout.write(`${port}\n`);
