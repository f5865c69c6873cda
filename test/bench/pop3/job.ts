/** What a program of the benchmark is told, as JSON in its last argument. */
export interface Job {
  readonly host: string;
  readonly port: number;
  /** Path of the CA, for TLS from the first byte; null for plain. */
  readonly caPath: string | null;
  readonly username: string;
  readonly password: string;
  /** Zero polls: log in, STAT, QUIT. */
  readonly messages: number;
  readonly polls: number;
  readonly pollsAtOnce: number;
  /** Ends after the imports: what it costs to be there. */
  readonly startOnly?: boolean;
}

/** What it says at its end, on stdout: for a fetch what came, for polls how many. */
export interface Tally {
  readonly messages: number;
  readonly octets: number;
}
