/**
 * @file The messages of responses, for requests that go on from one of them (`previous_response_id`).
 */
import { HttpError } from './http-error.ts';
import type { TurnMessage } from './turn.ts';

/** Responses that are kept, and characters of all their messages. */
const MAX_RESPONSES = 2000;
const MAX_CHARACTERS = 32 * 2 ** 20;

interface Saved {
  readonly key: string;
  readonly messages: readonly TurnMessage[];
  readonly size: number;
}

/** Conversations up to each response. They are in memory: a restart forgets them. */
export class SavedResponses {
  /** The one that was used last is the last. */
  readonly #saved = new Map<string, Saved>();
  #size = 0;

  add(id: string, key: string, messages: readonly TurnMessage[]): void {
    const size = JSON.stringify(messages).length;
    this.#saved.set(id, { key, messages, size });
    this.#size += size;
    for (const oldest of this.#saved.keys()) {
      if (this.#saved.size <= MAX_RESPONSES && this.#size <= MAX_CHARACTERS) break;
      this.#forget(oldest);
    }
  }

  /** @throws HttpError 404 where the response is not known to the key. */
  of(id: string, key: string): readonly TurnMessage[] {
    const saved = this.#saved.get(id);
    if (!saved || saved.key !== key)
      throw new HttpError(404, `there is no response "${id.slice(0, 100)}"; send the whole conversation as input`, {
        code: 'previous_response_not_found',
        param: 'previous_response_id',
      });
    this.#saved.delete(id);
    this.#saved.set(id, saved);
    return saved.messages;
  }

  #forget(id: string): void {
    this.#size -= this.#saved.get(id)?.size ?? 0;
    this.#saved.delete(id);
  }
}
