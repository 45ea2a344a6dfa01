/**
 * @file Responses on their way out of a thread: all of one turn of the event loop go in one message.
 */
import { macrotask } from '../util/macrotask.ts';
import { type Port, type Response, toWire } from './wire.ts';

export class Outbox {
  readonly #port: Port<readonly Response[]>;
  #responses: Response[] = [];
  #buffers: ArrayBuffer[] = [];

  constructor(port: Port<readonly Response[]>) {
    this.#port = port;
  }

  /** @param buffers to move instead of copying. */
  push(response: Response, buffers: readonly ArrayBuffer[] = []): void {
    if (this.#responses.length === 0) void macrotask().then(() => this.#flush());
    this.#responses.push(response);
    this.#buffers.push(...buffers);
  }

  #flush(): void {
    const responses = this.#responses;
    const buffers = this.#buffers;
    this.#responses = [];
    this.#buffers = [];
    try {
      this.#port.postMessage(responses, buffers);
    } catch {
      // One of them can't be copied, such as a function in a policy's result: that call fails, not the others.
      for (const response of responses) this.#postAlone(response, buffers);
    }
  }

  #postAlone(response: Response, buffers: ArrayBuffer[]): void {
    const own = 'value' in response ? buffers.filter((buffer) => holds(response.value, buffer)) : [];
    try {
      this.#port.postMessage([response], own);
    } catch (error) {
      this.#port.postMessage([{ type: 'error', id: response.id, error: toWire(error) }]);
    }
  }
}

function holds(value: unknown, buffer: ArrayBuffer): boolean {
  return ArrayBuffer.isView(value) && value.buffer === buffer;
}
