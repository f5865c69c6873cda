/** Kept-alive connections that are left when they are old: one that is kept for ever would stay where its name has led once. */
import { Agent } from 'undici';
import { connectionsAgeMsMax } from './limits.ts';

export interface AgingAgent {
  /** For one request. */
  current(): Agent;
  /** What is under way ends without an answer. */
  close(): Promise<void>;
}

/** @param ageMsMax `connectionsAgeMsMax` unless set. */
export function createAgingAgent(options: Agent.Options, ageMsMax: number = connectionsAgeMsMax): AgingAgent {
  let agent = new Agent(options);
  let sinceMs = performance.now();
  /** Those that finish what is under way on them. */
  const leaving = new Set<Agent>();
  return {
    current() {
      if (performance.now() - sinceMs <= ageMsMax) return agent;
      const old = agent;
      leaving.add(old);
      void old.close().finally(() => leaving.delete(old));
      agent = new Agent(options);
      sinceMs = performance.now();
      return agent;
    },
    async close() {
      await Promise.all([agent, ...leaving].map((each) => each.destroy()));
    },
  };
}
