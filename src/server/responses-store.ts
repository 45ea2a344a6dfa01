/**
 * @file Responses that are kept: for requests that go on from one of them (`previous_response_id`), and for
 * `/v1/responses/ID`.
 */
import type { TurnMessage } from './turn.ts';

/** Responses that are kept, and characters of all of them, with their messages. */
const MAX_RESPONSES = 2000;
const MAX_CHARACTERS = 32 * 2 ** 20;

export interface SavedResponse {
  readonly id: string;
  /** Whose it is. */
  readonly key: string;
  /** The conversation up to the answer. */
  readonly messages: readonly TurnMessage[];
  /** The response, as its request got it. */
  readonly response: object;
}

interface Entry extends SavedResponse {
  readonly size: number;
}

/** They are in memory: a restart forgets them. */
export class SavedResponses {
  /** The one that was used last is the last. */
  readonly #saved = new Map<string, Entry>();
  #size = 0;

  add(saved: SavedResponse): void {
    const size = JSON.stringify([saved.messages, saved.response]).length;
    this.#saved.set(saved.id, { ...saved, size });
    this.#size += size;
    for (const oldest of this.#saved.keys()) {
      if (this.#saved.size <= MAX_RESPONSES && this.#size <= MAX_CHARACTERS) break;
      this.#forget(oldest);
    }
  }

  /** @returns null where the key has no such response. */
  get(id: string, key: string): SavedResponse | null {
    const saved = this.#saved.get(id);
    if (saved?.key !== key) return null;
    this.#saved.delete(id);
    this.#saved.set(id, saved);
    return saved;
  }

  /** @returns whether the key had it. */
  delete(id: string, key: string): boolean {
    if (this.#saved.get(id)?.key !== key) return false;
    this.#forget(id);
    return true;
  }

  #forget(id: string): void {
    this.#size -= this.#saved.get(id)?.size ?? 0;
    this.#saved.delete(id);
  }
}
