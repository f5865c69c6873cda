/**
 * Many commands under way at once (RFC 2449 §6.6), bounded by a window. It knows how many may be, not what they are.
 *
 * The window is refilled when half of it is used up, in one write. It is bounded in octets, too, by what LIST says of the
 * messages: that much is wasted when the consumer stops, or held up when it is slow.
 */

export interface PipelineWindow {
  /** Commands under way; 1 sends each after the answer to the one before. */
  count: number;
  /** Octets that the answers under way add up to. One command may be under way whatever its size. */
  bytes: number;
}

export class Pipeline<Request extends { readonly bytes: number }> {
  readonly #requests: Iterator<Request>;
  readonly #window: PipelineWindow;
  readonly #send: (batch: readonly Request[]) => void;
  #next: IteratorResult<Request>;
  #underWay: Request[] = [];
  #bytes = 0;
  #refillAt = 0;
  /** What was taken last: under way until the one behind it is asked for. */
  #current: Request | null = null;

  /**
   * @param requests is read no further ahead than the window allows, and may so decide as late as possible what is next.
   * @param send writes a batch at once.
   */
  constructor(requests: Iterable<Request>, window: PipelineWindow, send: (batch: readonly Request[]) => void) {
    this.#requests = requests[Symbol.iterator]();
    this.#window = window;
    this.#send = send;
    this.#next = this.#requests.next();
  }

  /** The request whose answer is next, sent by now; null behind the last. The one taken before is done with. */
  take(): Request | null {
    if (this.#current) this.#bytes -= this.#current.bytes;
    if (this.#underWay.length <= this.#refillAt) this.#refill();
    this.#current = this.#underWay.shift() ?? null;
    return this.#current;
  }

  #refill(): void {
    const batch: Request[] = [];
    while (!this.#next.done) {
      const request = this.#next.value;
      const count = this.#underWay.length + batch.length;
      if (count >= this.#window.count || (count > 0 && this.#bytes + request.bytes > this.#window.bytes)) break;
      batch.push(request);
      this.#bytes += request.bytes;
      this.#next = this.#requests.next();
    }
    if (batch.length === 0) return;
    this.#send(batch);
    this.#underWay.push(...batch);
    this.#refillAt = Math.floor(this.#underWay.length / 2);
  }
}
