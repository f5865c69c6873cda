/** How a process that stops ends the sessions that it runs: in good order while there is time, and then at once. */
export interface Shutdown {
  /** Sessions ask for no more messages, finish those that they have asked for, and take their leave of the server. */
  readonly windUp: AbortSignal;
  /** Sessions end at once, with its reason. */
  readonly cut: AbortSignal;
}
