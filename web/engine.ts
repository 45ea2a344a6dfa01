/**
 * @file What the page needs of a model, wherever it runs: in a worker of this page, or behind a server.
 */
import type { CacheContents, CacheMemory, CacheStats } from '../src/exports/policies.ts';
import type { CacheStep } from '../src/kvcache/rows/events.ts';

/** What a cache says of itself. */
export interface CacheReport {
  readonly stats: CacheStats;
  readonly memory: CacheMemory;
  readonly tokens: readonly number[];
}

export interface TextPiece {
  readonly text: string;
  readonly tokens: number;
}

export type Message = {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
};

export interface PieceOptions {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly signal: AbortSignal;
  /** Told how many tokens of the prompt are read. A server does not tell it. */
  readonly onPrefill: (done: number, total: number) => void;
}

/** One text or conversation, with its cache. */
export interface Conversation {
  /** Continues a text, or answers messages. @throws what the model refuses; the signal's reason. */
  write(input: string | readonly Message[], options: PieceOptions): AsyncIterable<TextPiece>;
  /** null: nothing was computed yet. */
  report(): Promise<CacheReport | null>;
  contents(): Promise<CacheContents | null>;
  dispose(): Promise<void>;
}

/** What a conversation tells while it is written. */
export interface Watcher {
  onStep(step: CacheStep): void;
  onContents(contents: CacheContents): void;
}

/** How a conversation's cache is made. */
export interface CacheChoice {
  readonly policy: string;
  readonly cacheLength: number;
  readonly buffer: string;
  /** A session of the server to watch. @default a new one */
  readonly session?: string;
}

/** What a cache's budget can be. */
export interface SlotLimits {
  /** Of one slot in all layers. */
  readonly bytes: number;
  /** Slots that the model's context and the memory allow. */
  readonly most: number;
}

export interface PageModel {
  readonly name: string;
  /** What it says below the title. */
  readonly about: string;
  /** The engine and its threads, or the server. */
  readonly place: string;
  readonly layers: number;
  readonly isChat: boolean;
  /** What can be chosen as policy; the first is the default. */
  readonly policies: readonly string[];
  /** The name of a cache of that choice. */
  titleOf(choice: CacheChoice): string;
  /** @param caches that there are at a time. @returns null: the server has chosen the budget. */
  slotLimits(buffer: string, caches: number): Promise<SlotLimits | null>;
  converse(choice: CacheChoice, watcher: Watcher): Promise<Conversation>;
  /** The text of a token. */
  decode(token: number): Promise<string>;
  dispose(): Promise<void>;
}
