/** A name server on loopback that knows what it is told, for tests of look-ups through the real resolver. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import packet from 'dns-packet';

export interface DnsServer {
  /** As `Resolver.setServers` takes it. */
  readonly address: string;
  /** What was asked for, as `SRV name`. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

/** An address, or what a record of another kind has. */
type RecordData = string | object;

/** By `SRV name`, `MX name` or `A name`: records, what makes them for each question, or `silent` for no answer. Any other name does not exist. */
export type Zone = Readonly<Record<string, readonly RecordData[] | (() => readonly RecordData[]) | 'silent'>>;

export async function startDnsServer(zone: Zone): Promise<DnsServer> {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (bytes, peer) => {
    const query = packet.decode(bytes);
    const question = query.questions?.[0];
    if (!question) return;
    const key = `${question.type} ${question.name.toLowerCase()}`;
    asked.push(key);
    const known = zone[key];
    if (known === 'silent') return;
    const records = typeof known === 'function' ? known() : known;
    const answers = (records ?? []).map((data) => ({ type: question.type, name: question.name, ttl: 1, data }));
    const flags = packet.AUTHORITATIVE_ANSWER | (records ? 0 : 3);
    const answer = { type: 'response', id: query.id, flags, questions: [question], answers };
    socket.send(packet.encode(answer as packet.Packet), peer.port, peer.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    asked,
    async close() {
      socket.close();
      await once(socket, 'close');
    },
  };
}
